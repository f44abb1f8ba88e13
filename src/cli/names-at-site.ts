/** What a bundle's images are called upstream, and what at the site: for what is not looked up through a mirror. */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { endpointNames } from "../trust/address.ts";

export interface ImageName {
  /** as the manifest named it, in full: docker.io/library/alpine:3.20 */
  from: string;
  /** under the registry's first name: registry.plant7.lan/library/alpine:3.20 */
  to: string;
}

export function namesAtSite({ addresses, registry, images }: BundleIndex): ImageName[] {
  const [host] = endpointNames(addresses.slice(0, 1), registry.port);
  return images.map(({ source, repository, tag, digest }) => ({
    from: source,
    to: `${host}/${repository}${tag === undefined ? `@${digest}` : `:${tag}`}`,
  }));
}
