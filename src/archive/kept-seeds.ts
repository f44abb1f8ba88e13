/**
 * Where a seed from a URL is saved until its bundle is finished: `NAME.tar.seed-<sixteen digits>.partial`
 * beside it, the first digits of the seed's sha256. So an interrupted download can go on.
 */
import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** @param path the bundle's @param sha256 the seed's: 64 hexadecimal digits */
export function keptSeedOf(path: string, sha256: string): string {
  return `${path}.seed-${sha256.slice(0, 16).toLowerCase()}.partial`;
}

/** Removes every seed that is saved for this bundle, also those that it does not need any more. */
export async function removeKeptSeeds(path: string): Promise<void> {
  const folder = dirname(path);
  const start = `${basename(path)}.seed-`;
  for (const name of await readdir(folder)) {
    if (!name.startsWith(start) || !/^[0-9a-f]{16}\.partial$/.test(name.slice(start.length))) continue;
    await rm(join(folder, name), { force: true });
  }
}
