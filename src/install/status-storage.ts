/**
 * Whether a site's storage is as its records say. Quick: every blob is there with its size, links and tags
 * hold what they should. Deep: every blob is read from the disk again and hashed.
 */
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { usersOfEach } from "../archive/users.ts";
import { alignedBuffers } from "../direct.ts";
import { errorCode, errorText } from "../errors.ts";
import { type Digest, digestOf, shortDigest } from "../oci/digest.ts";
import { blobPath, linkContent, tagCurrentLinkPath } from "../oci/storage.ts";
import type { Step } from "../reporter.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Tags } from "../site/record.ts";
import { hashFile } from "./hash-file.ts";
import type { Recorded, RecordedBlob } from "./recorded.ts";

/** As many as the thread pool takes. */
const looks = 16;
/** Files hashed at the same time; more gain nothing on two cores, and little on more. */
const readers = 2;
const chunkSize = 1024 * 1024;

export interface DamagedBlob {
  digest: Digest;
  path: string;
  problem: "missing" | "other size" | "other bytes" | "unreadable";
  text: string;
  /** the images that need it, as `repository:tag`, or in words what else does */
  neededBy: string[];
  /** the bundle that has it */
  bundle: { name: string; release: number; digest: Digest };
}

export interface StorageFound {
  damaged: DamagedBlob[];
  /** links, relative to the storage, that are missing or hold something else */
  links: string[];
  /** tags that name something else than recorded; `now` is absent where there is no such tag */
  tags: { name: string; recorded: Digest; now?: string }[];
  /** what this user may not look at */
  denied: string[];
}

/** @param also values that tags may have besides: of an action that is under way, or was interrupted */
export async function lookAtStorage(
  layout: SiteLayout,
  recorded: Recorded,
  also: readonly Tags[],
): Promise<StorageFound> {
  const found: StorageFound = { damaged: [], links: [], tags: [], denied: [] };
  const bad: Bad[] = [];
  const at = (path: string) => join(layout.storage, path);
  await pLimit(looks).map(recorded.blobs, async (blob) => {
    const problem = await lookAtBlob(blob);
    if (problem === "denied") found.denied.push(blob.path);
    else if (problem !== undefined) bad.push({ blob, ...problem });
  });
  await pLimit(looks).map(recorded.links, async ([path, digest]) => {
    const content = await contentOf(at(path));
    if (content === "denied") found.denied.push(at(path));
    else if (content.text !== linkContent(digest)) found.links.push(path);
  });
  await pLimit(looks).map(recorded.tags, async ({ repository, tag, digest }) => {
    const path = at(tagCurrentLinkPath(repository, tag));
    const content = await contentOf(path);
    if (content === "denied") found.denied.push(path);
    else {
      const values = [digest, ...also.flatMap((tags) => tags[repository]?.[tag] ?? [])];
      if (values.some((value) => content.text === linkContent(value))) return;
      const now = content.text === undefined ? {} : { now: content.text };
      found.tags.push({ name: `${repository}:${tag}`, recorded: digest, ...now });
    }
  });
  found.damaged = await described(bad, layout);
  return found;
}

/** Reads and hashes all blobs but those in `skip`, by path. */
export async function hashStorage(
  layout: SiteLayout,
  blobs: readonly RecordedBlob[],
  skip: ReadonlySet<string>,
  step: Step,
): Promise<Pick<StorageFound, "damaged" | "denied">> {
  const work = blobs.filter(({ path }) => !skip.has(path));
  step.total(work.reduce((sum, { size }) => sum + size, 0));
  const bad: Bad[] = [];
  const denied: string[] = [];
  const remaining = work.values();
  const reader = async () => {
    const [first, second] = alignedBuffers(2, chunkSize);
    if (first === undefined || second === undefined) throw new Error("two buffers were made");
    // The readers share one iterator: each takes the next.
    for (const blob of remaining) {
      try {
        const got = await hashFile(blob.path, blob.size, [first, second], (bytes) => step.advance(bytes));
        if (got !== blob.digest)
          bad.push({ blob, problem: "other bytes", text: `other bytes, of the digest ${shortDigest(got)}` });
      } catch (error) {
        if (isDenied(error)) denied.push(blob.path);
        else bad.push({ blob, problem: "unreadable", text: `it cannot be read: ${errorText(error)}` });
      }
    }
  };
  await Promise.all(Array.from({ length: readers }, reader));
  return { damaged: await described(bad, layout), denied };
}

interface Bad extends Pick<DamagedBlob, "problem" | "text"> {
  blob: RecordedBlob;
}

async function lookAtBlob({
  path,
  size,
}: RecordedBlob): Promise<Pick<Bad, "problem" | "text"> | "denied" | undefined> {
  try {
    const found = await stat(path);
    if (!found.isFile()) return { problem: "missing", text: "what stands there is no file" };
    if (found.size === size) return undefined;
    return { problem: "other size", text: `it has ${found.size} bytes, not ${size}` };
  } catch (error) {
    if (isDenied(error)) return "denied";
    if (isAbsent(error)) return { problem: "missing", text: "it is missing" };
    return { problem: "unreadable", text: `it cannot be looked at: ${errorText(error)}` };
  }
}

/** A link that cannot be read holds nothing that is right. */
async function contentOf(path: string): Promise<{ text?: string } | "denied"> {
  try {
    return { text: await readFile(path, "utf8") };
  } catch (error) {
    return isDenied(error) ? "denied" : {};
  }
}

function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(errorCode(error) ?? "");
}

function isDenied(error: unknown): boolean {
  return ["EACCES", "EPERM"].includes(errorCode(error) ?? "");
}

/** With the images that need each; by path, so that the order is the same each time. */
async function described(bad: readonly Bad[], layout: SiteLayout): Promise<DamagedBlob[]> {
  const damaged: DamagedBlob[] = [];
  const broken = new Set(bad.map(({ blob }) => blob.digest));
  const read = async (digest: Digest) => {
    const bytes = await readFile(join(layout.storage, blobPath(digest)));
    if (broken.has(digest) || digestOf(bytes) !== digest) throw new Error(`${digest} is damaged`);
    return bytes;
  };
  for (const [{ record, index }, some] of Map.groupBy(bad, ({ blob }) => blob.release)) {
    const users = await usersOfEach(
      index,
      some.map(({ blob }) => blob.digest),
      read,
    );
    const bundle = { name: record.name, release: record.release, digest: record.bundleDigest };
    for (const { blob, problem, text } of some) {
      const { digest, path } = blob;
      damaged.push({ digest, path, problem, text, neededBy: users.get(digest) ?? [], bundle });
    }
  }
  return damaged.sort((a, b) => (a.path < b.path ? -1 : 1));
}
