/** The bundle index of what was planned. */
import type { BundleCertificates, BundleIndex } from "../archive/bundle-index.ts";
import { totalsOf } from "../archive/contents.ts";
import { formatReference } from "../oci/reference.ts";
import type { Manifest } from "./manifest.ts";
import type { Merged } from "./merge.ts";
import type { PlannedRegistry } from "./registry-image.ts";

/** @param created RFC 3339, in UTC, whole seconds */
export function makeIndex(
  manifest: Manifest,
  created: string,
  certificates: BundleCertificates,
  registry: Pick<PlannedRegistry, "images">,
  parts: Omit<Merged, "names">,
): BundleIndex {
  return {
    formatVersion: 1,
    name: manifest.name,
    release: manifest.release,
    created,
    addresses: manifest.addresses,
    registry: {
      reference: formatReference(manifest.registry.image),
      images: registry.images,
      port: manifest.registry.port,
      access: manifest.registry.access,
    },
    totals: totalsOf(parts),
    certificates,
    ...parts,
  };
}
