/** What a site remembers of a release when its install is complete, and whether there is something to remember. */
import { isDeepStrictEqual } from "node:util";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Digest } from "../oci/digest.ts";
import { isComplete, type Journal, readJournal } from "../site/journal.ts";
import { readCertificates, setDigest } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { readMarker } from "../site/marker.ts";
import {
  completeAction,
  currentRelease,
  listReleases,
  type ReleaseRecord,
  readRelease,
  type ServeSettings,
  type SiteChoices,
  type Tags,
  writeRelease,
} from "../site/record.ts";
import { differingFiles, fileList, filesOf } from "./files.ts";
import { readTags } from "./link.ts";

/** What is being installed. */
export interface NewRelease {
  index: BundleIndex;
  digest: Digest;
  settings: ServeSettings;
  chosen: SiteChoices;
  registryImage: Digest;
  /** the set that it is served with */
  certificates: Digest;
  /** what has to be written of it */
  placed: { blobs: number; bytes: number };
}

/**
 * Whether the install does more than to find, or to start again, what is served already. A bundle that is
 * all there under another one that was installed after it stays under that one, if they have other names.
 */
export async function differs(layout: SiteLayout, release: NewRelease): Promise<boolean> {
  const { index, digest, settings, registryImage, certificates } = release;
  const recorded = await readRelease(layout, digest);
  const served = await currentRelease(layout);
  if (recorded === undefined || served === undefined || recorded.rolledBackAt !== undefined) return true;
  if (served.bundleDigest !== digest && served.name === index.name) return true;
  if (release.placed.blobs > 0 || (await isUnderWay(layout))) return true;
  if ((await readMarker(layout)).certificates !== certificates) return true;
  if (setDigest(await readCertificates(layout)) !== certificates) return true;
  if ((await differingFiles(fileList(filesOf(index)), layout)).length > 0) return true;
  if (!isDeepStrictEqual(served.settings, settings) || served.registryImage !== registryImage) return true;
  return !isDeepStrictEqual(await readTags(index, layout), withoutEmpty(tagsOf(index)));
}

/** An earlier try of this very install: all others are put back by then. */
async function isUnderWay(layout: SiteLayout): Promise<boolean> {
  const journal = await readJournal(layout);
  return journal !== undefined && journal.action === "install" && !(await isComplete(layout, journal));
}

/** The bundle's tags as the journal and the release's record have them. */
export function tagsOf({ repositories }: Pick<BundleIndex, "repositories">): Tags {
  return Object.fromEntries(Object.entries(repositories).map(([name, { tags }]) => [name, tags]));
}

/** A repository that came without a tag. */
function withoutEmpty(tags: Tags): Tags {
  return Object.fromEntries(Object.entries(tags).filter(([, named]) => Object.keys(named).length > 0));
}

/**
 * Remembers the release, durably: its record first, then, at once, that it is complete and the current one. One
 * that was current already, and was only mended or is served otherwise now, keeps its place in the history.
 * @param journal with what was served before its install began
 */
export async function completeRelease(
  layout: SiteLayout,
  { index, digest, settings, chosen, registryImage, certificates, placed }: NewRelease,
  { begunAt, tagsBefore, filesBefore = {} }: Journal,
): Promise<void> {
  const served = await currentRelease(layout);
  const history =
    served?.bundleDigest === digest
      ? served
      : await newHistory(layout, digest, served, { tagsBefore, filesBefore, placed });
  const { sequence, installedAt, over } = history;
  await writeRelease(layout, {
    bundleDigest: digest,
    ...{ name: index.name, release: index.release },
    ...{ sequence, installedAt, ...(over === undefined ? {} : { over }) },
    ...{ tagsBefore: history.tagsBefore, tagsAfter: tagsOf(index) },
    ...{ filesBefore: history.filesBefore ?? filesBefore, filesAfter: filesOf(index) },
    ...{ certificates, placed: history.placed, settings, chosen, registryImage },
  });
  await completeAction(layout, { current: digest, certificates, begunAt });
}

type History = Pick<
  ReleaseRecord,
  "sequence" | "installedAt" | "over" | "tagsBefore" | "filesBefore" | "placed"
>;

async function newHistory(
  layout: SiteLayout,
  digest: Digest,
  served: ReleaseRecord | undefined,
  rest: Pick<History, "tagsBefore" | "filesBefore" | "placed">,
): Promise<History> {
  // It may be in the history already, rolled back.
  const last = (await listReleases(layout)).filter(({ bundleDigest }) => bundleDigest !== digest).at(-1);
  return {
    ...rest,
    sequence: (last?.sequence ?? 0) + 1,
    installedAt: new Date().toISOString(),
    ...(served === undefined ? {} : { over: served.bundleDigest }),
  };
}
