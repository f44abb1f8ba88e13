/** The images that a site's release serves, and how much a client pulls of each. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { DrydockError, errorCode } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { type Descriptor, parseImageConfig, parseImageManifest, platformOf } from "../oci/image-manifest.ts";
import { isUnknownPlatform, type Platform } from "../oci/platform.ts";
import { blobPath } from "../oci/storage.ts";
import type { SiteLayout } from "./layout.ts";
import { currentRelease, findSite } from "./record.ts";

export interface ServedImage {
  repository: string;
  /** what its tag names: an image manifest or an image index */
  digest: Digest;
  /** with the bytes of config and layers */
  platforms: { platform: Platform; bytes: number }[];
}

/**
 * Every tag of the current release that is a container image. One that can't be read is left out: `status` looks
 * after those.
 * @param site the site's directory, if given @throws DrydockError "input" if there is no site
 */
export async function readServedImages(site?: string): Promise<ServedImage[]> {
  const layout = await findSite(site);
  const tags = (await currentRelease(layout))?.tagsAfter ?? {};
  const named = Object.entries(tags).flatMap(([repository, digests]) =>
    [...new Set(Object.values(digests))].map((digest) => ({ repository, digest })),
  );
  const images = await pLimit(16).map(named, async ({ repository, digest }) => ({
    ...{ repository, digest },
    platforms: await platformsOf(layout, digest).catch(unlessUnreadable),
  }));
  return images.filter(({ platforms }) => platforms.length > 0);
}

function unlessUnreadable(error: unknown): [] {
  if (error instanceof DrydockError || errorCode(error) !== undefined) return [];
  throw error;
}

async function platformsOf(layout: SiteLayout, digest: Digest): Promise<ServedImage["platforms"]> {
  const { kind, children, config, blobs, isArtifact } = await readManifest(layout, digest);
  if (kind === "index") {
    const named = children.filter(({ platform }) => platform !== undefined && !isUnknownPlatform(platform));
    return (await Promise.all(named.map((child) => childOf(layout, child).catch(unlessUnreadable)))).flat();
  }
  if (config === undefined || isArtifact) return [];
  const platform = platformOf(parseImageConfig(await readBlob(layout, config.digest), config.digest));
  return platform === undefined ? [] : [{ platform, bytes: sum(blobs) }];
}

async function childOf(
  layout: SiteLayout,
  { digest, platform }: Descriptor,
): Promise<ServedImage["platforms"]> {
  const { config, blobs, isArtifact } = await readManifest(layout, digest);
  if (platform === undefined || config === undefined || isArtifact) return [];
  return [{ platform, bytes: sum(blobs) }];
}

async function readManifest(layout: SiteLayout, digest: Digest) {
  return parseImageManifest(await readBlob(layout, digest), undefined, digest);
}

async function readBlob(layout: SiteLayout, digest: Digest): Promise<Buffer> {
  return await readFile(join(layout.storage, blobPath(digest)));
}

function sum(blobs: readonly Descriptor[]): number {
  return blobs.reduce((bytes, { size }) => bytes + size, 0);
}
