/** What a prune removes, and what it keeps. Looks at the whole site and changes nothing. */
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { parseBundleIndex } from "../archive/schema.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { readAdopted } from "../site/adopted.ts";
import { readBytesIfThere } from "../site/json-file.ts";
import type { SiteLayout } from "../site/layout.ts";
import { listRemains, type Remains } from "../site/pruned.ts";
import { listReleases, type ReleaseRecord } from "../site/record.ts";
import { type FileValue, filesOf } from "./files.ts";
import { nameOf } from "./history.ts";
import {
  type Brought,
  bytesOf,
  type FolderRemoval,
  filesThatFree,
  filesToSet,
  foldersToRemove,
} from "./prune-folders.ts";
import {
  filesLeft,
  historyWithout,
  keptReleases,
  type LeftTag,
  nameOfTag,
  tagsLeft,
} from "./prune-history.ts";
import { planRemoval, type StorageRemoval } from "./prune-storage.ts";
import { readKept } from "./recorded.ts";
import { readStorageTree, type StorageTree } from "./storage-tree.ts";
import { type TagValue, tagList, valuesOf } from "./tags.ts";

export interface PrunePlan {
  /** as they are recorded now; the current one first */
  kept: ReleaseRecord[];
  /** those of them whose records will say something else: what they were installed over, what was before */
  rewritten: ReleaseRecord[];
  /** those that leave the history, the oldest first */
  releases: ReleaseRecord[];
  /** those that left it in a prune that was cut short, or could not go wholly */
  earlier: ReleaseRecord[];
  /** undefined: the tag goes */
  tags: TagValue[];
  storage: StorageRemoval;
  folders: FolderRemoval[];
  /** below the site's files/; undefined: the name goes */
  files: FileValue[];
  /** the registry's images in the engine, by the digests of their image manifests */
  registryImages: Digest[];
  /** what will be free again, as files are long; without the images in the engine */
  bytes: number;
}

/**
 * @param count how many releases are kept
 * @throws DrydockError "host" if something cannot be read, "integrity" if a bundle index is damaged
 */
export async function planPrune(
  layout: SiteLayout,
  current: ReleaseRecord,
  count: number,
): Promise<PrunePlan> {
  const records = await listReleases(layout);
  const kept = keptReleases(records, current, count);
  const isKept = new Set(kept.map(({ bundleDigest }) => bundleDigest));
  const releases = records.filter(({ bundleDigest }) => !isKept.has(bundleDigest));
  const remains = await listRemains(layout);
  const gone: ReleaseRecord[] = [...releases, ...remains.flatMap(({ record }) => record ?? [])];
  const history = historyWithout(kept, gone);

  const keptIndexes = await indexesOf(layout, kept);
  const removed = [...(await indexesOf(layout, releases)), ...(await indexesOfRemains(layout, remains))];
  const tree = await readStorageTree(layout);
  const tags = tagsToMove(tree, tagsLeft(kept, gone));
  const needed = history.flatMap((record) => valuesOf(record.tagsAfter, record.tagsBefore));
  const storage = await planRemoval(tree, {
    kept: keptIndexes.map(({ index }) => index),
    removed: removed.map(({ index }) => index),
    named: [...tagsAfter(tree, tags), ...needed, ...tagList((await readAdopted(layout))?.tagsBefore ?? {})],
  });
  const folders = await foldersToRemove(layout, [...releases, ...remains], (bundleDigest) => {
    const index = removed.find((one) => one.bundleDigest === bundleDigest)?.index;
    return index !== undefined && needed.some((value) => hasRevision(index, value));
  });
  const filesOfEach = (records: ReleaseRecord[]) =>
    records.map((one) => withFiles(one, [...keptIndexes, ...removed]));
  const files = await filesToSet(layout, filesLeft(filesOfEach(kept), filesOfEach(gone)));
  const isWhole = new Set(folders.filter(({ whole }) => whole).map(({ path }) => path));
  const earlier = remains.flatMap(({ bundleDigest, record }) =>
    record !== undefined && isWhole.has(layout.release(bundleDigest).folder) ? [record] : [],
  );
  const registryImages = new Set(gone.map(({ registryImage }) => registryImage));
  for (const { registryImage } of kept) registryImages.delete(registryImage);
  return {
    kept,
    rewritten: history.filter((record, place) => !isDeepStrictEqual(record, kept[place])),
    ...{ releases, earlier, tags, storage, folders, files },
    registryImages: [...registryImages],
    bytes: await bytesOf([
      ...[...storage.blobs.values(), ...(await filesThatFree(layout, history, files))],
      ...folders.flatMap(({ path, names }) => names.map((name) => join(path, name))),
    ]),
  };
}

/** Whether all that is there is kept. */
export function isNothing({ releases, tags, storage, folders, files }: PrunePlan): boolean {
  const { revisions, tagIndexes, layers, blobs } = storage;
  const lists = [releases, tags, revisions, tagIndexes, layers, folders, files];
  return blobs.size === 0 && lists.every(({ length }) => length === 0);
}

/** A record of an earlier drydock does not say what the bundle carried. */
function withFiles(record: ReleaseRecord, indexes: readonly Brought[]): ReleaseRecord {
  if (record.filesAfter !== undefined) return record;
  const index = indexes.find(({ bundleDigest }) => bundleDigest === record.bundleDigest)?.index;
  return index === undefined ? record : { ...record, filesAfter: filesOf(index) };
}

async function indexesOf(layout: SiteLayout, records: readonly ReleaseRecord[]): Promise<Brought[]> {
  return await Promise.all(
    records.map(async (record) => {
      const { bundleDigest } = record;
      const { index } = await readKept(layout, record).catch((error: unknown) => {
        if (!(error instanceof DrydockError)) throw error;
        throw new DrydockError(error.kind, error.message, {
          hint: `What ${nameOf(record)} uses is not known without it; nothing was removed. Install its bundle again.`,
          cause: error,
        });
      });
      return { bundleDigest, index };
    }),
  );
}

/** An install that was cut short has linked nothing before its index was there. */
async function indexesOfRemains(layout: SiteLayout, remains: readonly Remains[]): Promise<Brought[]> {
  const found = await Promise.all(
    remains.map(async ({ bundleDigest }): Promise<Brought[]> => {
      const bytes = await readBytesIfThere(layout.release(bundleDigest).bundleIndex);
      return bytes === undefined ? [] : [{ bundleDigest, index: parseBundleIndex(bytes) }];
    }),
  );
  return found.flat();
}

/** Those that still name what the releases gave them: any other value is somebody else's. */
function tagsToMove(tree: StorageTree, left: readonly LeftTag[]): TagValue[] {
  const now = new Map(tree.tags.map((one) => [nameOfTag(one), one.digest]));
  const revisions = new Set(tree.revisions.map(({ repository, digest }) => `${repository}@${digest}`));
  return left.flatMap(({ given, ...before }) => {
    const value = now.get(nameOfTag(before));
    if (value === undefined || !given.has(value) || value === before.digest) return [];
    const { repository, tag, digest } = before;
    const there = digest !== undefined && tree.blobs.has(digest) && revisions.has(`${repository}@${digest}`);
    return [{ repository, tag, digest: there ? digest : undefined }];
  });
}

/** What all tags name when those are moved. */
function tagsAfter(tree: StorageTree, moved: readonly TagValue[]): TagValue[] {
  const values = new Map<string, TagValue>();
  for (const one of [...tree.tags, ...moved]) values.set(nameOfTag(one), one);
  return [...values.values()];
}

function hasRevision({ repositories }: BundleIndex, { repository, digest }: TagValue): boolean {
  if (digest === undefined || !Object.hasOwn(repositories, repository)) return false;
  return repositories[repository]?.revisions.includes(digest) === true;
}
