/**
 * How much room an install takes, exactly: bytes in whole blocks of the file system, files and folders
 * (inodes), link files included; each after what is there already.
 */
import { lstat, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import pLimit from "p-limit";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { contentLinks, tagLinks } from "../archive/contents.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { FileValue } from "./files.ts";
import { incoming } from "./preflight-leftovers.ts";
import { nearest } from "./preflight-site.ts";

export interface SpaceNeeded {
  /** where it goes; the space is looked for on the file system of its nearest folder that exists */
  path: string;
  /** negative where something goes away first */
  bytes: number;
  /** files and folders */
  inodes: number;
}

/** What ext4, XFS and Btrfs give to a file at least, and round its size up to. */
const block = 4096;
/** Records, journal, certificates, the room that is kept free, and the temporary names of files that are replaced. */
const ownFiles = 192;
/** As many as the thread pool takes. */
const parallel = 16;

/** Blobs that are not there: their sizes in bytes, and the paths where they are missing. */
type Missing = Iterable<{ size: number; paths: readonly string[] }>;

/**
 * What is still to be written, for each of the site's folders that may be a file system of its own.
 * @param shown what gets a name in files/ that is placed elsewhere: of these, the folders count, and the bytes
 *   only where files/ is another file system
 */
export async function spaceNeeded(
  index: Pick<BundleIndex, "repositories" | "blobs">,
  layout: SiteLayout,
  missing: Missing,
  shown: Iterable<FileValue>,
): Promise<SpaceNeeded[]> {
  const blobs = [...missing].flatMap(({ size, paths }) => paths.map((path) => ({ path, size })));
  const copies = (await areOne(layout.files, layout.releases)) ? [] : copied(index, layout, shown);
  const sizes = new Map([...blobs, ...copies].map(({ path, size }) => [path, size]));
  const links = [...contentLinks(index), ...tagLinks(index)].map(({ path }) => join(layout.storage, path));
  // Of a folder that is made, and of a link, one block.
  const above = [...shown].map(({ name }) => dirname(join(layout.files, name)));
  const absent = await absentOf([...sizes.keys(), ...links, ...above]);
  for (const path of absent) if (!sizes.has(path)) sizes.set(path, block);
  const folders = [layout.storage, layout.releases, layout.files];
  const needed = new Map([layout.root, ...folders].map((path) => [path, { path, bytes: 0, inodes: 0 }]));
  for (const [path, size] of sizes) {
    const at = folders.find((folder) => path === folder || path.startsWith(`${folder}/`)) ?? layout.root;
    const sum = needed.get(at);
    if (sum === undefined) continue;
    sum.bytes += Math.ceil(size / block) * block;
    // A blob of another size that stands in its place is replaced.
    sum.inodes += absent.has(path) ? 1 : 0;
  }
  const { files, bytes } = await incoming(layout);
  return [
    ...needed.values(),
    { path: layout.root, bytes: ownFiles * block, inodes: ownFiles },
    ...(files === 0 ? [] : [{ path: layout.incoming, bytes: -bytes, inodes: -files }]),
  ];
}

function copied({ blobs }: Pick<BundleIndex, "blobs">, layout: SiteLayout, shown: Iterable<FileValue>) {
  const sizes = new Map(blobs.map(({ digest, size }): [string | undefined, number] => [digest, size]));
  return [...shown].map(({ name, digest }) => ({
    path: join(layout.files, name),
    size: sizes.get(digest) ?? 0,
  }));
}

/** Whether two paths, or what will be made there, are on one file system: then a file can have names in both. */
async function areOne(...paths: string[]): Promise<boolean> {
  const systems = await Promise.all(paths.map(async (path) => (await stat(await nearest(path))).dev));
  return new Set(systems).size === 1;
}

/** Of some paths and all folders above them, those that are not there; each is looked for once. */
async function absentOf(paths: string[]): Promise<Set<string>> {
  const limit = pLimit(parallel);
  const absent = new Set<string>();
  let level = new Set(paths);
  const seen = new Set<string>();
  while (level.size > 0) {
    const found = await limit.map([...level], async (path) => ((await isThere(path)) ? undefined : path));
    for (const path of level) seen.add(path);
    const gone = found.filter((path) => path !== undefined);
    for (const path of gone) absent.add(path);
    level = new Set(gone.map(dirname).filter((path) => !seen.has(path)));
  }
  return absent;
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return false;
    throw new DrydockError("preflight", `look at "${path}": ${errorText(error)}`, { cause: error });
  }
}
