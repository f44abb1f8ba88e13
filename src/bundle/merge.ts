/**
 * Brings together what the sources of a bundle add: each blob once, each repository with all that it gets,
 * and an error where two would give one tag to different images.
 */
import type { BundleBlob, BundleIndex, BundleRepository } from "../archive/bundle-index.ts";
import type { ImageName } from "../archive/oci-layout.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { Content } from "./content.ts";

export type Merged = Pick<
  BundleIndex,
  "blobs" | "repositories" | "images" | "seeds" | "files" | "packages" | "leftOut"
> & {
  names: ImageName[];
};

/** @throws DrydockError "input" naming both sources, if they set the same tag to different digests. */
export function mergeContents(contents: Content[]): Merged {
  return {
    blobs: mergeBlobs(contents),
    repositories: mergeRepositories(contents),
    images: contents.flatMap(({ images = [] }) => images),
    seeds: contents.flatMap(({ seed }) => (seed ? [seed] : [])),
    files: contents.flatMap(({ files = [] }) => files),
    packages: contents.flatMap(({ packages = [] }) => packages),
    leftOut: contents.flatMap(({ leftOut = [] }) => leftOut),
    names: uniqueNames(contents.flatMap(({ names = [] }) => names)),
  };
}

/** Each blob where it stands first. A blob of the registry's image stays one, whoever else has it. */
function mergeBlobs(contents: Content[]): BundleBlob[] {
  const merged = new Map<Digest, BundleBlob>();
  for (const { name, blobs } of contents) {
    for (const blob of blobs) {
      const first = merged.get(blob.digest);
      if (!first) merged.set(blob.digest, { ...blob });
      else if (first.size !== blob.size) {
        throw new DrydockError(
          "integrity",
          `read ${name}: blob ${blob.digest} has ${blob.size} bytes here and ${first.size} elsewhere`,
        );
      }
    }
  }
  return [...merged.values()];
}

function mergeRepositories(contents: Content[]): Record<string, BundleRepository> {
  const merged = new Map<string, BundleRepository>();
  const setBy = new Map<string, Content>();
  for (const content of contents) {
    const { repositories } = content;
    for (const [repository, added] of Object.entries(repositories)) {
      const into = merged.get(repository) ?? { tags: {}, revisions: [], layers: [] };
      for (const [tag, digest] of Object.entries(added.tags)) {
        const other = setBy.get(`${repository}:${tag}`);
        if (other !== undefined && into.tags[tag] !== digest)
          throw collision(`${repository}:${tag}`, [other, content]);
        setBy.set(`${repository}:${tag}`, content);
      }
      merged.set(repository, {
        tags: sortedKeys({ ...into.tags, ...added.tags }),
        revisions: sortedUnion(into.revisions, added.revisions),
        layers: sortedUnion(into.layers, added.layers),
      });
    }
  }
  return sortedKeys(Object.fromEntries(merged));
}

function collision(name: string, sources: Content[]): DrydockError {
  const both = sources.map((source) => JSON.stringify(source.name)).join(" and ");
  const onlySeeds = sources.every(({ seed }) => seed !== undefined);
  return new DrydockError(
    "input",
    `${both} both set ${JSON.stringify(name)} at the site, to different images`,
    {
      hint: onlySeeds
        ? "A seed's tags are carried as they are: remove this one from one of the storage directories and pack it anew, or leave one seed out."
        : "Give the image another name with `as`, or leave one of the two out.",
    },
  );
}

function sortedUnion(one: Digest[], other: Digest[]): Digest[] {
  return [...new Set([...one, ...other])].sort();
}

function sortedKeys<T>(record: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function uniqueNames(names: ImageName[]): ImageName[] {
  return [...new Map(names.map((name) => [name.name, name])).values()];
}
