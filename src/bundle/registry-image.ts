/**
 * The registry's own image: it is no content of the registry, but what the site's engine runs. For each
 * platform of the manifest its image manifest, config and layers are carried.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import type { Digest } from "../oci/digest.ts";
import { formatPlatform } from "../oci/platform.ts";
import { formatReference, type Reference } from "../oci/reference.ts";
import type { RegistryClient } from "../oci/registry-client.ts";
import type { Content } from "./content.ts";
import type { DownloadLimits } from "./download-limits.ts";
import { imageContent, resolveImage } from "./image-source.ts";
import type { Manifest } from "./manifest.ts";

export interface PlannedRegistry {
  /** what the reference names: of its image index, where it is one */
  digest: Digest;
  images: BundleIndex["registry"]["images"];
  content: Content;
}

/**
 * @param reference the same as the manifest's, perhaps with the digest that it is held to
 * @throws as resolveImage: none of the manifest's platforms is there, no such tag, …
 */
export async function planRegistryImage(
  { registry, platforms }: Manifest,
  client: RegistryClient,
  limits: DownloadLimits,
  reference: Reference = registry.image,
): Promise<PlannedRegistry> {
  const source = formatReference(registry.image);
  const image = await resolveImage(client, reference, platforms);
  const runnable = image.manifests.filter(({ platform }) => platform !== undefined);
  const images = Object.fromEntries(
    runnable.map(({ platform, digest }) => [platform ? formatPlatform(platform) : "", digest]),
  );
  const carried = new Set([...runnable, ...image.blobs].map(({ digest }) => digest));
  const { blobs, leftOut, fill } = imageContent(
    { source, reference, repository: reference.repository, platforms },
    image,
    client,
    limits,
  );
  const registryBlobs = blobs
    .filter(({ digest }) => carried.has(digest))
    .map((blob) => ({ ...blob, role: "registry" as const }));
  return {
    digest: image.digest,
    images,
    content: { name: source, blobs: registryBlobs, repositories: {}, ...(leftOut ? { leftOut } : {}), fill },
  };
}
