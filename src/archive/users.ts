/**
 * Who needs a blob: the images of a bundle, by name, for whoever has to know what a damaged blob costs. The
 * index says which repository holds it; which of several tags it is, the image manifests say.
 */
import type { Digest } from "../oci/digest.ts";
import { parseImageManifest } from "../oci/image-manifest.ts";
import type { BundleIndex, BundleRepository } from "./bundle-index.ts";

/** Gives a blob's bytes, checked; fails for one that is damaged, that a seed holds, or that is not to be had again. */
type ReadBlob = (digest: Digest) => Promise<Buffer>;

/** Everything below an image manifest, itself included; undefined if not all of it is to be known. */
type Closure = Set<Digest> | undefined;

/** @returns for each digest all its users, "team/app:1"; a repository alone where its tags do not say more */
export async function usersOfEach(
  index: BundleIndex,
  digests: Iterable<Digest>,
  read: ReadBlob,
): Promise<Map<Digest, string[]>> {
  const closures = new Map<Digest, Closure>();
  const found = new Map<Digest, string[]>();
  for (const digest of digests) {
    const users = otherUsers(index, digest);
    for (const [name, repository] of Object.entries(index.repositories)) {
      if (!repository.layers.includes(digest) && !repository.revisions.includes(digest)) continue;
      users.push(...(await tagsThatNeed(name, repository, digest, { read, closures })));
    }
    found.set(digest, [...new Set(users)]);
  }
  return found;
}

/** What needs it that is no image of the storage. */
function otherUsers({ blobs, certificates, files, packages, seeds }: BundleIndex, digest: Digest): string[] {
  const users: string[] = [];
  const role = blobs.find((blob) => blob.digest === digest)?.role;
  if (role === "registry") users.push("the registry's own image");
  if (certificates.ca === digest) users.push("the CA's certificate");
  if (certificates.server === digest) users.push("the server's certificate");
  if (certificates.key === digest) users.push("the server's key");
  for (const file of files) if (file.digest === digest) users.push(`file ${file.name}`);
  for (const set of packages)
    for (const { name, digest: of } of set.files) if (of === digest) users.push(`package ${name}`);
  for (const { sha256, source, packed, repositories } of seeds) {
    if (!packed || `sha256:${sha256}` !== digest) continue;
    users.push(`seed ${source}`);
    for (const [name, { tags }] of Object.entries(repositories))
      users.push(...Object.keys(tags).map((tag) => `${name}:${tag}`));
  }
  return users;
}

interface Reading {
  read: ReadBlob;
  /** of the image manifests that were read */
  closures: Map<Digest, Closure>;
}

async function tagsThatNeed(
  name: string,
  { tags }: BundleRepository,
  digest: Digest,
  reading: Reading,
): Promise<string[]> {
  const all = Object.entries(tags);
  if (all.length === 1) return [`${name}:${all[0]?.[0]}`];
  const isTagged = all.some(([, manifest]) => manifest === digest);
  const users: string[] = [];
  for (const [tag, manifest] of all) {
    const closure = await closureOf(manifest, reading);
    // Some of the others may need it, too: better the repository than too few of its tags.
    if (!closure && !isTagged) return [name];
    if (manifest === digest || closure?.has(digest)) users.push(`${name}:${tag}`);
  }
  return users.length > 0 ? users : [name];
}

async function closureOf(manifest: Digest, reading: Reading): Promise<Closure> {
  const { read, closures } = reading;
  if (closures.has(manifest)) return closures.get(manifest);
  // Until it is known, so that one that names itself, which no digest allows, would do no harm.
  closures.set(manifest, undefined);
  const closure = new Set<Digest>([manifest]);
  try {
    const { children, blobs, fsLayers } = parseImageManifest(await read(manifest), undefined, manifest);
    for (const each of [...blobs.map((blob) => blob.digest), ...fsLayers]) closure.add(each);
    for (const child of children) {
      closure.add(child.digest);
      for (const below of (await closureOf(child.digest, reading)) ?? []) closure.add(below);
    }
  } catch {
    // It is damaged itself, which is told of it, or in a seed: the repository's name has to do.
    return undefined;
  }
  closures.set(manifest, closure);
  return closure;
}
