/**
 * The step "link": makes known to the registry what was placed. First, in a batch, the links of layers
 * and revisions, which show nothing; they are synced; then the tags, each by rename, so that a tag names
 * at every moment either what it named before or what is whole.
 */
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { contentLinks, type Link, tagLinks } from "../archive/contents.ts";
import { linkContent } from "../oci/storage.ts";
import { cannotWrite, makeFolderUnsynced, syncFolders } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Tags } from "../site/record.ts";
import { eachOf, moveTag, readLink, readTagsNow } from "./tags.ts";

/** What the bundle's tags name at the site now. A tag that is not there is absent. */
export async function readTags(index: BundleIndex, layout: SiteLayout): Promise<Tags> {
  return await readTagsNow(tagLinks(index), layout);
}

/** How many were written: 0 if all were there. */
export interface LinkResult {
  links: number;
  tags: number;
}

/** @throws DrydockError "host" */
export async function link(index: BundleIndex, layout: SiteLayout): Promise<LinkResult> {
  const links = await missing(contentLinks(index), layout);
  const folders = new Set<string>();
  await eachOf(links, (one) => writeLink(one, layout, folders));
  await syncFolders(folders);
  const tags = await missing(tagLinks(index), layout);
  await eachOf(tags, ({ path, digest }) => moveTag(join(layout.storage, path), digest));
  return { links: links.length, tags: tags.length };
}

async function missing(links: Iterable<Link>, layout: SiteLayout): Promise<Link[]> {
  const found: Link[] = [];
  await eachOf(links, async (one) => {
    if ((await readLink(join(layout.storage, one.path))) !== linkContent(one.digest)) found.push(one);
  });
  return found;
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
