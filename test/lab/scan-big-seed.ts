/**
 * A program: scans a seed of so many MiB, gzipped without compression, that is made while it is read.
 * Prints JSON: rssGrowth (peak resident memory above that at the start, in bytes), seconds, blobs.
 */
import { createHash, randomBytes } from "node:crypto";
import { pipeline, Readable } from "node:stream";
import { createGzip } from "node:zlib";
import { scanSeed } from "../../src/bundle/seed-scan.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { addBlob, addManifest, entriesOf, type StorageTree, tarOf } from "./seeds.ts";

const layerSize = 16 * 1024 * 1024;
const chunkSize = 1024 * 1024;
const layers = Number(process.argv[2] ?? 1024) / 16;
const chunk = randomBytes(chunkSize);

/** Each layer repeats one chunk, with the layer's number at its start. */
function* layerChunks(layer: number): Generator<Buffer> {
  for (let at = 0; at < layerSize; at += chunkSize) {
    const numbered = Buffer.from(chunk);
    numbered.writeUInt32BE(layer);
    yield numbered;
  }
}

function headerOnly(path: string): Buffer {
  const header = Buffer.from(tarOf([{ path, content: Buffer.alloc(0) }]).subarray(0, 512));
  header.write(`${layerSize.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return header;
}

async function* seed(): AsyncGenerator<Buffer> {
  const tree: StorageTree = new Map();
  const config = addBlob(tree, Buffer.from("{}"));
  const digests: Digest[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const hash = createHash("sha256");
    for (const part of layerChunks(layer)) hash.update(part);
    const digest: Digest = `sha256:${hash.digest("hex")}`;
    digests.push(digest);
    yield headerOnly(blobPath(digest));
    yield* layerChunks(layer);
  }
  const mediaType = "application/octet-stream";
  addManifest(tree, "big", "1", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config, size: 2 },
    layers: digests.map((digest) => ({ mediaType, digest, size: layerSize })),
  });
  yield tarOf(entriesOf(tree));
}

const gzip = createGzip({ level: 0, chunkSize });
pipeline(Readable.from(seed()), gzip, (error) => {
  if (error) throw error;
});
const start = process.memoryUsage().rss;
const began = performance.now();
const { blobs } = await scanSeed(gzip, "big.tar.gz");
const rssGrowth = process.resourceUsage().maxRSS * 1024 - start;
process.stdout.write(
  `${JSON.stringify({ rssGrowth, seconds: (performance.now() - began) / 1000, blobs: blobs.length })}\n`,
);
