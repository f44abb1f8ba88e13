/**
 * What an action that was killed left under temporary names. Nothing refers to it, and whoever comes later
 * doesn't come upon it by himself; but it takes room, and a key may be among it.
 */
import { rm, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDigest } from "../oci/digest.ts";
import { tagCurrentLinkPath, tagIndexLinkPath } from "../oci/storage.ts";
import { cannotWrite, namesIn, removeTemporaries } from "../site/durable.ts";
import { readJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { eachOf, tagList } from "./tags.ts";

/**
 * Removes it: in the site's own folders, and in those of the tags that the journal names. To be called with
 * the site's lock held, before the journal goes. @throws DrydockError "host"
 */
export async function removeLeftovers(layout: SiteLayout): Promise<void> {
  const digests = (await namesIn(layout.releases)).map((name) => `sha256:${name}`).filter(isDigest);
  const releases = digests.map((digest) => layout.release(digest));
  const own = [layout.root, layout.certs, ...releases.flatMap(({ folder, certs }) => [folder, certs])];
  for (const folder of own) await removeTemporaries(folder);
  await removeIncoming(layout);
  for (const digest of digests) await removeIfEmpty(dirname(layout.release(digest).stagedFile(digest)));
  await eachOf(await foldersOfTags(layout), removeTemporaries);
}

/** Of the tags that an action moved, or was about to move. */
async function foldersOfTags(layout: SiteLayout): Promise<Set<string>> {
  const journal = await readJournal(layout);
  const moved = journal === undefined ? [] : [journal.tagsBefore, journal.tagsAfter].flatMap(tagList);
  const paths = moved.flatMap(({ repository, tag, digest }) => [
    tagCurrentLinkPath(repository, tag),
    tagIndexLinkPath(repository, tag, digest),
  ]);
  return new Set(paths.map((path) => dirname(join(layout.storage, path))));
}

/** Blobs on their way in, of which nobody knows whether they are whole; tags that were taken away. */
async function removeIncoming({ incoming }: SiteLayout): Promise<void> {
  try {
    await rm(incoming, { recursive: true, force: true });
  } catch (error) {
    throw cannotWrite(incoming, error);
  }
}

/** All files of a release have got their names, and it was killed right then. */
async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch(() => {});
}
