/**
 * What a registry would serve of a seed's storage tree: from each tag over its revision link to the image
 * manifest, and on to config, layers and the image manifests below an index. What nothing of this needs
 * is left out, by the same rule as that of the registry's own garbage collector.
 */
import type { BundleIndex, BundleRepository } from "../archive/bundle-index.ts";
import { DrydockError } from "../errors.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";
import { siteName } from "./content.ts";
import type { SeedManifest, SeedRepository, SeedScan, SeedTree } from "./seed-scan.ts";

export type SeedContent = Pick<SeedScan, "unpackedBytes" | "blobs" | "repositories" | "leftOut" | "names">;

type LeftOut = BundleIndex["leftOut"];

/** @throws DrydockError "input" that names repository, tag, revision and blob, where one of them is missing */
export function seedContent(tree: SeedTree): SeedContent {
  const leftOut: LeftOut = [];
  const used = new Set<Digest>();
  const repositories: Record<string, BundleRepository> = {};
  for (const [name, repository] of [...tree.repositories].sort(byName)) {
    const content = new RepositoryReader(tree, name, repository, leftOut).read();
    if (content.revisions.length > 0) repositories[name] = content;
    for (const digest of [...content.revisions, ...content.layers]) used.add(digest);
  }
  const blobs = [...tree.blobs]
    .filter(([digest]) => used.has(digest))
    .map(([digest, size]) => ({ digest, size }));
  leaveOrphans(tree, used, leftOut);
  leaveStrays(tree, leftOut);
  const names = namesOf(tree, repositories);
  return { unpackedBytes: sumOf(blobs.map(({ size }) => size)), blobs, repositories, leftOut, names };
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
  readonly #tree: SeedTree;
  readonly #name: string;
  readonly #repository: SeedRepository;
  readonly #leftOut: LeftOut;
  /** the revisions that a registry can serve */
  readonly #kept = new Map<Digest, SeedManifest>();

  constructor(tree: SeedTree, name: string, repository: SeedRepository, leftOut: LeftOut) {
    this.#tree = tree;
    this.#name = name;
    this.#repository = repository;
    this.#leftOut = leftOut;
  }

  read(): BundleRepository {
    const { revisions, tags } = this.#repository;
    for (const revision of revisions) this.#readRevision(revision);
    const layers = new Set<Digest>();
    for (const [revision, manifest] of this.#kept) {
      for (const blob of manifest.blobs) if (this.#has(revision, blob)) layers.add(blob.digest);
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
      throw this.#missing(revision, `its blob ${revision} is not in the seed`);
    }
    const manifest = this.#tree.manifests.get(revision) ?? { unusable: "it is no image manifest" };
    if (!("unusable" in manifest)) {
      this.#kept.set(revision, manifest);
      return;
    }
    const why = `${manifest.unusable}: a registry could not serve it, nor collect its garbage with it`;
    this.#leftOut.push({ what: this.#nameOf(revision), why });
  }

  /** Whether the blob is there. A foreign layer may be missing: whoever pulls it asks its URL. */
  #has(revision: Digest, blob: { digest: Digest; foreign: boolean }): boolean {
    if (this.#tree.blobs.has(blob.digest)) return true;
    if (blob.foreign) return false;
    throw this.#missing(revision, `blob ${blob.digest}, which it needs, is not in the seed`);
  }

  /** An index for more platforms than were copied is common. */
  #noteMissingChildren(revision: Digest, manifest: SeedManifest): void {
    const missing = manifest.children.filter((child) => !this.#kept.has(child.digest));
    if (missing.length === 0) return;
    const names = missing.map(
      ({ platform, digest }) => `${platform ?? "no platform"} (${shortDigest(digest)})`,
    );
    const what = `${names.join(", ")} of ${this.#nameOf(revision)}`;
    this.#leftOut.push({ what, why: "the index names it, but the seed does not hold it" });
  }

  #keepsTag(tag: string, revision: Digest): boolean {
    if (this.#kept.has(revision)) return true;
    if (this.#repository.revisions.has(revision)) return false;
    throw this.#missing(
      revision,
      `tag ${JSON.stringify(tag)} names it, but the repository has no such revision`,
    );
  }

  #missing(revision: Digest, what: string): DrydockError {
    return new DrydockError(
      "input",
      `read seed ${JSON.stringify(this.#tree.where)}: ${this.#nameOf(revision)}: ${what}`,
      { hint: "The storage that it was made of is not whole, or was being written to. Pack it again." },
    );
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
    [...layers].filter((digest) => !tree.blobs.has(digest)),
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
