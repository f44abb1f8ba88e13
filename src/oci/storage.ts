/**
 * The paths of the registry's filesystem storage driver (distribution v2, registry/storage/paths.go).
 * No other module knows them. They are relative to the storage directory, the one that is mounted at
 * /var/lib/registry. Pushing library/alpine:3.20, one image manifest (ma…) with a config (co…) and a
 * layer (la…), leaves:
 *
 *   docker/registry/v2/blobs/sha256/ma/ma…/data                                    the image manifest
 *   docker/registry/v2/blobs/sha256/co/co…/data                                    its config
 *   docker/registry/v2/blobs/sha256/la/la…/data                                    its layer
 *   docker/registry/v2/repositories/library/alpine/_layers/sha256/co…/link         "sha256:co…"
 *   docker/registry/v2/repositories/library/alpine/_layers/sha256/la…/link         "sha256:la…"
 *   docker/registry/v2/repositories/library/alpine/_manifests/revisions/sha256/ma…/link        "sha256:ma…"
 *   docker/registry/v2/repositories/library/alpine/_manifests/tags/3.20/current/link           "sha256:ma…"
 *   docker/registry/v2/repositories/library/alpine/_manifests/tags/3.20/index/sha256/ma…/link  "sha256:ma…"
 *   docker/registry/v2/repositories/library/alpine/_uploads/<uuid>/…               an upload under way
 *
 * Every function takes a digest or a name and checks it, so that no path can leave the directory.
 */
import { DrydockError } from "../errors.ts";
import { type Digest, hexOf, isDigest, parseDigest } from "./digest.ts";
import { isRepositoryName, isTag } from "./reference.ts";

/** Where the tree begins, below the storage directory. */
export const storageRoot = "docker/registry/v2";

/** The folder of all repositories. */
export const repositoriesRoot = `${storageRoot}/repositories`;

/** The content of a blob, whatever it is. */
export function blobPath(digest: Digest): string {
  const hex = checkedHex(digest);
  return `${storageRoot}/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`;
}

/** Says that the repository has this image manifest or image index. */
export function revisionLinkPath(repository: string, digest: Digest): string {
  return `${repositoryPath(repository)}/_manifests/revisions/sha256/${checkedHex(digest)}/link`;
}

/** Says that the repository has this config or layer. */
export function layerLinkPath(repository: string, digest: Digest): string {
  return `${repositoryPath(repository)}/_layers/sha256/${checkedHex(digest)}/link`;
}

/** What the tag names now. */
export function tagCurrentLinkPath(repository: string, tag: string): string {
  return `${tagPath(repository, tag)}/current/link`;
}

/** One of those that the tag has named, the present one included. */
export function tagIndexLinkPath(repository: string, tag: string, digest: Digest): string {
  return `${tagPath(repository, tag)}/index/sha256/${checkedHex(digest)}/link`;
}

/** The text that each link file holds: the digest, without a line end. */
export function linkContent(digest: Digest): string {
  return `sha256:${checkedHex(digest)}`;
}

/** What a file of the storage tree is. */
export type StorageEntry =
  | { kind: "blob"; digest: Digest }
  | { kind: "revision"; repository: string; digest: Digest }
  | { kind: "layer"; repository: string; digest: Digest }
  | { kind: "tag-current"; repository: string; tag: string }
  | { kind: "tag-index"; repository: string; tag: string; digest: Digest }
  /** part of an upload that did not end: worth nothing to anybody else */
  | { kind: "upload"; path: string }
  /** in the tree, yet nothing that this module knows, or with a name that is not valid */
  | { kind: "other"; path: string };

/**
 * Reads a path relative to the storage directory, the other way round from the functions above.
 * @returns undefined if it does not stand below docker/registry/v2.
 */
export function parseStoragePath(path: string): StorageEntry | undefined {
  if (!path.startsWith(`${storageRoot}/`)) return undefined;
  const inside = path.slice(storageRoot.length + 1);
  const other: StorageEntry = { kind: "other", path };
  if (inside.startsWith("blobs/")) return parseBlob(inside) ?? other;
  const match = /^repositories\/(.+?)\/(_[a-z]+)\/(.+)$/.exec(inside);
  const [, repository = "", area, rest = ""] = match ?? [];
  if (area === "_uploads") return { kind: "upload", path };
  if (!isRepositoryName(repository)) return other;
  if (area === "_layers") return parseLink("layer", repository, rest) ?? other;
  if (area === "_manifests") return parseManifests(repository, rest) ?? other;
  return other;
}

function parseBlob(inside: string): StorageEntry | undefined {
  const match = /^blobs\/sha256\/([0-9a-f]{2})\/([0-9a-f]{64})\/data$/.exec(inside);
  const [, start = "", hex = ""] = match ?? [];
  const digest = `sha256:${hex}`;
  return match && hex.startsWith(start) && isDigest(digest) ? { kind: "blob", digest } : undefined;
}

function parseLink(kind: "layer" | "revision", repository: string, rest: string): StorageEntry | undefined {
  const digest = linkedDigest(rest);
  return digest && { kind, repository, digest };
}

function parseManifests(repository: string, rest: string): StorageEntry | undefined {
  if (rest.startsWith("revisions/")) {
    return parseLink("revision", repository, rest.slice("revisions/".length));
  }
  const [, tag = "", below = ""] = /^tags\/([^/]+)\/(.+)$/.exec(rest) ?? [];
  if (!isTag(tag)) return undefined;
  if (below === "current/link") return { kind: "tag-current", repository, tag };
  const digest = below.startsWith("index/") ? linkedDigest(below.slice("index/".length)) : undefined;
  return digest && { kind: "tag-index", repository, tag, digest };
}

/** The digest in `sha256/<hex>/link`. */
function linkedDigest(rest: string): Digest | undefined {
  const digest = `sha256:${/^sha256\/([0-9a-f]{64})\/link$/.exec(rest)?.[1] ?? ""}`;
  return isDigest(digest) ? digest : undefined;
}

function checkedHex(digest: Digest): string {
  return hexOf(parseDigest(digest, "storage path"));
}

/** The folder of a repository; repositories whose names begin with its name stand in it, too. */
export function repositoryPath(repository: string): string {
  if (isRepositoryName(repository)) return `${repositoriesRoot}/${repository}`;
  throw new DrydockError("input", `storage path: ${JSON.stringify(repository)} is not a repository name`);
}

/** The folder of a repository's tags, named as they are. */
export function tagsPath(repository: string): string {
  return `${repositoryPath(repository)}/_manifests/tags`;
}

/** The folder of all that is known of a tag: taking it away takes the tag away. */
export function tagPath(repository: string, tag: string): string {
  if (isTag(tag)) return `${tagsPath(repository)}/${tag}`;
  throw new DrydockError("input", `storage path: ${JSON.stringify(tag)} is not a tag`);
}
