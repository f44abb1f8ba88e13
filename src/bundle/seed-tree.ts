/**
 * What a seed's tarball holds, found in one pass in which the packed bytes and every blob are hashed and
 * every link is read. What is wrong in the storage tree is noted and read past; what is wrong with the
 * tarball itself ends the pass.
 */
import { createHash } from "node:crypto";
import { topNames } from "../archive/layout.ts";
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

/** As much of an image manifest as the scan needs: a seed can hold many. */
export interface SeedManifest {
  kind: "image" | "index" | "schema1";
  mediaType: string;
  children: { digest: Digest; platform: string | undefined }[];
  /** config and layers; foreign: it may be missing, since it says where else it is */
  blobs: { digest: Digest; size?: number; foreign: boolean }[];
}

/** What the pass found. */
export interface SeedTree {
  /** the seed's name, for errors */
  where: string;
  /** of the packed file: 64 digits */
  sha256: string;
  /** of the packed file, in bytes */
  size: number;
  compression: Compression;
  /** digest → size, in the tarball's order: those whose content is what their name says */
  blobs: Map<Digest, number>;
  /** the others: their size, and the digest of the content that they have */
  damaged: Map<Digest, { size: number; found: Digest }>;
  /** links that don't hold the digest that they must: each in words, with its repository */
  badLinks: string[];
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

/** It may be a sound file, but it is no seed: not the one that is meant, or nothing like one. */
export class NoSeed extends DrydockError {}

/** Its packed bytes are not those that were wanted. */
export class OtherBytes extends DrydockError {}

/**
 * @param source the packed bytes @param where the seed's name, for errors
 * @param options.sha256 what the packed bytes' sha256 must be
 * @throws DrydockError "integrity" if that differs (OtherBytes), or if the tarball is cut or damaged; "input"
 *   if it is no tarball, or holds no storage tree (NoSeed)
 */
export async function readSeedTree(
  source: AsyncIterable<Uint8Array>,
  where: string,
  step?: Step,
  options: { sha256?: string | undefined } = {},
): Promise<SeedTree> {
  const found = {
    where,
    blobs: new Map(),
    damaged: new Map(),
    badLinks: [],
    manifests: new Map(),
    repositories: new Map(),
    strays: [],
  };
  const packed = new PackedBytes(source, step);
  try {
    const compression = detectCompression(await packed.head());
    const tree: SeedTree = { ...found, compression, sha256: "", size: 0 };
    const { prefix } = await readStorageTarball(packed.read(), { compression, where }, (entry, size, body) =>
      visit(tree, entry, size, body),
    ).catch(async (error) => {
      // Other bytes than the ones expected explain whatever is wrong with them.
      if (isOfContent(error)) checkSha256((await packed.end()).sha256, options.sha256, where, error);
      throw error;
    });
    const whole = await packed.end();
    checkSha256(whole.sha256, options.sha256, where);
    if (prefix === undefined) throw noTree(where);
    return { ...tree, ...whole };
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
  throw new OtherBytes(
    "integrity",
    `check seed ${JSON.stringify(where)}: wanted sha256 ${wanted}, got ${got}`,
    {
      hint: "It is not the file that the manifest means, or was cut or changed on the way: get it again.",
      cause,
    },
  );
}

function noTree(where: string): NoSeed {
  return new NoSeed("input", `read seed ${JSON.stringify(where)}: it holds no registry storage`, {
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
      // A bundle may be of any size, and is told by its first entry.
      if (entry.path === topNames.sums && isEmpty(tree)) throw isBundle(tree.where);
      tree.strays.push({ kind: entry.kind, path: entry.path });
      return;
    default:
      return visitLink(tree, entry, size, body);
  }
}

function isEmpty({ blobs, repositories, strays }: SeedTree): boolean {
  return blobs.size + repositories.size + strays.length === 0;
}

function isBundle(where: string): NoSeed {
  return new NoSeed("input", `read seed ${JSON.stringify(where)}: it is a bundle`, {
    hint: "To take blobs from an earlier bundle, name it with --reuse.",
  });
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
  const found: Digest = `sha256:${hash.digest("hex")}`;
  if (found !== digest) {
    tree.damaged.set(digest, { size, found });
    return;
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
    const blobs: SeedManifest["blobs"] = manifest.blobs.map((blob) => ({
      digest: blob.digest,
      size: blob.size,
      foreign: blob.urls !== undefined,
    }));
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
    tree.badLinks.push(linkName(link));
    return;
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
