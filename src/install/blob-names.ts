/**
 * What people know a blob of a bundle by, while it is in flight.
 */
import type { BundleIndex } from "../archive/bundle-index.ts";
import { type Digest, shortDigest } from "../oci/digest.ts";

/** @returns for a digest "library/alpine:3.20 3b1f0a2c4d5e", or another thing that the blob is of */
export function blobNames(index: BundleIndex): (digest: Digest) => string {
  const owners = new Map<Digest, string>();
  const own = (owner: string, digests: Digest[]) => {
    for (const digest of digests) if (!owners.has(digest)) owners.set(digest, owner);
  };
  for (const [repository, { tags, revisions, layers }] of Object.entries(index.repositories)) {
    const [tag, ...others] = Object.keys(tags);
    // Which of several tags a layer is of, the index does not say.
    const image = tag === undefined || others.length > 0 ? repository : `${repository}:${tag}`;
    own(image, [...revisions, ...layers]);
  }
  for (const { name, digest } of index.files) own(name, [digest]);
  for (const { name, digest } of index.packages.flatMap(({ files }) => files)) own(name, [digest]);
  for (const { source, sha256 } of index.seeds) own(source, [`sha256:${sha256}`]);
  const registry = index.blobs.filter(({ role }) => role === "registry");
  own(
    index.registry.reference,
    registry.map(({ digest }) => digest),
  );
  return (digest) => `${owners.get(digest) ?? "blob"} ${shortDigest(digest)}`;
}
