/**
 * Storage trees as a real registry writes them, packed by real tools in every way that seeds come in; and
 * the same trees in memory, so that a test can break one and pack it byte by byte.
 */
import { readdir, readFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { Header, Pax } from "tar";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import {
  blobPath,
  layerLinkPath,
  linkContent,
  revisionLinkPath,
  tagCurrentLinkPath,
  tagIndexLinkPath,
} from "../../src/oci/storage.ts";
import type { Compression } from "../../src/oci/storage-tarball.ts";
import { pushImage, type TestImage } from "./images.ts";
import { run } from "./process.ts";
import { startRegistry } from "./registry.ts";

/** Pushes images ("library/alpine:3.20" → image) to a registry that is then stopped. @returns its storage directory */
export async function makeStorage(folder: string, images: Record<string, TestImage>): Promise<string> {
  const registry = await startRegistry({ folder });
  try {
    for (const [name, image] of Object.entries(images)) {
      const [repository = "", tag = ""] = name.split(":");
      await pushImage(registry.host, repository, tag, image);
    }
  } finally {
    await registry.stop();
  }
  return registry.storage;
}

/** Packs a storage directory with tar and gzip or zstd. @param prefix what comes before "docker/": "" or "./" or "a/b/" */
export async function packStorage(
  storage: string,
  file: string,
  options: { compression?: Compression; prefix?: string; format?: "gnu" | "pax" | "ustar" } = {},
): Promise<string> {
  const { compression = "none", prefix = "", format = "gnu" } = options;
  const args = ["--create", "--file", file, `--format=${format}`, "--directory", storage];
  if (compression !== "none") args.push(`--${compression}`);
  args.push(`--transform=s,^docker,${prefix}docker,`, "docker");
  await run("tar", args);
  return file;
}

/** path below the storage directory → content */
export type StorageTree = Map<string, Buffer>;

export async function readTree(storage: string): Promise<StorageTree> {
  const entries = await readdir(storage, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const files = paths.map(async (path) => [relative(storage, path), await readFile(path)] as const);
  return new Map((await Promise.all(files)).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Adds a blob that nothing refers to. */
export function addBlob(tree: StorageTree, bytes: Buffer): Digest {
  const digest = digestOf(bytes);
  tree.set(blobPath(digest), bytes);
  return digest;
}

/** Adds an image manifest, whatever it holds, with its links as a registry writes them. */
export function addManifest(
  tree: StorageTree,
  repository: string,
  tag: string | undefined,
  manifest: object,
  layers: Digest[] = [],
): Digest {
  const digest = addBlob(tree, Buffer.from(JSON.stringify(manifest)));
  const link = Buffer.from(linkContent(digest));
  tree.set(revisionLinkPath(repository, digest), link);
  for (const layer of layers) tree.set(layerLinkPath(repository, layer), Buffer.from(linkContent(layer)));
  if (tag !== undefined) {
    tree.set(tagCurrentLinkPath(repository, tag), link);
    tree.set(tagIndexLinkPath(repository, tag, digest), link);
  }
  return digest;
}

/** An entry of a tar that no honest tool would write. */
export interface RawEntry {
  path: string;
  content?: Buffer;
  type?: "File" | "Directory" | "SymbolicLink" | "Link" | "CharacterDevice" | "FIFO";
  linkpath?: string;
  /** Write the name into a pax header too, as it is here. */
  paxPath?: string;
}

export function entriesOf(tree: StorageTree): RawEntry[] {
  return [...tree].map(([path, content]) => ({ path, content }));
}

/** A plain tar of exactly these entries, in this order, with its end. */
export function tarOf(entries: RawEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(rawEntry), Buffer.alloc(1024)]);
}

function rawEntry({ path, content = Buffer.alloc(0), type = "File", linkpath, paxPath }: RawEntry): Buffer[] {
  const header = new Header({
    path,
    type,
    size: content.length,
    mode: 0o644,
    mtime: new Date(0),
    uid: 0,
    gid: 0,
  });
  if (linkpath !== undefined) header.linkpath = linkpath;
  const needsPax = header.encode();
  const pax = paxPath ?? (needsPax ? path : undefined);
  const parts = [header.block ?? Buffer.alloc(0), padded(content)];
  return pax === undefined ? parts : [...paxHeader(pax), ...parts];
}

function paxHeader(path: string): Buffer[] {
  const body = Buffer.from(new Pax({ path }).encodeBody());
  const header = new Header({ path: "PaxHeader", type: "ExtendedHeader", size: body.length, mode: 0o644 });
  header.encode();
  return [header.block ?? Buffer.alloc(0), padded(body)];
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

export function compress(bytes: Buffer, compression: Compression): Buffer {
  if (compression === "gzip") return gzipSync(bytes);
  return compression === "zstd" ? zstdCompressSync(bytes) : bytes;
}
