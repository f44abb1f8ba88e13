/** The step "run" for a release: its registry image into the engine, out of its own blobs; then the container. */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Engine } from "../engine/engine.ts";
import { loadImage } from "../engine/load.ts";
import { DrydockError, errorText } from "../errors.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { keepCertificates, readCertificates } from "../site/kept-certificates.ts";
import type { SiteLayout } from "../site/layout.ts";
import { readMarker } from "../site/marker.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { registryPlatform } from "./registry-platform.ts";
import { type RunOptions, type RunResult, runRegistry } from "./run.ts";

/** How the engine calls every registry image that drydock loads. */
export const imageRepository = "drydock/registry";

/** Under this name an image of the registry is loaded. @param image the digest of its image manifest */
export function registryImageName(image: Digest): string {
  return `${imageRepository}:${shortDigest(image)}`;
}

/** The image manifest of the bundle's registry image that the engine runs. @throws DrydockError "preflight" */
export async function registryImageFor(index: BundleIndex, engine: Engine): Promise<Digest> {
  const { platform } = await engine.describe();
  const { images } = index.registry;
  const image = images[registryPlatform(images, platform) ?? ""];
  if (image) return image;
  throw new DrydockError("preflight", `the bundle has no registry image for ${platform}`);
}

/** @param certificates the set that it is served with @throws DrydockError as runRegistry and loadImage do */
export async function serveRelease(
  engine: Engine,
  layout: SiteLayout,
  record: Pick<ReleaseRecord, "bundleDigest" | "registryImage" | "settings">,
  certificates: Digest,
  options: Pick<RunOptions, "adopted" | "portCommand"> = {},
): Promise<RunResult> {
  const release = layout.release(record.bundleDigest);
  const image = record.registryImage;
  const imageId = await loadImage(engine, {
    manifest: await readManifest(release.registryBlob(image)),
    blob: (blob) => createReadStream(release.registryBlob(blob), { highWaterMark: 1024 * 1024 }),
    name: registryImageName(image),
  });
  const { port, access } = record.settings;
  return await runRegistry(engine, { layout, port, access, imageId, certificates, ...options });
}

/** The current release is served as the site's marker has it, and no other container of the site's is left. */
export async function serveCurrent(
  engine: Engine,
  layout: SiteLayout,
  current: ReleaseRecord,
): Promise<RunResult> {
  const run = await serveRelease(engine, layout, current, await certificatesInEffect(layout));
  await run.settle();
  await run.dismissOld();
  return run;
}

/** Those that the site is served with. Where an earlier drydock has put it up, they are in certs/ alone. */
export async function certificatesInEffect(layout: SiteLayout): Promise<Digest> {
  const { certificates } = await readMarker(layout);
  return certificates ?? (await keepCertificates(layout, await readCertificates(layout)));
}

async function readManifest(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
