/**
 * What an action that was killed left under temporary names. Nothing refers to it, and whoever comes later
 * doesn't come upon it by himself; but it takes room, and a key may be among it.
 */
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isDigest } from "../oci/digest.ts";
import { tagCurrentLinkPath, tagIndexLinkPath } from "../oci/storage.ts";
import { cannotWrite, namesIn, removeTemporaries } from "../site/durable.ts";
import { type Journal, readJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import { freeReserve } from "../site/reserve.ts";
import { removeHalfCopied } from "./files.ts";
import { eachOf, tagList } from "./tags.ts";

/**
 * Removes it: in the site's own folders, and in those of the tags and files that the journal names. To be called with
 * the site's lock held, before the journal goes. @throws DrydockError "host"
 */
export async function removeLeftovers(layout: SiteLayout): Promise<void> {
  const digests = (await namesIn(layout.releases)).map((name) => `sha256:${name}`).filter(isDigest);
  const releases = digests.map((digest) => layout.release(digest).folder);
  const sets = (await namesIn(layout.keptCertificates)).map((name) => join(layout.keptCertificates, name));
  const { root, certs, adopted, reserves } = layout;
  const own = [root, certs, adopted.folder, adopted.certs, ...reserves.map((path) => dirname(path))];
  for (const folder of [...own, ...releases, ...sets]) await removeTemporaries(folder);
  await freeReserve(layout);
  await removeIncoming(layout);
  const journal = await readJournal(layout);
  if (journal === undefined) return;
  await eachOf(foldersOfTags(journal, layout), removeTemporaries);
  await removeHalfCopied(Object.keys({ ...journal.filesBefore, ...journal.filesAfter }), layout);
}

/** Of the tags that an action moved, or was about to move. */
function foldersOfTags({ tagsBefore, tagsAfter }: Journal, layout: SiteLayout): Set<string> {
  const paths = [tagsBefore, tagsAfter]
    .flatMap(tagList)
    .flatMap(({ repository, tag, digest }) => [
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
