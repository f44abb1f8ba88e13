/** What a prune removes besides the storage: the folders of releases, and what the manifests' `files:` carried. */
import { lstat, readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { digestOfFile, type FileValue } from "./files.ts";
import { usedFiles } from "./kept.ts";
import type { LeftTag } from "./prune-history.ts";
import { eachOf } from "./tags.ts";

/** A bundle, and what it brought. */
export interface Brought {
  bundleDigest: Digest;
  index: BundleIndex;
}

/** What goes of a release's folder. */
export interface FolderRemoval {
  path: string;
  /** What is in it and goes. The record is the last, so that a prune that was cut short finds it again. */
  names: string[];
  /** Whether all of it goes. Not where a rollback may need something that the bundle has brought. */
  whole: boolean;
}

/** @param releases those that go, and what is no release @param keepsIndex whether a rollback may need what it brought */
export async function foldersToRemove(
  layout: SiteLayout,
  releases: readonly { bundleDigest: Digest }[],
  keepsIndex: (bundleDigest: Digest) => boolean,
): Promise<FolderRemoval[]> {
  const found = await Promise.all(
    releases.map(async ({ bundleDigest }): Promise<FolderRemoval> => {
      const { folder, bundleIndex, record, prunedRecord } = layout.release(bundleDigest);
      const whole = !keepsIndex(bundleDigest);
      const last = [bundleIndex, prunedRecord].map((path) => basename(path));
      const names = (await namesIn(folder)).filter((name) => ![...last, basename(record)].includes(name));
      return { path: folder, names: whole ? [...names, ...last] : names, whole };
    }),
  );
  return found.filter(({ names, whole }) => whole || names.length > 0);
}

/** Of the names below files/ those that still show what the releases gave them: any other is somebody else's. */
export async function filesToSet(layout: SiteLayout, left: readonly LeftTag[]): Promise<FileValue[]> {
  const found: FileValue[] = [];
  await eachOf(left, async ({ given, tag: name, digest }) => {
    const now = await digestOfFile(join(layout.files, name));
    if (now === undefined || !given.has(now) || now === digest) return;
    const there = digest !== undefined && (await isThere(layout.keptFile(digest)));
    found.push({ name, digest: there ? digest : undefined });
  });
  return found;
}

/** The kept ones that no release needs, and those that go and are no other names of these. */
export async function filesThatFree(
  layout: SiteLayout,
  kept: readonly ReleaseRecord[],
  set: readonly FileValue[],
): Promise<string[]> {
  const used = new Set([...usedFiles(kept)].map((digest) => layout.keptFile(digest)));
  const unused = (await namesIn(layout.keptFiles))
    .map((name) => join(layout.keptFiles, name))
    .filter((path) => !used.has(path));
  const own = await Promise.all(
    set.map(async ({ name }) => {
      const path = join(layout.files, name);
      return (await lstat(path)).nlink === 1 ? [path] : [];
    }),
  );
  return [...unused, ...own.flat()];
}

async function isThere(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

/** As files are long, those in folders too. What is not there counts nothing. */
export async function bytesOf(paths: readonly string[]): Promise<number> {
  let bytes = 0;
  await eachOf(paths, async (path) => {
    const found = await lstat(path).catch(() => undefined);
    const inside = found?.isDirectory() === true ? await bytesBelow(path) : (found?.size ?? 0);
    bytes += inside;
  });
  return bytes;
}

async function bytesBelow(folder: string): Promise<number> {
  return await bytesOf((await namesIn(folder)).map((name) => join(folder, name)));
}

/** None if there is no such folder. */
async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return [];
    throw new DrydockError("host", `read "${folder}": ${errorText(error)}`, { cause: error });
  });
}
