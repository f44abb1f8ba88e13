/** Which id the engine has for a bundle's registry image, or will have once it is loaded: known before anything is placed. */
import { readFile } from "node:fs/promises";
import type { Bundle } from "../archive/reader.ts";
import type { Engine } from "../engine/engine.ts";
import { idOfImage, imageId } from "../engine/load.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { SiteLayout } from "../site/layout.ts";
import { registryImageName } from "./serve.ts";

/** @param image the digest of its image manifest @returns undefined if that cannot be known yet */
export async function expectedImage(
  engine: Engine,
  bundle: Bundle,
  layout: SiteLayout,
  image: Digest,
): Promise<string | undefined> {
  const config = await configOf(bundle, layout, image);
  return (await idInEngine(engine, image, config)) ?? config;
}

/** @returns undefined if the engine doesn't have it */
export async function loadedImage(
  engine: Engine,
  bundle: Bundle,
  layout: SiteLayout,
  image: Digest,
): Promise<string | undefined> {
  return await idInEngine(engine, image, await configOf(bundle, layout, image));
}

/** containerd's image store knows no image by its config; and another's tag may have the same image. */
async function idInEngine(
  engine: Engine,
  image: Digest,
  config: Digest | undefined,
): Promise<string | undefined> {
  const byConfig = config === undefined ? undefined : await imageId(engine, config);
  return byConfig ?? (await imageId(engine, registryImageName(image)));
}

async function configOf(bundle: Bundle, layout: SiteLayout, image: Digest): Promise<Digest | undefined> {
  const manifest = await readManifest(bundle, layout, image);
  return manifest && idOfImage({ manifest, name: registryImageName(image) });
}

/** Out of what an install has placed, else out of the bundle, which a pipe or damage may not give. */
async function readManifest(bundle: Bundle, layout: SiteLayout, image: Digest): Promise<Buffer | undefined> {
  const placed = layout.release(`sha256:${bundle.digest}`).registryBlob(image);
  const found = await readFile(placed).catch(() => undefined);
  if (found !== undefined || bundle.sequential) return found;
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of bundle.blob(image)) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  } catch (error) {
    if (error instanceof DrydockError) return undefined;
    throw error;
  }
}
