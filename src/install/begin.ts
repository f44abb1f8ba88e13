/**
 * Before the first tag moves: what an earlier action left half done is put back or taken up, and the journal
 * says what is about to be done.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { type Journal, readInterrupted, readJournal, removeJournal, writeJournal } from "../site/journal.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { Tags } from "../site/record.ts";
import { readTags } from "./link.ts";
import { setTags, tagList, valuesOf } from "./tags.ts";

/**
 * Puts the tags back of an action that was interrupted, unless it is the install of this very bundle, which
 * goes on. The blobs stay.
 * @param digest of the bundle that is installed now
 */
export async function putOthersBack(layout: SiteLayout, digest: Digest, reporter: Reporter): Promise<void> {
  const journal = await readInterrupted(layout);
  if (journal === undefined || isInstallOf(journal, digest)) return;
  await runStep(
    reporter,
    `put back ${journal.name}, release ${journal.release}`,
    () => putBackTags(journal, layout),
    ({ moved, removed }) => `${moved + removed} tags`,
  );
  await removeJournal(layout);
}

/** Gives every tag of the journal the value it had before. @throws DrydockError "host" */
export async function putBackTags(
  { tagsBefore, tagsAfter }: Journal,
  layout: SiteLayout,
): Promise<{ moved: number; removed: number }> {
  // A tag that a rollback removes stands in tagsBefore alone.
  const added = valuesOf(tagsAfter, tagsBefore).filter(({ digest }) => digest === undefined);
  return await setTags([...tagList(tagsBefore), ...added], layout);
}

/** The journal that an install of this bundle left when it was interrupted. */
export async function interruptedInstall(layout: SiteLayout, digest: Digest): Promise<Journal | undefined> {
  const journal = await readJournal(layout);
  return journal !== undefined && isInstallOf(journal, digest) ? journal : undefined;
}

/** The bundle's tags as the journal and the release's record have them. */
export function tagsOf({ repositories }: Pick<BundleIndex, "repositories">): Tags {
  return Object.fromEntries(Object.entries(repositories).map(([name, { tags }]) => [name, tags]));
}

/**
 * What the bundle's tags named before its install began, be it this try or an earlier one; written to the
 * journal, on disk when this returns.
 * @throws DrydockError "host"
 */
export async function beginInstall(layout: SiteLayout, index: BundleIndex, digest: Digest): Promise<Tags> {
  const earlier = await interruptedInstall(layout, digest);
  if (earlier !== undefined) return earlier.tagsBefore;
  const tagsBefore = await readTags(index, layout);
  await writeJournal(layout, {
    action: "install",
    bundleDigest: digest,
    name: index.name,
    release: index.release,
    begunAt: new Date().toISOString(),
    tagsBefore,
    tagsAfter: tagsOf(index),
  });
  return tagsBefore;
}

function isInstallOf(journal: Journal, digest: Digest): boolean {
  return journal.action === "install" && journal.bundleDigest === digest;
}
