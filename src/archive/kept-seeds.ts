/**
 * Where a seed from a URL is saved until its bundle is finished: `NAME.tar.seed-<sixteen digits>.partial`
 * beside it, the first digits of the seed's sha256. So an interrupted download can go on.
 */
import { readdir, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** @param path the bundle's @param sha256 the seed's: 64 hexadecimal digits */
export function keptSeedOf(path: string, sha256: string): string {
  return `${path}.seed-${sha256.slice(0, 16).toLowerCase()}.partial`;
}

/** Every seed that is saved for this bundle, in bytes as far as it is there. */
export async function keptSeeds(path: string): Promise<{ file: string; size: number }[]> {
  const folder = dirname(path);
  const start = `${basename(path)}.seed-`;
  const names = (await readdir(folder)).filter(
    (name) => name.startsWith(start) && /^[0-9a-f]{16}\.partial$/.test(name.slice(start.length)),
  );
  return await Promise.all(
    names.map(async (name) => ({ file: join(folder, name), size: (await stat(join(folder, name))).size })),
  );
}

/** Removes them, also those that it does not need any more. */
export async function removeKeptSeeds(path: string): Promise<void> {
  for (const { file } of await keptSeeds(path)) await rm(file, { force: true });
}
