/**
 * The full proof: every blob of a release is pulled from the running registry, over TLS, and hashed: every
 * image manifest, those below an index too, in each repository; every config and layer once, and in each
 * further repository that has it, asked for.
 */
import pLimit from "p-limit";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { storedBlobs } from "../archive/contents.ts";
import { usersOfEach } from "../archive/users.ts";
import { DrydockError, errorText } from "../errors.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import type { Step } from "../reporter.ts";
import { neededBy } from "./needed-by.ts";
import { askRegistry, pullBlob, type RegistryAddress, sizeOf, UnexpectedStatus } from "./registry-client.ts";

/** What a registry serves as an image manifest or image index. */
export const manifestTypes = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.v1+prettyjws",
  "application/vnd.docker.distribution.manifest.v1+json",
].join(", ");

/** Blobs pulled at the same time: TLS and hashing keep one core busy with this many. */
const pulls = 4;

interface Question {
  repository: string;
  digest: Digest;
  how: "manifest" | "pull" | "head";
}

/**
 * @returns how many blobs were hashed, and their bytes
 * @throws DrydockError "integrity" naming each blob that is missing or not what its digest says, and the
 *   images that need it; "host" if the registry stops answering.
 */
export async function proveBlobs(
  at: RegistryAddress,
  index: BundleIndex,
  step: Step,
): Promise<{ blobs: number; bytes: number }> {
  const sizes = storedBlobs(index);
  const asked = questions(index);
  const pulled = new Set(asked.filter(({ how }) => how !== "head").map(({ digest }) => digest));
  const bytes = [...pulled].reduce((sum, digest) => sum + (sizes.get(digest) ?? 0), 0);
  step.total(bytes);
  const bad = new Map<Digest, string>();
  let gone: unknown;
  const counted = new Set<Digest>();
  const ask = async (one: Question) => {
    if (gone !== undefined) return;
    const size = sizes.get(one.digest);
    const advance = counted.has(one.digest) ? () => {} : (length: number) => step.advance(length);
    if (one.how !== "head") counted.add(one.digest);
    try {
      const problem = await problemOf(at, one, size, advance);
      if (problem !== undefined) bad.set(one.digest, problem);
    } catch (error) {
      // A file that is cut short ends the connection, and so does a registry that stops: it says which.
      const answers = error instanceof UnexpectedStatus || (await isThere(at));
      if (answers) bad.set(one.digest, errorText(error));
      else gone ??= error;
    }
  };
  await pLimit(pulls).map(asked, ask);
  if (gone !== undefined) {
    const text = `the registry stopped answering while its blobs were read: ${errorText(gone)}`;
    throw new DrydockError("host", text, {
      hint: "docker logs registry shows what it says itself.",
      cause: gone,
    });
  }
  if (bad.size > 0) throw await damaged(at, index, bad);
  return { blobs: pulled.size, bytes };
}

function questions({ repositories }: BundleIndex): Question[] {
  const pulled = new Set<Digest>();
  return Object.entries(repositories).flatMap(([repository, { revisions, layers }]) => [
    ...revisions.map((digest): Question => ({ repository, digest, how: "manifest" })),
    ...layers.map((digest): Question => {
      const how = pulled.has(digest) ? "head" : "pull";
      pulled.add(digest);
      return { repository, digest, how };
    }),
  ]);
}

/** @returns what is wrong, or undefined */
async function problemOf(
  at: RegistryAddress,
  { repository, digest, how }: Question,
  size: number | undefined,
  advance: (bytes: number) => void,
): Promise<string | undefined> {
  const blob = `/v2/${repository}/blobs/${digest}`;
  if (how === "head") {
    const found = await sizeOf(at, blob);
    return found === undefined || found === size ? undefined : `wanted ${size} bytes, got ${found}`;
  }
  if (how === "pull") {
    const found = await pullBlob(at, blob, advance);
    return found.digest === digest ? undefined : `it is ${found.size} bytes with the digest ${found.digest}`;
  }
  const answer = await askRegistry(at, `/v2/${repository}/manifests/${digest}`, { accept: manifestTypes });
  advance(size ?? answer.body.length);
  const got = isSigned(answer.contentType) ? answer.digest : digestOf(answer.body);
  return got === digest ? undefined : `it is ${answer.body.length} bytes with the digest ${got}`;
}

/** Schema 1 is served with signatures around it, so its bytes have another digest than its name. */
export function isSigned(contentType: string): boolean {
  return contentType.startsWith("application/vnd.docker.distribution.manifest.v1");
}

async function isThere(at: RegistryAddress): Promise<boolean> {
  return await askRegistry(at).then(
    () => true,
    () => false,
  );
}

async function damaged(
  at: RegistryAddress,
  index: BundleIndex,
  bad: ReadonlyMap<Digest, string>,
): Promise<DrydockError> {
  const users = await usersOfEach(index, bad.keys(), async (digest) => {
    const holds = Object.entries(index.repositories).find(([, { revisions }]) => revisions.includes(digest));
    if (holds === undefined || bad.has(digest)) throw new Error(`${digest} is not to be had`);
    const path = `/v2/${holds[0]}/manifests/${digest}`;
    return (await askRegistry(at, path, { accept: manifestTypes })).body;
  });
  const lines = [...bad].map(([digest, problem]) => `  ${digest}${neededBy(users.get(digest))}: ${problem}`);
  const shown = lines.slice(0, 20);
  if (lines.length > shown.length) shown.push(`  and ${lines.length - shown.length} more`);
  const what = bad.size === 1 ? "a blob" : `${bad.size} blobs`;
  return new DrydockError(
    "integrity",
    `the registry doesn't serve ${what} as the bundle has it:\n${shown.join("\n")}`,
    { hint: "drydock status --deep names the files, and says how to mend them." },
  );
}
