/** Bundles for a site, written by the connected side's own parts; and the archive as a source that is watched. */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { planArchive } from "../../src/archive/archive-plan.ts";
import type { BlobRole, BundleIndex } from "../../src/archive/bundle-index.ts";
import { totalsOf } from "../../src/archive/contents.ts";
import { layOut, type Slot } from "../../src/archive/layout.ts";
import { type Bundle, openBundle } from "../../src/archive/reader.ts";
import { type ByteSource, openFile } from "../../src/archive/source.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import type { Content } from "../../src/bundle/content.ts";
import { mergeContents } from "../../src/bundle/merge.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import type { TestImage } from "../lab/images.ts";

/** Blobs of one role, and where they belong. */
export function contentOf(role: BlobRole, blobs: Buffer[], more: Partial<Content> = {}): Content {
  return {
    name: `${role} of the test`,
    blobs: blobs.map((bytes) => ({ digest: digestOf(bytes), size: bytes.length, role })),
    repositories: {},
    async fill(sink) {
      for (const bytes of blobs) await sink.write(digestOf(bytes), once(bytes), "the test");
    },
    ...more,
  };
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** An image under a tag of a repository. */
export function imageContent(image: TestImage, repository: string, tag: string): Content {
  const layers = image.blobs.map(({ digest }) => digest).sort();
  return contentOf("image", blobsOf(image), {
    repositories: { [repository]: { tags: { [tag]: image.digest }, revisions: [image.digest], layers } },
    names: [
      {
        mediaType: image.mediaType,
        digest: image.digest,
        size: image.manifest.length,
        name: `${repository}:${tag}`,
      },
    ],
  });
}

/** The image that the registry runs from. */
export function registryContent(image: TestImage): Content {
  return contentOf("registry", blobsOf(image));
}

/** name → content, carried as `files:` does */
export function filesContent(files: Record<string, Buffer>): Content {
  const named = Object.entries(files).map(([name, bytes]) => ({ name, digest: digestOf(bytes) }));
  return contentOf("file", Object.values(files), { files: named });
}

/** name → content of one set of packages, for Debian 12 */
export function packagesContent(files: Record<string, Buffer>): Content {
  const named = Object.entries(files).map(([name, bytes]) => ({ name, digest: digestOf(bytes) }));
  const match = { id: "debian", version: "12", architecture: "amd64" as const };
  return contentOf("package", Object.values(files), { packages: [{ match, files: named }] });
}

function blobsOf({ manifest, blobs }: TestImage): Buffer[] {
  return [manifest, ...blobs.map(({ bytes }) => bytes)];
}

export interface WrittenBundle {
  path: string;
  digest: Digest;
  index: BundleIndex;
  /** where each blob stands in the file */
  slot(digest: Digest): Slot;
}

/** Merges the contents, and writes the archive. @param changes what stands otherwise in the index */
export async function writeBundleOf(
  path: string,
  contents: Content[],
  changes: Partial<BundleIndex> = {},
): Promise<WrittenBundle> {
  const { names, ...parts } = mergeContents(contents);
  const index: BundleIndex = {
    formatVersion: 1,
    name: "plant-7",
    release: 1,
    created: "2026-01-02T03:04:05Z",
    addresses: ["registry.plant7.lan", "10.0.0.10"],
    registry: { reference: "docker.io/library/registry:2", images: {}, port: 443, access: "read-only" },
    totals: totalsOf(parts),
    certificates: { from: "site", request: { ca: { CN: "Test CA" }, server: { CN: "registry" } } },
    ...parts,
    ...changes,
  };
  const plan = planArchive({ index, readme: "read me\n", images: names });
  const writer = await ArchiveWriter.create(path, plan, {
    force: true,
    mode: 0o644,
    advance: () => {},
  });
  for (const content of contents) await content.fill(writer);
  await writer.finish();
  const { slots } = layOut(index.blobs, plan.top.length);
  return {
    path,
    digest: `sha256:${plan.digest}`,
    index,
    slot: (digest) => {
      const found = slots.find((slot) => slot.digest === digest);
      if (found === undefined) throw new Error(`the bundle has no ${digest}`);
      return found;
    },
  };
}

/** An open bundle that remembers which bytes were read. */
export interface WatchedBundle extends Bundle {
  /** whether a byte of the blob itself, not of its header, was read since it was opened */
  wasRead(digest: Digest): boolean;
}

export async function openWatched({ path, slot }: WrittenBundle): Promise<WatchedBundle> {
  const file = await openFile(path);
  const reads: { from: number; to: number }[] = [];
  const source: ByteSource = {
    ...file,
    readAt: (position, buffer) => {
      reads.push({ from: position, to: position + buffer.length });
      return file.readAt(position, buffer);
    },
  };
  const bundle = await openBundle(source, undefined, { goOn: true });
  return {
    ...bundle,
    wasRead: (digest) => {
      const { bodyAt, size } = slot(digest);
      return reads.some(({ from, to }) => from < bodyAt + size && to > bodyAt);
    },
  };
}

/** path → what shows a change: inode, size, and the times of content and of anything else */
export async function snapshot(folder: string): Promise<Map<string, string>> {
  const names = await readdir(folder, { recursive: true });
  const found = new Map<string, string>();
  for (const name of ["", ...names].sort()) {
    const { ino, size, mtimeMs, ctimeMs } = await stat(join(folder, name));
    found.set(name, [ino, size, mtimeMs, ctimeMs].join());
  }
  return found;
}

/** The files below a folder, relative to it, sorted. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}
