/**
 * The step "link": makes known to the registry what was placed. First, in a batch, the links of layers
 * and revisions, which show nothing; they are synced; then the tags, each by rename, so that a tag names
 * at every moment either what it named before or what is whole.
 */
import { open, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import pLimit from "p-limit";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { contentLinks, type Link, tagLinks } from "../archive/contents.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { isDigest } from "../oci/digest.ts";
import { linkContent } from "../oci/storage.ts";
import { cannotWrite, makeFolderUnsynced, syncFolders, writeDurably } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Tags } from "../site/record.ts";

/** As many as the thread pool takes: one commit of the journal then serves several. */
const parallel = 16;

/** What the bundle's tags name at the site now. A tag that is not there is absent. */
export async function readTags(index: BundleIndex, layout: SiteLayout): Promise<Tags> {
  const tags: Tags = {};
  for (const { path, repository, tag } of tagLinks(index)) {
    const content = await readLink(join(layout.storage, path));
    if (content !== undefined && isDigest(content))
      tags[repository] = { ...tags[repository], [tag]: content };
  }
  return tags;
}

/** @returns how many links were written: 0 if all were there @throws DrydockError "host" */
export async function link(index: BundleIndex, layout: SiteLayout): Promise<{ links: number; tags: number }> {
  const links = await missing(contentLinks(index), layout);
  const folders = new Set<string>();
  await each(links, (one) => writeLink(one, layout, folders));
  await syncFolders(folders);
  const tags = await missing(tagLinks(index), layout);
  await each(tags, (one) => moveTag(one, layout));
  return { links: links.length, tags: tags.length };
}

async function missing(links: Iterable<Link>, layout: SiteLayout): Promise<Link[]> {
  const found: Link[] = [];
  await each(links, async (one) => {
    if ((await readLink(join(layout.storage, one.path))) !== linkContent(one.digest)) found.push(one);
  });
  return found;
}

async function readLink(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}

/** In place: until a tag moves, nothing reads a link that is cut short by a crash, and the next run mends it. */
async function writeLink({ path, digest }: Link, layout: SiteLayout, folders: Set<string>): Promise<void> {
  const full = join(layout.storage, path);
  await makeFolderUnsynced(dirname(full), folders);
  try {
    const file = await open(full, "w", 0o644);
    try {
      await file.writeFile(linkContent(digest));
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw cannotWrite(full, error);
  }
}

async function moveTag({ path, digest }: Link, layout: SiteLayout): Promise<void> {
  const full = join(layout.storage, path);
  const folders = new Set<string>();
  await makeFolderUnsynced(dirname(full), folders);
  await syncFolders(folders);
  await writeDurably(full, linkContent(digest));
}

/** Begins no more work after the first error, which is thrown when all that was begun has ended. */
async function each<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const limit = pLimit(parallel);
  const failures: unknown[] = [];
  const one = async (item: T) => {
    if (failures.length === 0) await work(item).catch((error: unknown) => failures.push(error));
  };
  await Promise.all(Array.from(items, (item) => limit(() => one(item))));
  if (failures.length > 0) throw failures[0];
}
