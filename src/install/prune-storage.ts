/**
 * What of a storage goes with the releases that a prune removes, and what stays: all that any link that is
 * left leads to, whoever put it there.
 *
 * Our own mark and sweep, and not the registry's `garbage-collect`: that one of 2.8 takes no notice of a
 * repository without a _layers folder and deletes what its tags name, and gives up for the whole storage at
 * one image manifest of an unknown media type.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { storedBlobs } from "../archive/contents.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { parseImageManifest } from "../oci/image-manifest.ts";
import { readStored, type StorageTree, type StoredLink } from "./storage-tree.ts";
import type { TagValue } from "./tags.ts";

export interface StorageUse {
  /** the bundles of the releases that are kept */
  kept: readonly BundleIndex[];
  /** the bundles of those that go */
  removed: readonly BundleIndex[];
  /** what tags name in the end, and what a rollback may let them name */
  named: readonly TagValue[];
}

export interface StorageRemoval {
  revisions: StoredLink[];
  tagIndexes: StoredLink[];
  layers: StoredLink[];
  blobs: Map<Digest, string>;
  /** repositories that nothing is left of */
  repositories: string[];
}

/** Reads the image manifests that stay, and changes nothing. @throws DrydockError "host" if one cannot be read. */
export async function planRemoval(tree: StorageTree, use: StorageUse): Promise<StorageRemoval> {
  const candidates = new Candidates(use);
  const used = await markUsed(tree, use, candidates);
  const goes = ({ repository, digest }: StoredLink) =>
    candidates.revisions.has(repository, digest) && !used.revisions.has(repository, digest);
  const layerGoes = ({ repository, digest }: StoredLink) =>
    candidates.layers.has(repository, digest) && !used.mentioned.has(repository, digest);
  const layers = tree.layers.filter(layerGoes);
  const revisions = tree.revisions.filter(goes);

  const keep = new Set<Digest>([...used.blobs, ...tree.strange]);
  for (const index of use.kept) for (const digest of storedBlobs(index).keys()) keep.add(digest);
  for (const link of tree.layers) if (!layerGoes(link)) keep.add(link.digest);
  const blobs = new Map([...tree.blobs].filter(([digest]) => !keep.has(digest)));

  const named = use.named.filter(({ digest }) => digest !== undefined);
  const left = new Set(named.map(({ repository }) => repository));
  for (const link of tree.layers) if (!layerGoes(link)) left.add(link.repository);
  for (const link of tree.revisions) if (!goes(link)) left.add(link.repository);
  const repositories = candidates.repositories.filter((name) => !left.has(name));
  return { revisions, tagIndexes: tree.tagIndexes.filter(goes), layers, blobs, repositories };
}

/** Digests by repository. */
class Digests {
  readonly #of = new Map<string, Set<Digest>>();

  add(repository: string, digest: Digest): void {
    const known = this.#of.get(repository);
    if (known === undefined) this.#of.set(repository, new Set([digest]));
    else known.add(digest);
  }

  has(repository: string, digest: Digest): boolean {
    return this.#of.get(repository)?.has(digest) === true;
  }
}

/** What bundles have brought that go, and none that is kept. */
class Candidates {
  readonly revisions = new Digests();
  readonly layers = new Digests();
  readonly repositories: string[];

  constructor({ kept, removed }: StorageUse) {
    const [keptRevisions, keptLayers] = [new Digests(), new Digests()];
    fill(kept, keptRevisions, keptLayers);
    const names = new Set<string>();
    for (const { repositories } of removed) {
      for (const [name, { revisions, layers }] of Object.entries(repositories)) {
        names.add(name);
        for (const digest of revisions)
          if (!keptRevisions.has(name, digest)) this.revisions.add(name, digest);
        for (const digest of layers) if (!keptLayers.has(name, digest)) this.layers.add(name, digest);
      }
    }
    this.repositories = [...names];
  }
}

function fill(indexes: readonly BundleIndex[], revisionsOf: Digests, layersOf: Digests): void {
  for (const { repositories } of indexes) {
    for (const [name, { revisions, layers }] of Object.entries(repositories)) {
      for (const digest of revisions) revisionsOf.add(name, digest);
      for (const digest of layers) layersOf.add(name, digest);
    }
  }
}

interface Used {
  /** the image manifests that stay, in which repository */
  revisions: Digests;
  /** what they mention */
  mentioned: Digests;
  /** both, wherever */
  blobs: Set<Digest>;
}

/** From every image manifest that no bundle that goes has brought, and all that is named, to what they need. */
async function markUsed(tree: StorageTree, use: StorageUse, candidates: Candidates): Promise<Used> {
  const used: Used = { revisions: new Digests(), mentioned: new Digests(), blobs: new Set() };
  const work: Pick<StoredLink, "repository" | "digest">[] = [
    ...tree.revisions.filter(({ repository, digest }) => !candidates.revisions.has(repository, digest)),
    ...use.named.flatMap(({ repository, digest }) => (digest === undefined ? [] : [{ repository, digest }])),
  ];
  for (let one = work.pop(); one !== undefined; one = work.pop()) {
    const { repository, digest } = one;
    if (used.revisions.has(repository, digest)) continue;
    used.revisions.add(repository, digest);
    used.blobs.add(digest);
    const { children, mentioned } = mentions(await readStored(tree, digest), digest);
    for (const other of mentioned) {
      used.mentioned.add(repository, other);
      used.blobs.add(other);
    }
    for (const child of children)
      if (candidates.revisions.has(repository, child)) work.push({ repository, digest: child });
  }
  return used;
}

/**
 * What an image manifest needs, and rather too much than too little: every digest that stands anywhere in it.
 * Where it is of a kind that is not known, each of them may be an image manifest, too.
 */
function mentions(bytes: Buffer | undefined, digest: Digest): { children: Digest[]; mentioned: Set<Digest> } {
  if (bytes === undefined) return { children: [], mentioned: new Set() };
  const found = bytes.toString("latin1").matchAll(/sha256:[0-9a-f]{64}/g);
  const mentioned = new Set(Array.from(found, ([text]) => text as Digest));
  try {
    const { kind, children, blobs, fsLayers } = parseImageManifest(bytes, undefined, digest);
    const named = [...children, ...blobs].map((one) => one.digest);
    for (const one of [...named, ...fsLayers]) mentioned.add(one);
    if (kind !== "unknown") return { children: children.map((one) => one.digest), mentioned };
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
  }
  return { children: [...mentioned], mentioned };
}
