/**
 * An image of the local engine (Docker, Podman) as content of a bundle. It is spooled when it is planned,
 * since the digests of its layers are known only once they are gzipped. Its config stays as it is, and with
 * it the image's id.
 */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import type Dockerode from "dockerode";
import type { BundleBlob } from "../archive/bundle-index.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { parseImageConfig, platformOf } from "../oci/image-manifest.ts";
import { dockerConfig, dockerLayer, dockerManifest } from "../oci/media-types.ts";
import { formatPlatform, matchesPlatform, parsePlatform } from "../oci/platform.ts";
import { temporary } from "../temporary.ts";
import { type BlobSink, type Content, siteName } from "./content.ts";
import { uniqueByDigest } from "./resolve-image.ts";
import { readSavedImage, readSpooled, type SavedImage } from "./saved-image.ts";

export interface EngineImageRequest {
  /** as the user wrote it */
  source: string;
  /** what the engine knows it by: `my/app:dev` */
  name: string;
  /** what to ask for in its place, where just one image will do: its id */
  id?: string;
  /** its repository and tag at the site; no tag: it is there by its digest alone */
  repository: string;
  tag?: string;
  /** what it must be for; anything if left out */
  platform?: string;
}

/** What is made of a saved image: an image manifest over its config and layers. */
interface EngineImage {
  saved: SavedImage;
  manifest: Buffer;
  platform: string | undefined;
}

/**
 * @param spoolFolder the layers go into a new folder (0700) in it, until dispose
 * @throws DrydockError "upstream" if no engine answers, it has no such image, or one for another platform;
 *   "integrity" if its layers are not those that its config names; "host" if the spool can't be written.
 */
export async function planEngineImage(
  request: EngineImageRequest,
  docker: Dockerode,
  spoolFolder: string,
): Promise<Content> {
  const where = nameInErrors(request.name);
  const archive = await saveImage(docker, request, where);
  const folder = await mkdtemp(join(spoolFolder, "drydock-spool-")).catch((cause: unknown) => {
    throw new DrydockError("host", `make a folder in ${JSON.stringify(spoolFolder)}: ${errorText(cause)}`, {
      cause,
    });
  });
  const { remove: dispose } = temporary(folder);
  try {
    const image = describe(await readSavedImage(archive, folder, where), request, where);
    return { ...contentOf(image, request), fill: (sink) => fillFromSpool(image, sink, where), dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** Asks for the image first: an engine that lacks it says so only there in a way that all engines share. */
async function saveImage(
  docker: Dockerode,
  { name, id }: EngineImageRequest,
  where: string,
): Promise<AsyncIterable<Uint8Array>> {
  try {
    const image = docker.getImage(id ?? name);
    await image.inspect();
    return (await image.get()) as AsyncIterable<Uint8Array>;
  } catch (cause) {
    throw notRead(cause, where, id);
  }
}

/**
 * The id of the image that has this name now.
 * @throws DrydockError "upstream" if no engine answers, or it has no such image
 */
export async function engineImageId(docker: Dockerode, name: string): Promise<string> {
  try {
    return (await docker.getImage(name).inspect()).Id;
  } catch (cause) {
    throw notRead(cause, nameInErrors(name), undefined);
  }
}

function nameInErrors(name: string): string {
  return `image ${JSON.stringify(name)} of the local engine`;
}

function notRead(cause: unknown, where: string, id: string | undefined): DrydockError {
  if (statusOf(cause) === 404) {
    return new DrydockError("upstream", `read ${where}: it has no such image${id ? ` as ${id}` : ""}`, {
      hint: id === undefined ? "See which there are: docker images" : "Take today's with --lock.",
      cause,
    });
  }
  const noEngine = ["ENOENT", "ECONNREFUSED", "EACCES"].includes(errorCode(cause) ?? "");
  const why = noEngine ? `no engine answers (${errorCode(cause)})` : errorText(cause);
  return new DrydockError("upstream", `read ${where}: ${why}`, {
    hint: noEngine
      ? "Start Docker, or set DOCKER_HOST to where it listens; it may take root to ask it."
      : undefined,
    cause,
  });
}

function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("statusCode" in error)) return undefined;
  return typeof error.statusCode === "number" ? error.statusCode : undefined;
}

function describe(saved: SavedImage, request: EngineImageRequest, where: string): EngineImage {
  const config = parseImageConfig(saved.config, `${where}: config`);
  checkLayers(config.rootfs, saved, where);
  const platform = platformOf(config);
  const wanted = request.platform === undefined ? undefined : parsePlatform(request.platform);
  if (wanted !== undefined && platform !== undefined && !matchesPlatform(wanted, platform)) {
    throw new DrydockError(
      "upstream",
      `read ${where}: wanted ${formatPlatform(wanted)}, but it is for ${formatPlatform(platform)}`,
    );
  }
  return {
    saved,
    manifest: manifestOf(saved),
    platform: platform === undefined ? undefined : formatPlatform(platform),
  };
}

/** The config names its layers by their digests before compression (OCI image specification, config.md). */
function checkLayers(rootfs: unknown, saved: SavedImage, where: string): void {
  const { diff_ids: diffIds } = (rootfs ?? {}) as { diff_ids?: unknown };
  const wanted: unknown[] = Array.isArray(diffIds) ? diffIds : [];
  if (wanted.length !== saved.layers.length) {
    throw new DrydockError(
      "integrity",
      `read ${where}: its config names ${wanted.length} layers, the engine sent ${saved.layers.length}`,
    );
  }
  for (const [at, { diffId }] of saved.layers.entries()) {
    if (wanted[at] === diffId) continue;
    throw new DrydockError(
      "integrity",
      `read ${where}: layer ${at + 1} is ${diffId}, its config says ${JSON.stringify(wanted[at])}`,
    );
  }
}

/** Docker schema 2, as `docker push` would make it: the config may say what an OCI image can't (a health check). */
function manifestOf({ config, layers }: SavedImage): Buffer {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: dockerManifest,
      config: { mediaType: dockerConfig, size: config.length, digest: digestOf(config) },
      layers: layers.map(({ size, digest }) => ({ mediaType: dockerLayer, size, digest })),
    }),
  );
}

function contentOf(image: EngineImage, request: EngineImageRequest): Omit<Content, "fill"> {
  const { source, repository, tag } = request;
  const { saved, platform } = image;
  const { config, layers } = saved;
  const tagged = tag === undefined ? {} : { tag };
  const digest = digestOf(image.manifest);
  const asBlob = (one: { digest: Digest; size: number }): BundleBlob => ({
    digest: one.digest,
    size: one.size,
    role: "image",
  });
  const held = uniqueByDigest([{ digest: digestOf(config), size: config.length }, ...layers].map(asBlob));
  return {
    name: source,
    blobs: [asBlob({ digest, size: image.manifest.length }), ...held],
    repositories: {
      [repository]: {
        tags: tag === undefined ? {} : { [tag]: digest },
        revisions: [digest],
        layers: held.map((blob) => blob.digest).sort(),
      },
    },
    images: [{ source, repository, digest, platforms: platform === undefined ? [] : [platform], ...tagged }],
    names: [
      {
        mediaType: dockerManifest,
        digest,
        size: image.manifest.length,
        name: siteName(repository, tag, digest),
      },
    ],
  };
}

async function fillFromSpool(image: EngineImage, sink: BlobSink, where: string): Promise<void> {
  for (const bytes of [image.manifest, image.saved.config]) {
    const digest = digestOf(bytes);
    if (sink.wants(digest)) await sink.write(digest, once(bytes), where);
  }
  for (const layer of image.saved.layers) {
    if (sink.wants(layer.digest)) await sink.write(layer.digest, readSpooled(layer), where);
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
