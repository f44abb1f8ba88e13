/** The scan of a seed: what a registry would serve of it, and whether that is all that it should. */
import type { BundleIndex, BundleRepository } from "../archive/bundle-index.ts";
import type { ImageName } from "../archive/oci-layout.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Compression } from "../oci/storage-tarball.ts";
import type { Step } from "../reporter.ts";
import { type SeedDefect, seedContent } from "./seed-content.ts";
import { readSeedTree } from "./seed-tree.ts";

export interface SeedScan {
  /** of the packed file: 64 digits */
  sha256: string;
  /** of the packed file, in bytes */
  size: number;
  compression: Compression;
  /** of the used blobs together */
  unpackedBytes: number;
  /** those that are used, in the tarball's order */
  blobs: { digest: Digest; size: number }[];
  repositories: Record<string, BundleRepository>;
  leftOut: BundleIndex["leftOut"];
  /** leftOut also names what a registry should serve of it */
  incomplete: boolean;
  /** what each tag names */
  names: ImageName[];
}

export interface ScanOptions {
  /** what the packed bytes' sha256 must be */
  sha256?: string | undefined;
  /** take what is whole of a damaged storage tree; the rest is left out and named */
  allowIncomplete?: boolean | undefined;
}

/**
 * @param source the packed bytes @param where the seed's name, for errors
 * @throws DrydockError as readSeedTree, and unless incomplete ones are allowed: "integrity" if a blob is not
 *   what its name says; "input" if a link is damaged, or a tag or an image manifest lacks what it needs
 */
export async function scanSeed(
  source: AsyncIterable<Uint8Array>,
  where: string,
  step?: Step,
  { sha256, allowIncomplete = false }: ScanOptions = {},
): Promise<SeedScan> {
  const tree = await readSeedTree(source, where, step, { sha256 });
  const { defects, unserved: _, ...content } = seedContent(tree);
  const [first, ...more] = defects;
  if (first !== undefined && !allowIncomplete) throw damagedSeed(where, first, more.length);
  const { size, compression } = tree;
  return { sha256: tree.sha256, size, compression, incomplete: first !== undefined, ...content };
}

function damagedSeed(where: string, { kind, what, why }: SeedDefect, more: number): DrydockError {
  const others = more === 0 ? "" : `; and ${more} more ${more === 1 ? "defect" : "defects"}`;
  return new DrydockError(kind, `read seed ${JSON.stringify(where)}: ${what}: ${why}${others}`, {
    hint:
      "The storage that it was made of is not whole, or was being written to. Pack it again. " +
      "`drydock inspect` shows all that is wrong; --allow-incomplete carries what is whole.",
  });
}
