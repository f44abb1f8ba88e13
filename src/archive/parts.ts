/**
 * A bundle cut in pieces for media that hold no large files: NAME.tar.001, NAME.tar.002 … are the bundle,
 * cut; `cat NAME.tar.*[0-9]` joins them, and the bundle's digest knows nothing of the cutting.
 * NAME.tar.parts.json says how many there are and what each must be.
 */
import { DrydockError, errorText } from "../errors.ts";

export interface PartList {
  formatVersion: 1;
  /** of the whole archive, in bytes */
  size: number;
  /** in order; name: the file's name without a folder; sha256: 64 digits */
  parts: { name: string; size: number; sha256: string }[];
}

/** @param number from 1 */
export function partName(path: string, number: number): string {
  return `${path}.${String(number).padStart(3, "0")}`;
}

export function partListName(path: string): string {
  return `${path}.parts.json`;
}

/** The bundle's own path, of a path that names a part of it or its list; undefined if it names neither. */
export function wholeName(path: string): string | undefined {
  return /^(.+)\.(?:\d{3,}|parts\.json)$/s.exec(path)?.[1];
}

/** The number of a part, by its file's name; undefined if it is none of this bundle's. @param bundle its file's name */
export function partNumber(name: string, bundle: string): number | undefined {
  const number = Number(/\.(\d{3,})$/.exec(name)?.[1]);
  return name === partName(bundle, number) ? number : undefined;
}

/** FAT32 holds files of up to 4 GiB less one byte. */
const fat32 = 4 * 1024 ** 3 - 1;
const smallest = 1024 ** 2;

/** Their numbers have three digits, so that a shell's pattern gives them in order. */
const mostParts = 999;

/** @throws DrydockError "usage" if an archive of this size would be cut into too many parts */
export function checkPartCount(size: number, split: number): void {
  const count = Math.ceil(size / split);
  if (count <= mostParts) return;
  const least = Math.ceil(size / mostParts / 1024 ** 2);
  throw new DrydockError("usage", `--split: the bundle would have ${count} parts, at most ${mostParts}`, {
    hint: `Give a larger size: --split ${least}M.`,
  });
}

/** @param text "fat32", or a number with K, M, G or T (of 1024): "4G" @throws DrydockError "usage" */
export function parseSplit(text: string): number {
  if (text.toLowerCase() === "fat32") return fat32;
  const [, number = "", unit = ""] = /^(\d{1,9})([kmgt]?)(?:i?b)?$/i.exec(text) ?? [];
  const bytes = Number(number) * 1024 ** " kmgt".indexOf(unit.toLowerCase() || " ");
  if (number !== "" && bytes >= smallest && Number.isSafeInteger(bytes)) return bytes;
  throw new DrydockError(
    "usage",
    `--split ${JSON.stringify(text)}: wanted a size of at least 1M, such as 4G, or fat32`,
  );
}

/** @throws DrydockError "integrity" if it is no list of parts. */
export function parsePartList(text: string, where: string): PartList {
  const hint = "Copy it again, or remove it: the parts can be read without it.";
  try {
    const list = JSON.parse(text) as Partial<PartList>;
    const parts = list.parts ?? [];
    const sum = parts.reduce((total, { size }) => total + size, 0);
    const whole =
      parts.length > 0 && parts.every(({ name, sha256 }) => isName(name) && /^[0-9a-f]{64}$/.test(sha256));
    if (list.formatVersion === 1 && whole && sum === list.size)
      return { formatVersion: 1, size: list.size, parts };
  } catch (error) {
    throw new DrydockError("integrity", `read ${JSON.stringify(where)}: ${errorText(error)}`, {
      hint,
      cause: error,
    });
  }
  throw new DrydockError("integrity", `read ${JSON.stringify(where)}: it is no list of a bundle's parts`, {
    hint,
  });
}

function isName(name: unknown): boolean {
  return typeof name === "string" && !/[/\0]/.test(name) && wholeName(name) !== undefined;
}
