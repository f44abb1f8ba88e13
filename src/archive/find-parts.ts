/** Which parts a bundle has and what each should hold: by its list, or else by what lies in the folder. */
import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { errorCode } from "../errors.ts";
import { topNames } from "./layout.ts";
import { type PartList, parsePartList, partListName, partName, partNumber, wholeName } from "./parts.ts";

/** A number above it is no part's, but a date say. */
const mostParts = 99_999;

/** The bundle's path without a part's ending, if `path` is a set of parts: names one of it, or would be its whole. */
export async function partsOf(path: string): Promise<string | undefined> {
  const whole = wholeName(path);
  if (await isFile(path)) return whole !== undefined && (await isSet(whole, path)) ? whole : undefined;
  for (const set of whole === undefined ? [path] : [path, whole])
    if ((await isFile(partListName(set))) || (await highestPart(set)) > 0) return set;
  return undefined;
}

/** A whole bundle may be called plant-7.2026, too. Of parts only the first begins as a bundle does. */
async function isSet(whole: string, path: string): Promise<boolean> {
  const [list, first] = [partListName(whole), partName(whole, 1)];
  return (await isFile(list)) || (await isFile(first)) || !(await beginsLikeBundle(path));
}

async function beginsLikeBundle(path: string): Promise<boolean> {
  const wanted = Buffer.from(`${topNames.sums}\0`);
  const handle = await open(path, "r").catch(() => undefined);
  const read = handle?.read(Buffer.alloc(wanted.length), 0, wanted.length, 0);
  const got = await read?.catch(() => undefined).finally(() => handle?.close());
  return got?.buffer.equals(wanted) ?? false;
}

/** @returns undefined if there is no list @throws DrydockError "integrity" if it is damaged. */
export async function readPartList(path: string): Promise<PartList["parts"] | undefined> {
  const file = partListName(path);
  try {
    return parsePartList(await readFile(file, "utf8"), file).parts;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Without a list: the names up to the highest number that is there, also of those between that are not. */
export async function partNames(path: string): Promise<string[]> {
  const count = await highestPart(path);
  return Array.from({ length: count }, (_, number) => basename(partName(path, number + 1)));
}

/**
 * Without a list: what each part should hold. Parts are usually cut to one size, which the last need not reach.
 * @param found the sizes in bytes as they are; undefined for a part that is missing
 * @param total the archive's size, once it is known: it says whether all is there, and how many parts there were
 */
export function wantedSizes(found: readonly (number | undefined)[], total?: number): { size: number }[] {
  const usual = usualSize(found.length > 1 ? found.slice(0, -1) : found);
  const asFound = found.map((size = usual) => ({ size }));
  if (total === undefined || asFound.reduce((sum, { size }) => sum + size, 0) === total) return asFound;
  const [first = 0, second = 0, ...others] = found;
  // Of two the first cannot be the smaller one.
  if (others.length === 0 && first < second && second < total)
    return [{ size: total - second }, { size: second }];
  const count = Math.max(found.length, Math.ceil(total / Math.max(usual, 1)));
  const last = total - usual * (count - 1);
  // More than the archive had: the reader says where it deviates.
  if (last <= 0 || last > usual) return asFound;
  return Array.from({ length: count }, (_, number) => ({ size: number < count - 1 ? usual : last }));
}

/** The most frequent one; of several the largest, since a copy that went wrong is rather short than long. */
function usualSize(sizes: readonly (number | undefined)[]): number {
  const times = new Map<number, number>();
  for (const size of sizes) if (size !== undefined) times.set(size, (times.get(size) ?? 0) + 1);
  const [usual] = [...times].sort(([one, often], [other, seldom]) => seldom - often || other - one);
  return usual?.[0] ?? 0;
}

/** 0 if there is no part. */
async function highestPart(path: string): Promise<number> {
  const entries = await readdir(dirname(path)).catch(() => []);
  const numbers = entries.map((entry) => partNumber(entry, basename(path)) ?? 0);
  return numbers.reduce((highest, number) => (number > mostParts ? highest : Math.max(highest, number)), 0);
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
