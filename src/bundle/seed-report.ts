/**
 * All that stands in a seed's tarball, for `drydock inspect`: each tag, image manifest, config and layer,
 * what is whole of it, and what a site would serve. One pass; the blobs' bytes are hashed, not kept.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { totalsOf } from "../archive/contents.ts";
import type { Digest } from "../oci/digest.ts";
import type { Compression } from "../oci/storage-tarball.ts";
import type { Step } from "../reporter.ts";
import { type SeedContent, type SeedDefect, seedContent } from "./seed-content.ts";
import { readSeedTree, type SeedManifest, type SeedRepository, type SeedTree } from "./seed-tree.ts";

export { NoSeed } from "./seed-tree.ts";

/** foreign: not there, but its image manifest says where else it is */
export type BlobState = "whole" | "missing" | "damaged" | "foreign";

/** Sizes are in bytes. */
export interface SeedReport {
  /** of the packed file: 64 digits */
  sha256: string;
  size: number;
  compression: Compression;
  /** every blob in it, needed or not */
  unpacked: { blobs: number; bytes: number };
  /** what an empty site's storage would hold of it; inodes: files and folders */
  site: BundleIndex["totals"];
  /** what a site would serve: repository:tag */
  serves: string[];
  repositories: Record<string, ReportedRepository>;
  /** whole blobs that no image manifest needs */
  orphans: { digest: Digest; size: number }[];
  /** blobs that are not what their name says, and what they are */
  damaged: { digest: Digest; size: number; found: Digest }[];
  /** files of uploads that did not end, others of the storage that no registry serves, and those outside of it */
  files: { uploads: string[]; others: string[]; foreign: string[] };
  /** because of which `bundle` refuses it without --allow-incomplete */
  defects: SeedDefect[];
  /** what `bundle --allow-incomplete` would leave out */
  leftOut: BundleIndex["leftOut"];
}

export interface ReportedRepository {
  tags: Record<string, Digest>;
  revisions: Record<Digest, ReportedRevision>;
}

/** An image manifest or image index. */
export interface ReportedRevision {
  served: boolean;
  /** why a site would not serve it */
  why?: string;
  kind?: SeedManifest["kind"];
  mediaType?: string;
  size?: number;
  /** of an index; served: its image manifest is there, whole with all that it needs */
  children: { digest: Digest; platform?: string; served: boolean }[];
  config?: ReportedBlob;
  layers: ReportedBlob[];
}

export interface ReportedBlob {
  digest: Digest;
  /** as it is in the seed, or else as the image manifest says it */
  size?: number;
  state: BlobState;
}

/** @throws DrydockError as readSeedTree: where the tarball itself is cut or damaged, or none */
export async function reportSeed(
  source: AsyncIterable<Uint8Array>,
  where: string,
  step?: Step,
): Promise<SeedReport> {
  const tree = await readSeedTree(source, where, step);
  const content = seedContent(tree);
  const { repositories, blobs, defects, leftOut } = content;
  const used = new Set(blobs.map(({ digest }) => digest));
  const all = [...tree.blobs].map(([digest, size]) => ({ digest, size }));
  const paths = (kind: SeedTree["strays"][number]["kind"]) =>
    tree.strays.filter((stray) => stray.kind === kind).map(({ path }) => path);
  return {
    sha256: tree.sha256,
    size: tree.size,
    compression: tree.compression,
    unpacked: { blobs: all.length, bytes: all.reduce((sum, { size }) => sum + size, 0) },
    site: totalsOf({ blobs: blobs.map((blob) => ({ ...blob, role: "image" })), repositories, seeds: [] }),
    serves: Object.entries(repositories).flatMap(([name, { tags }]) =>
      Object.keys(tags).map((tag) => `${name}:${tag}`),
    ),
    repositories: Object.fromEntries(
      [...tree.repositories]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, repository]) => [name, reportRepository(tree, name, repository, content)]),
    ),
    orphans: all.filter(({ digest }) => !used.has(digest)),
    damaged: [...tree.damaged].map(([digest, blob]) => ({ digest, ...blob })),
    files: { uploads: paths("upload"), others: paths("other"), foreign: paths("foreign") },
    defects,
    leftOut,
  };
}

function reportRepository(
  tree: SeedTree,
  name: string,
  { tags, revisions }: SeedRepository,
  { repositories, unserved }: SeedContent,
): ReportedRepository {
  const served = new Set(repositories[name]?.revisions);
  const reported: ReportedRepository = { tags: Object.fromEntries([...tags].sort()), revisions: {} };
  for (const digest of new Set([...revisions, ...tags.values()])) {
    const why =
      unserved.get(name)?.get(digest) ??
      (revisions.has(digest) ? undefined : "a tag names it, but the repository has no such revision");
    const size = tree.blobs.get(digest) ?? tree.damaged.get(digest)?.size;
    const manifest = tree.manifests.get(digest);
    reported.revisions[digest] = {
      served: served.has(digest),
      ...(why === undefined ? {} : { why }),
      ...(size === undefined ? {} : { size }),
      ...(manifest === undefined || "unusable" in manifest
        ? { children: [], layers: [] }
        : reportManifest(tree, manifest, served)),
    };
  }
  return reported;
}

function reportManifest(tree: SeedTree, manifest: SeedManifest, served: ReadonlySet<Digest>) {
  const { kind, mediaType, children } = manifest;
  const blobs = manifest.blobs.map((blob) => reportBlob(tree, blob));
  const [config, ...layers] = kind === "image" ? blobs : [undefined, ...blobs];
  return {
    kind,
    mediaType,
    children: children.map(({ digest, platform }) => ({
      digest,
      ...(platform === undefined ? {} : { platform }),
      served: served.has(digest),
    })),
    ...(config === undefined ? {} : { config }),
    layers: layers.filter((layer) => layer !== undefined),
  };
}

function reportBlob(tree: SeedTree, { digest, foreign, size }: SeedManifest["blobs"][number]): ReportedBlob {
  const found = tree.blobs.get(digest);
  if (found !== undefined) return { digest, size: found, state: "whole" };
  const state = tree.damaged.has(digest) ? "damaged" : foreign ? "foreign" : "missing";
  return { digest, ...(size === undefined ? {} : { size }), state };
}
