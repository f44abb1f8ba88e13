/**
 * What a registry would serve of a seed's storage tree: from each tag over its revision link to the image
 * manifest, and on to config, layers and the image manifests below an index. What nothing of this needs
 * is left out, by the same rule as that of the registry's own garbage collector.
 */
import type { BundleIndex, BundleRepository } from "../archive/bundle-index.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { siteName } from "./content.ts";
import type { SeedScan } from "./seed-scan.ts";
import type { SeedManifest, SeedRepository, SeedTree } from "./seed-tree.ts";

/** Something without which a registry cannot serve all that the seed should hold. */
export interface SeedDefect {
  /** integrity: bytes are not what their name says */
  kind: "input" | "integrity";
  /** names repository, tag, revision or blob */
  what: string;
  why: string;
}

export interface SeedContent
  extends Pick<SeedScan, "unpackedBytes" | "blobs" | "repositories" | "leftOut" | "names"> {
  /** they stand in leftOut, too */
  defects: SeedDefect[];
  /** repository → its revisions that a registry could not serve, and why */
  unserved: Map<string, ReadonlyMap<Digest, string>>;
}

type LeftOut = BundleIndex["leftOut"];

export function seedContent(tree: SeedTree): SeedContent {
  const leftOut: LeftOut = [];
  const defects = treeDefects(tree);
  const unserved: SeedContent["unserved"] = new Map();
  const used = new Set<Digest>();
  const repositories: Record<string, BundleRepository> = {};
  for (const [name, repository] of [...tree.repositories].sort(byName)) {
    const reader = new RepositoryReader(tree, name, repository, { leftOut, defects });
    const content = reader.read();
    unserved.set(name, reader.unserved);
    if (content.revisions.length > 0) repositories[name] = content;
    for (const digest of [...content.revisions, ...content.layers]) used.add(digest);
  }
  const blobs = [...tree.blobs]
    .filter(([digest]) => used.has(digest))
    .map(([digest, size]) => ({ digest, size }));
  leaveOrphans(tree, used, leftOut);
  leaveStrays(tree, leftOut);
  const names = namesOf(tree, repositories);
  return {
    unpackedBytes: sumOf(blobs.map(({ size }) => size)),
    blobs,
    repositories,
    leftOut: [...defects.map(({ what, why }) => ({ what, why })), ...leftOut],
    names,
    defects,
    unserved,
  };
}

function treeDefects({ damaged, badLinks }: SeedTree): SeedDefect[] {
  return [
    ...[...damaged].map(([digest, { found }]) => ({
      kind: "integrity" as const,
      what: `blob ${digest}`,
      why: `it has the content of ${found}`,
    })),
    ...badLinks.map((what) => ({
      kind: "input" as const,
      what,
      why: "it does not hold the digest that it must",
    })),
  ];
}

/** What an OCI image index lists: each tag's image, with its media type. */
function namesOf(tree: SeedTree, repositories: SeedContent["repositories"]): SeedContent["names"] {
  return Object.entries(repositories).flatMap(([repository, { tags }]) =>
    Object.entries(tags).flatMap(([tag, digest]) => {
      const manifest = tree.manifests.get(digest);
      if (manifest === undefined || "unusable" in manifest) return [];
      const name = siteName(repository, tag, digest);
      return [{ mediaType: manifest.mediaType, digest, size: tree.blobs.get(digest) ?? 0, name }];
    }),
  );
}

class RepositoryReader {
  /** the revisions that a registry cannot serve, and why */
  readonly unserved = new Map<Digest, string>();
  readonly #tree: SeedTree;
  readonly #name: string;
  readonly #repository: SeedRepository;
  readonly #leftOut: LeftOut;
  readonly #defects: SeedDefect[];
  /** the revisions that a registry can serve */
  readonly #kept = new Map<Digest, SeedManifest>();
  /** those of `unserved` that it should */
  readonly #broken = new Set<Digest>();

  constructor(
    tree: SeedTree,
    name: string,
    repository: SeedRepository,
    notes: { leftOut: LeftOut; defects: SeedDefect[] },
  ) {
    this.#tree = tree;
    this.#name = name;
    this.#repository = repository;
    this.#leftOut = notes.leftOut;
    this.#defects = notes.defects;
  }

  read(): BundleRepository {
    const { revisions, tags } = this.#repository;
    for (const revision of revisions) this.#readRevision(revision);
    while (this.#breakEmptyIndexes());
    const layers = new Set<Digest>();
    for (const [revision, manifest] of this.#kept) {
      for (const { digest } of manifest.blobs) if (this.#tree.blobs.has(digest)) layers.add(digest);
      this.#noteMissingChildren(revision, manifest);
    }
    const kept = [...tags].filter(([tag, revision]) => this.#keepsTag(tag, revision)).sort(byName);
    return {
      tags: Object.fromEntries(kept),
      revisions: [...this.#kept.keys()].sort(),
      layers: [...layers].sort(),
    };
  }

  #readRevision(revision: Digest): void {
    if (!this.#tree.blobs.has(revision)) {
      this.#break(revision, `its ${this.#lacks(revision)}`);
      return;
    }
    const manifest = this.#tree.manifests.get(revision) ?? { unusable: "it is no image manifest" };
    if ("unusable" in manifest) {
      const why = `${manifest.unusable}: a registry could not serve it, nor collect its garbage with it`;
      this.unserved.set(revision, why);
      this.#leftOut.push({ what: this.#nameOf(revision), why });
      return;
    }
    // A foreign layer may be missing: whoever pulls it asks its URL.
    const missing = manifest.blobs.filter((blob) => !blob.foreign && !this.#tree.blobs.has(blob.digest));
    const [first, ...more] = new Set(missing.map(({ digest }) => digest));
    if (first === undefined) {
      this.#kept.set(revision, manifest);
      return;
    }
    const others = more.length === 0 ? "" : ` (and ${more.length} more)`;
    this.#break(revision, `${this.#lacks(first, ", which it needs,")}${others}`);
  }

  /** "blob sha256:… is not in the seed" */
  #lacks(blob: Digest, relation = ""): string {
    const state = this.#tree.damaged.has(blob) ? "is damaged in the seed" : "is not in the seed";
    return `blob ${blob}${relation} ${state}`;
  }

  /** An index none of whose images is left because they are broken. @returns whether there was one */
  #breakEmptyIndexes(): boolean {
    const empty = [...this.#kept].filter(
      ([, { children }]) =>
        children.some(({ digest }) => this.#broken.has(digest)) &&
        !children.some(({ digest }) => this.#kept.has(digest)),
    );
    for (const [index] of empty) {
      this.#kept.delete(index);
      this.#break(index, "none of the images that it names is whole in the seed");
    }
    return empty.length > 0;
  }

  #break(revision: Digest, why: string): void {
    this.#broken.add(revision);
    this.unserved.set(revision, why);
    this.#defects.push({ kind: "input", what: this.#nameOf(revision), why });
  }

  /** An index for more platforms than were copied is common. */
  #noteMissingChildren(revision: Digest, manifest: SeedManifest): void {
    const missing = manifest.children.filter((child) => !this.#kept.has(child.digest));
    const note = (children: SeedManifest["children"], why: string) => {
      if (children.length === 0) return;
      const names = children.map(
        ({ platform, digest }) => `${platform ?? "no platform"} (${shortDigest(digest)})`,
      );
      this.#leftOut.push({ what: `${names.join(", ")} of ${this.#nameOf(revision)}`, why });
    };
    const absent = missing.filter(({ digest }) => !this.#broken.has(digest));
    note(absent, "the index names it, but the seed does not hold it");
    const broken = missing.filter(({ digest }) => this.#broken.has(digest));
    note(broken, "the index names it, but it is not whole in the seed");
  }

  #keepsTag(tag: string, revision: Digest): boolean {
    if (this.#kept.has(revision)) return true;
    if (this.#repository.revisions.has(revision)) return false;
    const why = `tag ${JSON.stringify(tag)} names it, but the repository has no such revision`;
    this.#defects.push({ kind: "input", what: this.#nameOf(revision), why });
    return false;
  }

  /** `library/alpine@sha256:… (tag 3.20, latest)`; tags of an index above it count too. */
  #nameOf(revision: Digest): string {
    const tags = [...this.#repository.tags].filter(
      ([, digest]) => digest === revision || this.#isChild(digest, revision),
    );
    const names = tags.map(([tag]) => tag).sort();
    return `${this.#name}@${revision}${names.length > 0 ? ` (tag ${names.join(", ")})` : ""}`;
  }

  #isChild(index: Digest, revision: Digest): boolean {
    const manifest = this.#tree.manifests.get(index);
    if (manifest === undefined || "unusable" in manifest) return false;
    return manifest.children.some((child) => child.digest === revision);
  }
}

function leaveOrphans(tree: SeedTree, used: Set<Digest>, leftOut: LeftOut): void {
  const orphans = [...tree.blobs].filter(([digest]) => !used.has(digest));
  if (orphans.length > 0) {
    const bytes = sumOf(orphans.map(([, size]) => size));
    leftOut.push({
      what: `${counted(orphans.length, "blob")} of ${bytes} bytes`,
      why: "no image manifest needs them",
    });
  }
  // The registry's garbage collector removes blobs, but not the layer links to them.
  const stale = [...tree.repositories.values()].flatMap(({ layers }) =>
    [...layers].filter((digest) => !tree.blobs.has(digest) && !tree.damaged.has(digest)),
  );
  if (stale.length > 0) {
    leftOut.push({
      what: `${counted(stale.length, "layer link")} to blobs that are not in the seed`,
      why: "no image manifest needs them; a registry's garbage collector leaves such",
    });
  }
}

const strayReasons = {
  upload: "uploads that did not end",
  other: "not part of what a registry serves",
  foreign: "outside of the storage tree",
} as const;

function leaveStrays(tree: SeedTree, leftOut: LeftOut): void {
  for (const kind of ["upload", "other", "foreign"] as const) {
    const paths = tree.strays.filter((stray) => stray.kind === kind).map(({ path }) => path);
    if (paths.length === 0) continue;
    const named = `${paths.slice(0, 3).join(", ")}${paths.length > 3 ? ", …" : ""}`;
    leftOut.push({ what: `${counted(paths.length, "file")} (${named})`, why: strayReasons[kind] });
  }
}

function byName([a]: [string, unknown], [b]: [string, unknown]): number {
  return a < b ? -1 : 1;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

function sumOf(numbers: number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}
