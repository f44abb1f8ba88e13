/**
 * The two files that make a bundle an OCI image layout (image-spec, image-layout.md), so that other tools
 * can read images from it: `skopeo copy oci-archive:bundle.tar:REPOSITORY:TAG …`.
 */
import { type Digest, isDigest } from "../oci/digest.ts";

export interface ImageName {
  mediaType: string;
  digest: Digest;
  /** of the image manifest, in bytes */
  size: number;
  /** repository:tag at the site */
  name: string;
}

export const ociLayoutFile = Buffer.from(`${JSON.stringify({ imageLayoutVersion: "1.0.0" })}\n`);

/** index.json, every image annotated with its name. */
export function ociImageIndex(images: ImageName[]): Buffer {
  const manifests = images.map(({ name, ...descriptor }) => ({
    ...descriptor,
    annotations: { "org.opencontainers.image.ref.name": name },
  }));
  const index = { schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests };
  return Buffer.from(`${JSON.stringify(index, null, 1)}\n`);
}

/** What an index.json lists, as `ociImageIndex` wrote it; what has another shape is passed over. */
export function readImageNames(bytes: Buffer): ImageName[] {
  const { manifests = [] } = JSON.parse(bytes.toString("utf8")) as { manifests?: Record<string, unknown>[] };
  return manifests.flatMap(({ mediaType, digest, size, annotations }) => {
    const name = Object(annotations)["org.opencontainers.image.ref.name"];
    const isWhole = typeof mediaType === "string" && typeof size === "number" && typeof name === "string";
    return isWhole && typeof digest === "string" && isDigest(digest)
      ? [{ mediaType, digest, size, name }]
      : [];
  });
}
