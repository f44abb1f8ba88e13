/** The step "run" for a release: its registry image into the engine, out of its own blobs; then the container. */
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Engine } from "../engine/engine.ts";
import { loadImage } from "../engine/load.ts";
import { DrydockError, errorText } from "../errors.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import type { AdoptedContainer } from "../site/adopted.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { registryPlatform } from "./registry-platform.ts";
import { type RunResult, runRegistry } from "./run.ts";

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

/** @param adopted the one that it takes the place of @throws DrydockError as runRegistry and loadImage do */
export async function serveRelease(
  engine: Engine,
  layout: SiteLayout,
  record: Pick<ReleaseRecord, "bundleDigest" | "registryImage" | "settings">,
  adopted?: AdoptedContainer,
): Promise<RunResult> {
  const release = layout.release(record.bundleDigest);
  const image = record.registryImage;
  const imageId = await loadImage(engine, {
    manifest: await readManifest(release.registryBlob(image)),
    blob: (blob) => createReadStream(release.registryBlob(blob), { highWaterMark: 1024 * 1024 }),
    name: registryImageName(image),
  });
  const { port, access } = record.settings;
  return await runRegistry(engine, { layout, port, access, imageId, ...(adopted && { adopted }) });
}

async function readManifest(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  }
}
