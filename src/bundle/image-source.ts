/**
 * An image from an upstream registry as content of a bundle: planned from its image manifests, its blobs
 * downloaded side by side into their slots.
 */
import { DrydockError } from "../errors.ts";
import type { Descriptor } from "../oci/image-manifest.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { RegistryClient } from "../oci/registry-client.ts";
import { type BlobSink, type Content, siteName } from "./content.ts";
import type { DownloadLimits } from "./download-limits.ts";
import { type ResolvedImage, resolveImage, uniqueByDigest, type WantedPlatforms } from "./resolve-image.ts";

export { type ResolvedImage, resolveImage, type WantedPlatforms } from "./resolve-image.ts";

export interface ImageRequest {
  /** as the user wrote it */
  source: string;
  reference: Reference;
  /** its repository and tag at the site */
  repository: string;
  /** none: the image is there by its digest alone */
  tag?: string;
  platforms: WantedPlatforms;
  /** whether what refers to it is carried too; not if left out */
  referrers?: boolean;
}

/** How often a blob of wrong bytes is asked for, if the sink takes it again. */
const mostFetches = 3;

/**
 * @param limits how many downloads run at once, over all images that share them
 * @throws as resolveImage. `fill` throws the first error, when all its downloads have ended.
 */
export async function planImage(
  request: ImageRequest,
  client: RegistryClient,
  limits: DownloadLimits,
): Promise<Content> {
  const { reference, platforms, referrers = false } = request;
  return imageContent(
    request,
    await resolveImage(client, reference, platforms, { referrers }),
    client,
    limits,
  );
}

/** A resolved image as content. @param limits as for planImage */
export function imageContent(
  request: ImageRequest,
  image: ResolvedImage,
  client: RegistryClient,
  limits: DownloadLimits,
): Content {
  const { source, reference, repository, tag } = request;
  const { digest, mediaType, platforms } = image;
  const manifests = image.manifests.map((one) => ({ digest: one.digest, size: one.bytes.length }));
  const size = manifests[0]?.size ?? 0;
  const missing = image.missing.map((platform) => ({
    what: `${source} for ${platform}`,
    why: "upstream does not have this platform",
  }));
  return {
    name: source,
    blobs: uniqueByDigest([...manifests, ...image.blobs]).map((one) => ({
      digest: one.digest,
      size: one.size,
      role: "image",
    })),
    repositories: {
      [repository]: {
        tags: { ...image.tags, ...(tag === undefined ? {} : { [tag]: digest }) },
        revisions: manifests.map((one) => one.digest).sort(),
        layers: image.blobs.map((one) => one.digest).sort(),
      },
    },
    images: [{ source, repository, digest, platforms, ...(tag === undefined ? {} : { tag }) }],
    names: [{ mediaType, digest, size, name: siteName(repository, tag, digest) }],
    leftOut: [...missing, ...image.leftOut.map(({ what, why }) => ({ what: `${source}: ${what}`, why }))],
    fill: (sink) => fillImage(image, reference, sink, client, limits),
  };
}

async function fillImage(
  image: ResolvedImage,
  reference: Reference,
  sink: BlobSink,
  client: RegistryClient,
  limits: DownloadLimits,
): Promise<void> {
  const where = formatReference(reference);
  for (const { digest, bytes } of image.manifests) {
    if (sink.wants(digest))
      await sink.write(
        digest,
        lazily(async () => [bytes]),
        where,
      );
  }
  const stop = new AbortController();
  const { signal } = stop;
  const host = client.hostFor(reference.registry);
  const fetch = async (blob: Descriptor) => {
    const write = () => {
      const { bytes: offset, lead } = sink.begun(blob.digest);
      const content = lazily(() => client.blob(reference, blob, { signal, offset, lead }));
      return sink.write(blob.digest, content, where, offset);
    };
    if (!signal.aborted && sink.wants(blob.digest)) await againIfWrong(blob, sink, signal, write);
  };
  await Promise.all(
    image.blobs.map((blob) =>
      limits.run(host, blob.size, () => fetch(blob)).catch((error: unknown) => stop.abort(error)),
    ),
  );
  signal.throwIfAborted();
}

/** Something on the way may have changed the bytes. Wrong ones are an error in the end, never let through. */
async function againIfWrong(
  blob: Descriptor,
  sink: BlobSink,
  signal: AbortSignal,
  write: () => Promise<void>,
): Promise<void> {
  for (let left = mostFetches - 1; ; left -= 1) {
    try {
      return await write();
    } catch (error) {
      const isWrong = error instanceof DrydockError && error.kind === "integrity";
      if (!isWrong || left === 0 || signal.aborted || !sink.wants(blob.digest)) throw error;
    }
  }
}

/** Opens the source when it is first read: a sink that turns out to have the blob opens no connection. */
async function* lazily(
  open: () => Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array>>,
): AsyncGenerator<Uint8Array> {
  yield* await open();
}
