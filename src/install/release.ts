/** What a site remembers of a release when its install is complete, and whether there is something to remember. */
import { isDeepStrictEqual } from "node:util";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Digest } from "../oci/digest.ts";
import { keepCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import {
  currentRelease,
  listReleases,
  type ReleaseRecord,
  readRelease,
  type ServeSettings,
  type SiteChoices,
  setCurrent,
  type Tags,
  writeRelease,
} from "../site/record.ts";
import { interruptedInstall, tagsOf } from "./begin.ts";
import { readTags } from "./link.ts";

/** What is being installed. */
export interface NewRelease {
  index: BundleIndex;
  digest: Digest;
  settings: ServeSettings;
  chosen: SiteChoices;
  registryImage: Digest;
  /** what has to be written of it */
  placed: { blobs: number; bytes: number };
}

/**
 * Whether the install does more than to find, or to start again, what is served already. A bundle that is
 * all there under another one that was installed after it stays under that one, if they have other names.
 */
export async function differs(layout: SiteLayout, release: NewRelease): Promise<boolean> {
  const { index, digest, settings, registryImage } = release;
  const recorded = await readRelease(layout, digest);
  const served = await currentRelease(layout);
  if (recorded === undefined || served === undefined || recorded.rolledBackAt !== undefined) return true;
  if (served.bundleDigest !== digest && served.name === index.name) return true;
  if (release.placed.blobs > 0 || (await interruptedInstall(layout, digest)) !== undefined) return true;
  if (!isDeepStrictEqual(served.settings, settings) || served.registryImage !== registryImage) return true;
  return !isDeepStrictEqual(await readTags(index, layout), withoutEmpty(tagsOf(index)));
}

/** A repository that came without a tag. */
function withoutEmpty(tags: Tags): Tags {
  return Object.fromEntries(Object.entries(tags).filter(([, named]) => Object.keys(named).length > 0));
}

/**
 * Remembers the release, durably: its certificates, its record, and last that it is the current one. One that
 * was current already, and was only mended or is served otherwise now, keeps its place in the history.
 * @param tagsBefore what its tags named before its install began
 */
export async function completeRelease(
  layout: SiteLayout,
  { index, digest, settings, chosen, registryImage, placed }: NewRelease,
  tagsBefore: Tags,
): Promise<void> {
  await keepCertificates(layout, layout.release(digest));
  const served = await currentRelease(layout);
  const history =
    served?.bundleDigest === digest
      ? served
      : await newHistory(layout, digest, served, { tagsBefore, placed });
  const { sequence, installedAt, over } = history;
  await writeRelease(layout, {
    bundleDigest: digest,
    ...{ name: index.name, release: index.release },
    ...{ sequence, installedAt, ...(over === undefined ? {} : { over }) },
    ...{ tagsBefore: history.tagsBefore, tagsAfter: tagsOf(index), placed: history.placed },
    ...{ settings, chosen, registryImage },
  });
  await setCurrent(layout, digest);
}

type History = Pick<ReleaseRecord, "sequence" | "installedAt" | "over" | "tagsBefore" | "placed">;

async function newHistory(
  layout: SiteLayout,
  digest: Digest,
  served: ReleaseRecord | undefined,
  rest: Pick<ReleaseRecord, "tagsBefore" | "placed">,
): Promise<History> {
  // Its own record may be there already: of a try that was killed before it was current, or rolled back.
  const last = (await listReleases(layout)).filter(({ bundleDigest }) => bundleDigest !== digest).at(-1);
  return {
    ...rest,
    sequence: (last?.sequence ?? 0) + 1,
    installedAt: new Date().toISOString(),
    ...(served === undefined ? {} : { over: served.bundleDigest }),
  };
}
