/** Small bundles made in code, and sources in memory, for the format's tests. */

import { planArchive } from "../../src/archive/archive-plan.ts";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { totalsOf } from "../../src/archive/contents.ts";
import type { ByteSource } from "../../src/archive/source.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import { digestOf } from "../../src/oci/digest.ts";

/** An index over these blobs, all of them layers of team/app but the first, which is its image manifest. */
export function makeIndex(blobs: Buffer[]): BundleIndex {
  const listed = blobs.map((bytes) => ({
    digest: digestOf(bytes),
    size: bytes.length,
    role: "image" as const,
  }));
  const [manifest, ...layers] = listed.map(({ digest }) => digest);
  if (!manifest) throw new Error("an index needs a blob");
  const repositories = { "team/app": { tags: { "1": manifest }, revisions: [manifest], layers } };
  return {
    formatVersion: 1,
    name: "plant-7",
    release: 1,
    created: "2026-01-02T03:04:05Z",
    addresses: ["registry.plant7.lan", "10.0.0.10"],
    registry: {
      reference: "docker.io/library/registry:2",
      images: { "linux/amd64": manifest },
      port: 443,
      access: "read-only",
    },
    totals: totalsOf({ blobs: listed, seeds: [], repositories }),
    certificates: { from: "site", request: { ca: {}, server: {} } },
    seeds: [],
    files: [],
    packages: [],
    blobs: listed,
    repositories,
    images: [],
    leftOut: [],
  };
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** Writes a bundle of these blobs and returns its digest. @param split the size of its parts, if it shall have some */
export async function writeBundle(
  path: string,
  blobs: Buffer[],
  index = makeIndex(blobs),
  split?: number,
): Promise<string> {
  const plan = planArchive({ index, readme: "read me\n", images: [] });
  const writer = await ArchiveWriter.create(path, plan, {
    force: false,
    mode: 0o644,
    split,
    advance: () => {},
  });
  for (const bytes of blobs.toReversed()) await writer.write(digestOf(bytes), once(bytes), "the test");
  await writer.finish();
  return plan.digest;
}

/** A file that is only in memory. */
export function memorySource(bytes: Buffer): ByteSource {
  return {
    name: "memory",
    sequential: false,
    size: bytes.length,
    readAt: async (position, buffer) => bytes.copy(buffer, 0, position, position + buffer.length),
    close: async () => {},
  };
}
