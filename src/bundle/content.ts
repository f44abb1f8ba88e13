/**
 * What every source of content (registry images, images of the local engine, seeds, files, packages) gives to a
 * bundle. A source is planned completely before the first byte of the bundle is written; then it fills
 * the slots that the plan gave to its blobs.
 */
import type { BundleBlob, BundleIndex, BundleRepository, BundleSeed } from "../archive/bundle-index.ts";
import type { ImageName } from "../archive/oci-layout.ts";
import type { Digest } from "../oci/digest.ts";

/** Where the bytes go. Knows what is there already, checks size and digest, counts progress. */
export interface BlobSink {
  /** Whether this blob still has to be written: it is in the plan, and nobody has begun to write it. */
  wants(digest: Digest): boolean;
  /**
   * How many of a blob's first bytes are there from an earlier try; and how many more it takes to where a
   * page of the archive begins: pieces from there on need no copying (see lent-buffers.ts).
   */
  begun(digest: Digest): { bytes: number; lead: number };
  /**
   * Writes one blob from the chunks of `source`, whose memory may be used again when the next is asked for. Returns when all are written and digest and size are
   * right; does nothing if another source has written or begun it.
   * @param from the byte of the blob that the source begins with: 0, or what `begun` says
   * @throws DrydockError "integrity" naming the blob and `where`, if size or digest are wrong.
   */
  write(digest: Digest, source: AsyncIterable<Uint8Array>, where: string, from?: number): Promise<void>;
}

/** What one source adds. */
export interface Content {
  /** Where it comes from, as the user wrote it: for errors ("alpine:3.20", "seed.tar.gz"). */
  name: string;
  /** every blob, in the order in which they should stand in the archive; roles image, seed, file or package */
  blobs: BundleBlob[];
  /** repository name at the site → what it adds there */
  repositories: Record<string, BundleRepository>;
  images?: BundleIndex["images"];
  /** what the OCI image index at the archive's top lists: images whose blobs stand in the archive */
  names?: ImageName[];
  seed?: BundleSeed;
  files?: BundleIndex["files"];
  packages?: BundleIndex["packages"];
  leftOut?: BundleIndex["leftOut"];
  /** Writes those of its blobs that the sink wants. Called at most once. */
  fill(sink: BlobSink): Promise<void>;
  /** Removes temporary files. Called exactly once, however the build ends. */
  dispose?(): Promise<void>;
}

/** An image's name at the site, without the registry's host: repository:tag, or repository@digest. */
export function siteName(repository: string, tag: string | undefined, digest: Digest): string {
  return tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
}
