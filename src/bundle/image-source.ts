/**
 * An image from an upstream registry as content of a bundle: planned from its image manifests, its blobs
 * downloaded side by side into their slots.
 */
import type { LimitFunction } from "p-limit";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { RegistryClient } from "../oci/registry-client.ts";
import { type BlobSink, type Content, siteName } from "./content.ts";
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
}

/** The repository path at the site, without the upstream's host: docker.io/library/alpine → library/alpine. */
export function sitePath(reference: Reference): string {
  return reference.repository;
}

/**
 * @param limit how many downloads run at once, over all images that share it
 * @throws as resolveImage. `fill` throws the first error, when all its downloads have ended.
 */
export async function planImage(
  request: ImageRequest,
  client: RegistryClient,
  limit: LimitFunction,
): Promise<Content> {
  return imageContent(
    request,
    await resolveImage(client, request.reference, request.platforms),
    client,
    limit,
  );
}

/** A resolved image as content. @param limit as for planImage */
export function imageContent(
  request: ImageRequest,
  image: ResolvedImage,
  client: RegistryClient,
  limit: LimitFunction,
): Content {
  const { source, reference, repository, tag } = request;
  const { digest, mediaType, platforms } = image;
  const manifests = image.manifests.map((one) => ({ digest: one.digest, size: one.bytes.length }));
  const size = manifests[0]?.size ?? 0;
  return {
    name: source,
    blobs: uniqueByDigest([...manifests, ...image.blobs]).map((one) => ({
      digest: one.digest,
      size: one.size,
      role: "image",
    })),
    repositories: {
      [repository]: {
        tags: tag === undefined ? {} : { [tag]: digest },
        revisions: manifests.map((one) => one.digest).sort(),
        layers: image.blobs.map((one) => one.digest).sort(),
      },
    },
    images: [{ source, repository, digest, platforms, ...(tag === undefined ? {} : { tag }) }],
    names: [{ mediaType, digest, size, name: siteName(repository, tag, digest) }],
    leftOut: image.missing.map((platform) => ({
      what: `${source} for ${platform}`,
      why: "upstream does not have this platform",
    })),
    fill: (sink) => fillImage(image, reference, sink, client, limit),
  };
}

async function fillImage(
  image: ResolvedImage,
  reference: Reference,
  sink: BlobSink,
  client: RegistryClient,
  limit: LimitFunction,
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
  await Promise.all(
    image.blobs.map((blob) =>
      limit(async () => {
        if (signal.aborted || !sink.wants(blob.digest)) return;
        await sink.write(
          blob.digest,
          lazily(() => client.blob(reference, blob, signal)),
          where,
        );
      }).catch((error: unknown) => stop.abort(error)),
    ),
  );
  signal.throwIfAborted();
}

/** Opens the source when it is first read: a sink that turns out to have the blob opens no connection. */
async function* lazily(
  open: () => Promise<AsyncIterable<Uint8Array> | Iterable<Uint8Array>>,
): AsyncGenerator<Uint8Array> {
  yield* await open();
}
