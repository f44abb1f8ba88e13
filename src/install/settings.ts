/**
 * How a release will be served: as its bundle says, or as the user says instead at the site. What was
 * chosen at a site stays so for the next bundle, until something else is chosen.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { checkAddress } from "../certificates/addresses.ts";
import type { ReleaseRecord, ServeSettings, SiteChoices } from "../site/record.ts";

/** Every certificate of drydock's holds it, since the proof asks there. */
export const loopback = "127.0.0.1";

/**
 * @param choices what the command line says @param current the release that is served now, if any
 * @throws DrydockError "input" for an address that no certificate can hold.
 */
export function settingsFor(
  index: Pick<BundleIndex, "addresses" | "registry">,
  choices: SiteChoices,
  current: Pick<ReleaseRecord, "chosen"> | undefined,
): { settings: ServeSettings; chosen: SiteChoices } {
  const chosen = { ...current?.chosen, ...choices };
  const addresses = chosen.addresses?.map((text) => checkAddress(text).value);
  return {
    settings: {
      addresses: addresses ? [...new Set([...addresses, loopback])] : index.addresses,
      port: chosen.port ?? index.registry.port,
      access: chosen.access ?? index.registry.access,
    },
    chosen,
  };
}
