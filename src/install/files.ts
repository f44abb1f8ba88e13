/**
 * What the manifest's `files:` carried. People see it in files/ under its name, which does not say what it holds;
 * so it is kept by its digest, placed as a blob is, and the name is one more of the same file. What a name
 * showed before is kept likewise, so that a name can always be given back what it had.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { link, realpath, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, hexOf } from "../oci/digest.ts";
import {
  cannotWrite,
  makeFolder,
  makeFolderUnsynced,
  namesIn,
  syncFolder,
  syncFolders,
} from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Files, ReleaseRecord } from "../site/record.ts";
import { copy, copyOnItsWay } from "./move.ts";
import { eachOf, type TagValue } from "./tags.ts";

/** A path below files/ and what it shall show; undefined: it shall not be there. */
export interface FileValue {
  name: string;
  digest: Digest | undefined;
}

/** What a bundle carried. */
export function filesOf({ files }: Pick<BundleIndex, "files">): Files {
  return Object.fromEntries(files.map(({ name, digest }) => [name, digest]));
}

/** So that what is known of tags holds for files too: their values before and after, the history of both. */
export function filesAsTags({
  filesBefore = {},
  filesAfter = {},
}: Pick<ReleaseRecord, "filesBefore" | "filesAfter">) {
  return { tagsBefore: { "": filesBefore }, tagsAfter: { "": filesAfter } };
}

/** The other way round. */
export function asFiles(values: readonly TagValue[]): FileValue[] {
  return values.map(({ tag, digest }) => ({ name: tag, digest }));
}

export function fileTable(values: readonly FileValue[]): Files {
  return Object.fromEntries(
    values.flatMap(({ name, digest }) => (digest === undefined ? [] : [[name, digest]])),
  );
}

export function fileList(files: Files): (FileValue & { digest: Digest })[] {
  return Object.entries(files).map(([name, digest]) => ({ name, digest }));
}

/** Those that show something else now. Reads what is there and is not the kept file itself. @throws DrydockError "host" */
export async function differingFiles(wanted: readonly FileValue[], layout: SiteLayout): Promise<FileValue[]> {
  const differing: FileValue[] = [];
  for (const value of wanted) if (!(await shows(value, layout))) differing.push(value);
  return differing;
}

async function shows({ name, digest }: FileValue, layout: SiteLayout): Promise<boolean> {
  const path = join(layout.files, name);
  if (digest !== undefined && (await isSameFile(path, layout.keptFile(digest)))) return true;
  return (await digestOfFile(path)) === digest;
}

/** Two names of one file, in the same file system. */
export async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([one, other].map((path) => stat(path).catch(() => undefined)));
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

/** What those names show now, kept so that they can be given it back; on disk when this returns. @throws DrydockError "host" */
export async function keepShown(wanted: readonly FileValue[], layout: SiteLayout): Promise<Files> {
  const found: FileValue[] = [];
  for (const { name, digest: next } of wanted) {
    const path = join(layout.files, name);
    const isNext = next !== undefined && (await isSameFile(path, layout.keptFile(next)));
    const digest = isNext ? next : await digestOfFile(path);
    if (digest === undefined) continue;
    found.push({ name, digest });
    const kept = layout.keptFile(digest);
    if (isNext || (await digestOfFile(kept)) === digest) continue;
    await makeFolder(layout.keptFiles);
    await alsoAs(await realpath(path), kept, layout);
  }
  if (found.length > 0) await syncFolders([layout.keptFiles]);
  return fileTable(found);
}

/** Gives the names what they shall show, each by rename. @throws DrydockError "host" naming the path. */
export async function setFiles(wanted: readonly FileValue[], layout: SiteLayout): Promise<void> {
  const folders = new Set<string>();
  for (const { name, digest } of await differingFiles(wanted, layout)) {
    const path = join(layout.files, name);
    if (digest === undefined) await removeShown(path, layout);
    else {
      await makeFolderUnsynced(dirname(path), folders);
      await alsoAs(layout.keptFile(digest), path, layout);
    }
  }
  await syncFolders(folders);
}

/** One more name for a file that never changes; a copy where that is in another file system. */
async function alsoAs(from: string, to: string, { keptFiles }: SiteLayout): Promise<void> {
  // Not beside its place: people look there, and a kill may leave it.
  const temporary = join(keptFiles, `.${basename(to)}`);
  try {
    await rm(temporary, { force: true });
    await link(from, temporary);
    await rename(temporary, to);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    if (!["EXDEV", "EPERM", "ENOTSUP", "EMLINK"].includes(errorCode(error) ?? ""))
      throw cannotWrite(to, error);
    await copy(from, to).catch((failure: unknown) => {
      throw cannotWrite(to, failure);
    });
  }
}

/** What a kill may have left beside those names, where files/ is another file system. @throws DrydockError "host" */
export async function removeHalfCopied(names: readonly string[], { files }: SiteLayout): Promise<void> {
  for (const name of names) {
    const path = copyOnItsWay(join(files, name));
    await rm(path, { force: true }).catch((error: unknown) => {
      if (errorCode(error) !== "ENOTDIR") throw cannotWrite(path, error);
    });
  }
}

/** With the folders that are empty then. */
async function removeShown(path: string, { files }: SiteLayout): Promise<void> {
  try {
    await rm(path, { force: true });
    let above = dirname(path);
    for (; above !== files; above = dirname(above)) await rmdir(above);
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST", "ENOENT"].includes(errorCode(error) ?? "")) throw cannotWrite(path, error);
  }
  await syncFolder(dirname(path)).catch(() => {});
}

/** The kept files but for some go. @throws DrydockError "host" */
export async function removeOtherFiles({ keptFiles }: SiteLayout, keep: ReadonlySet<Digest>): Promise<void> {
  const names = new Set([...keep].map(hexOf));
  await eachOf(await namesIn(keptFiles), async (name) => {
    if (names.has(name)) return;
    const path = join(keptFiles, name);
    await rm(path, { force: true }).catch((error: unknown) => {
      throw cannotWrite(path, error);
    });
  });
}

/** undefined if there is no such file @throws DrydockError "host" if it cannot be read. */
export async function digestOfFile(path: string): Promise<Digest | undefined> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EISDIR"].includes(errorCode(error) ?? "")) return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
  return `sha256:${hash.digest("hex")}`;
}
