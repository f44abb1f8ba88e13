/**
 * Tags at the site, by name: what they name, and giving them other values or none. The registry may run
 * meanwhile: a tag moves by one rename, and is taken away by one.
 */
import { randomBytes } from "node:crypto";
import { readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import pLimit from "p-limit";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { linkContent, tagCurrentLinkPath, tagIndexLinkPath, tagPath } from "../oci/storage.ts";
import {
  cannotWrite,
  makeFolder,
  makeFolderUnsynced,
  syncFolder,
  syncFolders,
  writeDurably,
} from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Tags } from "../site/record.ts";

/** As many as the thread pool takes: one commit of the journal then serves several. */
const parallel = 16;

/** A tag and what it shall name; undefined: it shall not be there. */
export interface TagValue {
  repository: string;
  tag: string;
  digest: Digest | undefined;
}

/** The table as a flat list. */
export function tagList(tags: Tags): (TagValue & { digest: Digest })[] {
  return Object.entries(tags).flatMap(([repository, named]) =>
    Object.entries(named).map(([tag, digest]) => ({ repository, tag, digest })),
  );
}

/** The other way round; those that shall not be there are left out. */
export function tagTable(values: Iterable<TagValue>): Tags {
  const repositories = new Map<string, [string, Digest][]>();
  for (const { repository, tag, digest } of values) {
    if (digest === undefined) continue;
    const tags = repositories.get(repository) ?? [];
    tags.push([tag, digest]);
    repositories.set(repository, tags);
  }
  // Not by assignment: a tag may be called __proto__.
  return Object.fromEntries([...repositories].map(([name, tags]) => [name, Object.fromEntries(tags)]));
}

/** Every tag of `names` with its value in `values`. */
export function valuesOf(names: Tags, values: Tags): TagValue[] {
  return tagList(names).map(({ repository, tag }) => ({
    ...{ repository, tag },
    digest: own(own(values, repository) ?? {}, tag),
  }));
}

/** What gives all that an action changed its value from before: what it removed stands in `before` alone. */
export function valuesBack({ tagsBefore, tagsAfter }: { tagsBefore: Tags; tagsAfter: Tags }): TagValue[] {
  const added = valuesOf(tagsAfter, tagsBefore).filter(({ digest }) => digest === undefined);
  return [...tagList(tagsBefore), ...added];
}

/** What an object has itself: a tag may be called "constructor". */
function own<T>(table: Record<string, T>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** What those tags name at the site now; one that is not there, or that a crash has cut short, is absent. */
export async function readTagsNow(
  names: Iterable<Pick<TagValue, "repository" | "tag">>,
  layout: SiteLayout,
): Promise<Tags> {
  const found: TagValue[] = [];
  await eachOf(names, async ({ repository, tag }) => {
    const content = await readLink(join(layout.storage, tagCurrentLinkPath(repository, tag)));
    found.push({ repository, tag, digest: content !== undefined && isDigest(content) ? content : undefined });
  });
  return tagTable(found);
}

/**
 * Gives each tag its value, side by side; those that have it already are left as they are.
 * @returns which moved and which are gone @throws DrydockError "host" naming the path
 */
export async function setTags(
  wanted: readonly TagValue[],
  layout: SiteLayout,
): Promise<{ moved: number; removed: number }> {
  const done = { moved: 0, removed: 0 };
  await eachOf(wanted, async ({ repository, tag, digest }) => {
    const path = join(layout.storage, tagCurrentLinkPath(repository, tag));
    if (digest === undefined) {
      if (await removeTag(join(layout.storage, tagPath(repository, tag)), layout)) done.removed += 1;
    } else if ((await readLink(path)) !== linkContent(digest)) {
      await linkInIndex(join(layout.storage, tagIndexLinkPath(repository, tag, digest)), digest);
      await moveTag(path, digest);
      done.moved += 1;
    }
  });
  if (done.removed > 0) await rmdir(layout.incoming).catch(() => {});
  return done;
}

/** Makes a link of a tag name something else, durably. @param path of the link */
export async function moveTag(path: string, digest: Digest): Promise<void> {
  const folders = new Set<string>();
  await makeFolderUnsynced(dirname(path), folders);
  await syncFolders(folders);
  await writeDurably(path, linkContent(digest));
}

/** A tag that was taken away has lost the list of what it ever named. */
async function linkInIndex(path: string, digest: Digest): Promise<void> {
  if ((await readLink(path)) !== linkContent(digest)) await moveTag(path, digest);
}

/** Moved away as a whole first, so that the registry never sees half of one. @returns whether it was there */
async function removeTag(folder: string, layout: SiteLayout): Promise<boolean> {
  const aside = join(layout.incoming, randomBytes(8).toString("hex"));
  try {
    // A disk that is full need not have room where nothing is to be removed.
    await stat(folder);
    await makeFolder(layout.incoming);
    await rename(folder, aside);
    await syncFolder(dirname(folder));
    await rm(aside, { recursive: true, force: true });
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return false;
    throw cannotWrite(folder, error);
  }
}

/** The text of a link file; undefined if there is none. @throws DrydockError "host" if it cannot be read. */
export async function readLink(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}

/**
 * Works on some at a time. Begins no more work after the first error, which is thrown when all that was
 * begun has ended.
 */
export async function eachOf<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const limit = pLimit(parallel);
  const failures: unknown[] = [];
  const one = async (item: T) => {
    if (failures.length === 0) await work(item).catch((error: unknown) => failures.push(error));
  };
  await Promise.all(Array.from(items, (item) => limit(() => one(item))));
  if (failures.length > 0) throw failures[0];
}
