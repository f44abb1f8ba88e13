/**
 * The media types of image manifests and of what they name (OCI image specification, media-types.md;
 * distribution's docs/spec/manifest-v2-2.md and manifest-v2-1.md).
 */

export const ociManifest = "application/vnd.oci.image.manifest.v1+json";
export const ociIndex = "application/vnd.oci.image.index.v1+json";
export const ociConfig = "application/vnd.oci.image.config.v1+json";
export const dockerManifest = "application/vnd.docker.distribution.manifest.v2+json";
export const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
export const dockerConfig = "application/vnd.docker.container.image.v1+json";
export const dockerLayer = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/**
 * image    names a config and layers
 * index    names image manifests (OCI image index, Docker manifest list)
 * schema1  Docker's first format; only old storage holds it
 */
export type ManifestKind = "image" | "index" | "schema1";

const kinds = new Map<string, ManifestKind>([
  [ociManifest, "image"],
  [dockerManifest, "image"],
  [ociIndex, "index"],
  [dockerList, "index"],
  ["application/vnd.docker.distribution.manifest.v1+json", "schema1"],
  ["application/vnd.docker.distribution.manifest.v1+prettyjws", "schema1"],
]);

/** undefined for what is no image manifest that we know. */
export function manifestKind(mediaType: string): ManifestKind | undefined {
  return kinds.get(mediaType);
}

/** What a client says it takes, as the Accept header of a request for an image manifest. */
export const acceptedManifests = [ociIndex, ociManifest, dockerList, dockerManifest].join(", ");

/** Whether an image manifest with such a config is a container image; any other is an OCI artifact. */
export function isContainerConfig(mediaType: string): boolean {
  return mediaType === ociConfig || mediaType === dockerConfig;
}

/** The bare type of a Content-Type header, in lower case. */
export function bareMediaType(contentType: string): string {
  return (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
}
