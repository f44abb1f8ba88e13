/** What should be in a site's storage, as the records of its releases say it. */
import { join } from "node:path";
import type { BundleIndex } from "../archive/bundle-index.ts";
import { contentLinks, packageBlobs, storedBlobs } from "../archive/contents.ts";
import { parseBundleIndex } from "../archive/schema.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { blobPath } from "../oci/storage.ts";
import { readBytesIfThere } from "../site/json-file.ts";
import type { SiteLayout } from "../site/layout.ts";
import type { ReleaseRecord } from "../site/record.ts";
import { fileList } from "./files.ts";
import { type TagValue, tagList } from "./tags.ts";

/** A release, and the index of its bundle. */
export interface KeptRelease {
  record: ReleaseRecord;
  index: BundleIndex;
}

export interface RecordedBlob {
  digest: Digest;
  /** in bytes */
  size: number;
  /** absolute */
  path: string;
  /** whose bundle has it: the current one, or else the last of those that do */
  release: KeptRelease;
}

export interface Recorded {
  /** each path once; the registry's own images and the packages of the releases included */
  blobs: RecordedBlob[];
  /** path below the storage, and what the file holds */
  links: Map<string, Digest>;
  /** what the tags of all releases name together */
  tags: (TagValue & { digest: Digest })[];
  /** what files/ shows of them together */
  files: RecordedFile[];
}

export interface RecordedFile {
  /** below files/ */
  name: string;
  digest: Digest;
  /** in bytes */
  size: number;
  /** whose bundle has it */
  release: KeptRelease;
}

/** @throws DrydockError "host" if it is gone, "integrity" if it is no bundle index. */
export async function readKept(layout: SiteLayout, record: ReleaseRecord): Promise<KeptRelease> {
  const path = layout.release(record.bundleDigest).bundleIndex;
  const bytes = await readBytesIfThere(path);
  if (bytes === undefined) throw new DrydockError("host", `read "${path}": there is no such file`);
  return { record, index: parseBundleIndex(bytes) };
}

/** @param releases in the order in which they were installed @param current the digest of the one that is served */
export function recordedOf(layout: SiteLayout, releases: readonly KeptRelease[], current: Digest): Recorded {
  const blobs = new Map<string, RecordedBlob>();
  const links = new Map<string, Digest>();
  const tags = new Map<string, TagValue & { digest: Digest }>();
  const files = new Map<string, RecordedFile>();
  const isCurrent = ({ record }: KeptRelease) => record.bundleDigest === current;
  for (const release of [...releases].sort((a, b) => Number(isCurrent(a)) - Number(isCurrent(b)))) {
    for (const blob of blobsOf(layout, release)) blobs.set(blob.path, blob);
    for (const { path, digest } of contentLinks(linked(release))) links.set(path, digest);
  }
  for (const release of releases) {
    const { record } = release;
    if (record.rolledBackAt !== undefined) continue;
    for (const one of tagList(record.tagsAfter)) tags.set(`${one.repository}:${one.tag}`, one);
    for (const one of filesOfRelease(release)) files.set(one.name, one);
  }
  return { blobs: [...blobs.values()], links, tags: [...tags.values()], files: [...files.values()] };
}

/** A tag that a rollback took away has taken the list of what it ever named along. */
function linked({ record, index }: KeptRelease): Pick<BundleIndex, "repositories"> {
  if (record.rolledBackAt === undefined) return index;
  const untagged = Object.entries(index.repositories).map(([name, of]) => [name, { ...of, tags: {} }]);
  return { repositories: Object.fromEntries(untagged) };
}

function* blobsOf(layout: SiteLayout, release: KeptRelease): Generator<RecordedBlob> {
  const { index, record } = release;
  for (const [digest, size] of storedBlobs(index))
    yield { digest, size, path: join(layout.storage, blobPath(digest)), release };
  const folder = layout.release(record.bundleDigest);
  for (const { digest, size, role } of index.blobs)
    if (role === "registry") yield { digest, size, path: folder.registryBlob(digest), release };
  for (const [digest, size] of packageBlobs(index))
    yield { digest, size, path: folder.packageFile(digest), release };
  for (const { digest, size } of filesOfRelease(release))
    yield { digest, size, path: layout.keptFile(digest), release };
}

/** None of one that an earlier drydock has installed: it did not keep them. */
function filesOfRelease(release: KeptRelease): RecordedFile[] {
  const sizes = new Map(release.index.blobs.map(({ digest, size }) => [digest, size]));
  return fileList(release.record.filesAfter ?? {}).map(({ name, digest }) => ({
    ...{ name, digest, size: sizes.get(digest) ?? 0, release },
  }));
}
