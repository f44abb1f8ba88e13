/**
 * What a bundle puts into a site, as the bundle index says it: the storage's blobs, wherever they are
 * carried, how many files and folders they and their links make; the packages.
 */
import { dirname } from "node:path/posix";
import type { Digest } from "../oci/digest.ts";
import {
  blobPath,
  layerLinkPath,
  revisionLinkPath,
  tagCurrentLinkPath,
  tagIndexLinkPath,
} from "../oci/storage.ts";
import type { BundleIndex, BundleSeed } from "./bundle-index.ts";

type Stored = Pick<BundleIndex, "blobs" | "repositories"> & { seeds: Pick<BundleSeed, "packed">[] };

/** digest → size in bytes of each blob that the storage holds because of this bundle, seeds unpacked */
export function storedBlobs(index: Stored): Map<Digest, number> {
  const used = new Set(
    Object.values(index.repositories).flatMap(({ revisions, layers }) => [...revisions, ...layers]),
  );
  const stored = new Map<Digest, number>();
  for (const { digest, size } of index.blobs) if (used.has(digest)) stored.set(digest, size);
  for (const { packed } of index.seeds)
    for (const { digest, size } of packed?.blobs ?? []) stored.set(digest, size);
  return stored;
}

/** digest → size in bytes of each file of the bundle's `packages` */
export function packageBlobs({
  blobs,
  packages,
}: Pick<BundleIndex, "blobs" | "packages">): Map<Digest, number> {
  const used = new Set(packages.flatMap(({ files }) => files.map(({ digest }) => digest)));
  return new Map(blobs.flatMap(({ digest, size }) => (used.has(digest) ? [[digest, size]] : [])));
}

/** A link file of the storage: its path and the digest it holds. */
export interface Link {
  path: string;
  digest: Digest;
}

/** The links that make layers and revisions known: harmless to add, nothing shows before a tag moves. */
export function* contentLinks(index: Pick<Stored, "repositories">): Generator<Link> {
  for (const [name, { revisions, layers, tags }] of Object.entries(index.repositories)) {
    for (const digest of layers) yield { path: layerLinkPath(name, digest), digest };
    for (const digest of revisions) yield { path: revisionLinkPath(name, digest), digest };
    for (const [tag, digest] of Object.entries(tags))
      yield { path: tagIndexLinkPath(name, tag, digest), digest };
  }
}

/** The links that make tags name what they shall name. */
export function* tagLinks(
  index: Pick<Stored, "repositories">,
): Generator<Link & { repository: string; tag: string }> {
  for (const [repository, { tags }] of Object.entries(index.repositories)) {
    for (const [tag, digest] of Object.entries(tags)) {
      yield { path: tagCurrentLinkPath(repository, tag), digest, repository, tag };
    }
  }
}

/** Counts blobs, their bytes, and the files and folders that all of it makes in an empty storage. */
export function totalsOf(index: Stored): BundleIndex["totals"] {
  const stored = storedBlobs(index);
  const paths = [...stored.keys()].map(blobPath);
  for (const { path } of contentLinks(index)) paths.push(path);
  for (const { path } of tagLinks(index)) paths.push(path);
  const bytes = stored.values().reduce((sum, size) => sum + size, 0);
  return { blobs: stored.size, bytes, inodes: countInodes(paths) };
}

/** How many files and folders a set of relative file paths makes. */
export function countInodes(paths: Iterable<string>): number {
  const all = new Set<string>();
  for (const path of paths) {
    for (let at = path; at !== "." && !all.has(at); at = dirname(at)) all.add(at);
  }
  return all.size;
}

/** The repositories that need a blob, for an error's text ("team/app and 2 more"); empty if none does. */
export function usersOf(index: Pick<Stored, "repositories">, digest: Digest): string {
  const users = Object.entries(index.repositories)
    .filter(([, { revisions, layers }]) => layers.includes(digest) || revisions.includes(digest))
    .map(([name]) => name);
  const [first, ...others] = users;
  if (first === undefined) return "";
  return others.length === 0 ? first : `${first} and ${others.length} more`;
}
