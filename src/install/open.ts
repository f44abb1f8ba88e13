/**
 * The step "open": checks the top of the archive, and reads on past damage from then on, since what is good
 * of a damaged bundle is worth placing. Without its certificates nothing can be planned, so these must be good.
 */
import { damageError } from "../archive/damage.ts";
import { openSource } from "../archive/open-source.ts";
import { type Bundle, openBundle } from "../archive/reader.ts";
import type { Reporter } from "../reporter.ts";

/**
 * @param path or "-" for standard input @param digest that the bundle must have
 * @throws DrydockError "input" if it cannot be opened, "integrity" if it is not the one asked for, or damaged
 *   at its top or in a certificate.
 */
export async function openToInstall(
  path: string,
  digest: string | undefined,
  reporter: Reporter,
): Promise<Bundle> {
  const bundle = await openBundle(await openSource(path), digest, { goOn: true });
  try {
    const damage = await bundle.damage();
    if (damage.length > 0) {
      const next = "Nothing was written: without its certificates a bundle cannot be installed.";
      throw damageError(bundle, damage, next);
    }
  } catch (error) {
    await bundle.close();
    throw error;
  }
  for (const text of bundle.lacking)
    reporter.warn(`${text}; what is there is placed, the rest is named then`);
  return bundle;
}
