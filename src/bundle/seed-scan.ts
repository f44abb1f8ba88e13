/**
 * The scan of a seed: one pass over a tarball of a registry's storage directory, in which the packed
 * bytes and every blob are hashed and every link is read. seed-content.ts then tells what it would serve.
 */
import { createHash } from "node:crypto";
import type { BundleIndex, BundleRepository } from "../archive/bundle-index.ts";
import type { ImageName } from "../archive/oci-layout.ts";
import { DrydockError } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { largestManifest, parseImageManifest } from "../oci/image-manifest.ts";
import type { StorageEntry } from "../oci/storage.ts";
import {
  type Compression,
  detectCompression,
  readStorageTarball,
  type TarballEntry,
} from "../oci/storage-tarball.ts";
import type { Step } from "../reporter.ts";
import { PackedBytes } from "./packed-bytes.ts";
import { seedContent } from "./seed-content.ts";

export interface SeedScan {
  /** of the packed file: 64 digits */
  sha256: string;
  /** of the packed file, in bytes */
  size: number;
  compression: Compression;
  /** of the used blobs together */
  unpackedBytes: number;
  /** those that are used, in the tarball's order */
  blobs: { digest: Digest; size: number }[];
  repositories: Record<string, BundleRepository>;
  leftOut: BundleIndex["leftOut"];
  /** what each tag names */
  names: ImageName[];
}

/** As much of an image manifest as the scan needs: a seed can hold many. */
export interface SeedManifest {
  kind: "image" | "index" | "schema1";
  mediaType: string;
  children: { digest: Digest; platform: string | undefined }[];
  /** config and layers; foreign: it may be missing, since it says where else it is */
  blobs: { digest: Digest; foreign: boolean }[];
}

/** What the pass found. */
export interface SeedTree {
  /** the seed's name, for errors */
  where: string;
  /** digest → size, in the tarball's order */
  blobs: Map<Digest, number>;
  /** every blob that could be an image manifest; why it is none that a registry can serve, if it isn't */
  manifests: Map<Digest, SeedManifest | { unusable: string }>;
  repositories: Map<string, SeedRepository>;
  /** files that are no part of what a registry serves */
  strays: { kind: "upload" | "other" | "foreign"; path: string }[];
}

export interface SeedRepository {
  revisions: Set<Digest>;
  layers: Set<Digest>;
  tags: Map<string, Digest>;
}

/**
 * @param source the packed bytes @param where the seed's name, for errors
 * @param options.sha256 what the packed bytes' sha256 must be
 * @throws DrydockError "integrity" if that differs, if a blob is not what its name says, or if the tarball
 *   is cut or damaged; "input" if it is no seed, or lacks what a tag or an image manifest needs
 */
export async function scanSeed(
  source: AsyncIterable<Uint8Array>,
  where: string,
  step?: Step,
  options: { sha256?: string | undefined } = {},
): Promise<SeedScan> {
  const tree: SeedTree = {
    where,
    blobs: new Map(),
    manifests: new Map(),
    repositories: new Map(),
    strays: [],
  };
  const packed = new PackedBytes(source, step);
  try {
    const compression = detectCompression(await packed.head());
    const { prefix } = await readStorageTarball(packed.read(), { compression, where }, (entry, size, body) =>
      visit(tree, entry, size, body),
    ).catch(async (error) => {
      // Other bytes than the ones expected explain whatever is wrong with them.
      if (isOfContent(error)) checkSha256((await packed.end()).sha256, options.sha256, where, error);
      throw error;
    });
    const { sha256, size } = await packed.end();
    checkSha256(sha256, options.sha256, where);
    if (prefix === undefined) throw noTree(where);
    return { sha256, size, compression, ...seedContent(tree) };
  } finally {
    await packed.close();
  }
}

/** Not one of the source's own: then there may be no more bytes to hash. */
function isOfContent(error: unknown): boolean {
  return error instanceof DrydockError && (error.kind === "input" || error.kind === "integrity");
}

function checkSha256(got: string, wanted: string | undefined, where: string, cause?: unknown): void {
  if (wanted === undefined || got === wanted.toLowerCase()) return;
  throw new DrydockError(
    "integrity",
    `check seed ${JSON.stringify(where)}: wanted sha256 ${wanted}, got ${got}`,
    {
      hint: "It is not the file that the manifest means, or was cut or changed on the way: get it again.",
      cause,
    },
  );
}

function noTree(where: string): DrydockError {
  return new DrydockError("input", `read seed ${JSON.stringify(where)}: it holds no registry storage`, {
    hint: "Wanted is a tarball of the folder that a registry mounts at /var/lib/registry: docker/registry/v2/ with blobs and repositories, below whatever folder.",
  });
}

async function visit(
  tree: SeedTree,
  entry: TarballEntry,
  size: number,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  switch (entry.kind) {
    case "blob":
      return visitBlob(tree, entry.digest, size, body);
    case "upload":
    case "other":
    case "foreign":
      tree.strays.push({ kind: entry.kind, path: entry.path });
      return;
    default:
      return visitLink(tree, entry, size, body);
  }
}

async function visitBlob(
  tree: SeedTree,
  digest: Digest,
  size: number,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  const hash = createHash("sha256");
  const kept: Uint8Array[] = [];
  let keep = size <= largestManifest;
  for await (const chunk of body) {
    hash.update(chunk);
    if (kept.length === 0) keep &&= beginsObject(chunk);
    if (keep) kept.push(chunk);
  }
  const got = `sha256:${hash.digest("hex")}`;
  if (got !== digest) {
    throw new DrydockError(
      "integrity",
      `read seed ${JSON.stringify(tree.where)}: blob ${digest} has the content of ${got}`,
    );
  }
  tree.blobs.set(digest, size);
  if (keep) keepManifest(tree, digest, Buffer.concat(kept));
}

/** A JSON object can begin with blanks; a layer does not begin with a brace. */
function beginsObject(chunk: Uint8Array): boolean {
  return chunk.find((byte) => byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) === 0x7b;
}

/** Configs are JSON objects too: an image manifest says its schemaVersion. */
function keepManifest(tree: SeedTree, digest: Digest, bytes: Buffer): void {
  if (!bytes.includes('"schemaVersion"')) return;
  try {
    const manifest = parseImageManifest(bytes, undefined, `${digest} in seed ${JSON.stringify(tree.where)}`);
    const { kind, mediaType } = manifest;
    if (kind === "unknown") {
      tree.manifests.set(digest, { unusable: `its media type is ${JSON.stringify(mediaType)}` });
      return;
    }
    const children = manifest.children.map((child) => ({
      digest: child.digest,
      platform: platformText(child.platform),
    }));
    const blobs = manifest.blobs.map((blob) => ({ digest: blob.digest, foreign: blob.urls !== undefined }));
    for (const layer of manifest.fsLayers) blobs.push({ digest: layer, foreign: false });
    tree.manifests.set(digest, { kind, mediaType: manifest.mediaType, children, blobs });
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    // Whether it matters is seen later: nothing says yet that it is meant as an image manifest.
    tree.manifests.set(digest, { unusable: error.message });
  }
}

function platformText(platform: { os: string; architecture: string; variant?: string } | undefined) {
  return platform && [platform.os, platform.architecture, platform.variant].filter(Boolean).join("/");
}

type Link = Extract<StorageEntry, { repository: string }>;

async function visitLink(
  tree: SeedTree,
  link: Link,
  size: number,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  const target = await readLink(size, body);
  if (target === undefined || ("digest" in link && target !== link.digest)) {
    throw new DrydockError(
      "input",
      `read seed ${JSON.stringify(tree.where)}: ${linkName(link)} does not hold the digest that it must`,
      { hint: "The storage that it was made of is damaged, or was being written to." },
    );
  }
  const repository = repositoryOf(tree, link.repository);
  if (link.kind === "revision") repository.revisions.add(target);
  else if (link.kind === "layer") repository.layers.add(target);
  else if (link.kind === "tag-current") repository.tags.set(link.tag, target);
}

async function readLink(size: number, body: AsyncIterable<Uint8Array>): Promise<Digest | undefined> {
  if (size > 1024) return undefined;
  const parts: Uint8Array[] = [];
  for await (const part of body) parts.push(part);
  const text = Buffer.concat(parts).toString();
  return isDigest(text) ? text : undefined;
}

function linkName(link: Link): string {
  const digest = "digest" in link ? ` ${link.digest}` : "";
  const tag = "tag" in link ? ` of tag ${JSON.stringify(link.tag)}` : "";
  return `the ${link.kind} link${digest}${tag} in repository ${JSON.stringify(link.repository)}`;
}

function repositoryOf(tree: SeedTree, name: string): SeedRepository {
  const known = tree.repositories.get(name);
  if (known !== undefined) return known;
  const made: SeedRepository = { revisions: new Set(), layers: new Set(), tags: new Map() };
  tree.repositories.set(name, made);
  return made;
}
