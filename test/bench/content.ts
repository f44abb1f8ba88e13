/**
 * What is carried: images whose layers cannot be compressed, the same bytes each time, written straight
 * into a registry's storage.
 */
import { createCipheriv, createHash } from "node:crypto";
import { mkdir, open, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable, Transform } from "node:stream";
import { createGzip } from "node:zlib";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import {
  blobPath,
  layerLinkPath,
  linkContent,
  revisionLinkPath,
  tagCurrentLinkPath,
  tagIndexLinkPath,
} from "../../src/oci/storage.ts";

export interface ImageName {
  repository: string;
  tag: string;
}

interface Blob {
  digest: Digest;
  size: number;
}

const chunkSize = 1024 * 1024;

/** What `app-0` is after a change: the same size, other layers. */
export const changedImage: ImageName = { repository: "team-0/app-0", tag: "1.0-changed" };

/** One of a few bytes: what all tags name in the release from which one goes back. */
export const tinyImage: ImageName = { repository: "library/tiny", tag: "1" };

/**
 * Writes images of `size` bytes together, in `blobs` configs and layers; and one more, the changed one.
 * @param storage the folder that gets docker/registry/v2
 * @returns the names of those that belong together, the changed one's not among them
 */
export async function makeContent(
  storage: string,
  { size, blobs, images }: { size: number; blobs: number; images: number },
): Promise<ImageName[]> {
  const layersEach = Math.max(1, Math.round(blobs / images) - 1);
  const sizes = layerSizes(layersEach * images, size);
  const names: ImageName[] = [];
  for (let number = 0; number < images; number++) {
    const name = { repository: `team-${number % 7}/app-${number}`, tag: `1.${number}` };
    const own = sizes.slice(number * layersEach, (number + 1) * layersEach);
    await writeImage(storage, name, own, number * layersEach);
    names.push(name);
  }
  await writeImage(storage, changedImage, sizes.slice(0, layersEach), images * layersEach);
  return names;
}

/**
 * Sizes as real images have them: the largest two hundred times the smallest, many small ones and few
 * large; spread by the golden ratio, so that every image gets some of each.
 */
export function layerSizes(count: number, total: number): number[] {
  const weights = Array.from({ length: count }, (_, at) => 200 ** ((at * 0.6180339887498949) % 1));
  const sum = weights.reduce((all, weight) => all + weight, 0);
  return weights.map((weight) => Math.max(1, Math.floor((weight / sum) * total)));
}

async function writeImage(storage: string, name: ImageName, sizes: number[], first: number): Promise<void> {
  const layers: (Blob & { diffId: Digest })[] = [];
  for (const [at, size] of sizes.entries()) layers.push(await writeLayer(storage, size, first + at));
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: {},
      rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
      history: [{ created_by: `${name.repository}:${name.tag}` }],
    }),
  );
  const type = "application/vnd.oci.image";
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: `${type}.manifest.v1+json`,
      config: { mediaType: `${type}.config.v1+json`, digest: digestOf(config), size: config.length },
      layers: layers.map(({ digest, size }) => ({
        mediaType: `${type}.layer.v1.tar+gzip`,
        digest,
        size,
      })),
    }),
  );
  const digest = digestOf(manifest);
  const { repository, tag } = name;
  await write(storage, blobPath(digestOf(config)), config);
  await write(storage, blobPath(digest), manifest);
  for (const layer of [digestOf(config), ...layers.map((each) => each.digest)])
    await write(storage, layerLinkPath(repository, layer), linkContent(layer));
  for (const path of [
    revisionLinkPath(repository, digest),
    tagIndexLinkPath(repository, tag, digest),
    tagCurrentLinkPath(repository, tag),
  ])
    await write(storage, path, linkContent(digest));
}

/** A gzip file that is no smaller than what is in it, as a layer of compressed files is. */
async function writeLayer(storage: string, size: number, number: number): Promise<Blob & { diffId: Digest }> {
  const temporary = join(storage, "layer");
  await mkdir(storage, { recursive: true });
  const inside = createHash("sha256");
  const outside = createHash("sha256");
  let written = 0;
  const file = await open(temporary, "w");
  const random = Readable.from(randomChunks(size, number)).pipe(
    new Transform({
      transform(chunk, _encoding, done) {
        inside.update(chunk);
        done(null, chunk);
      },
    }),
  );
  for await (const chunk of random.pipe(createGzip({ level: 0, chunkSize }))) {
    outside.update(chunk);
    await file.writeFile(chunk);
    written += chunk.length;
  }
  await file.close();
  const digest: Digest = `sha256:${outside.digest("hex")}`;
  const path = join(storage, blobPath(digest));
  await mkdir(dirname(path), { recursive: true });
  await rename(temporary, path);
  return { digest, size: written, diffId: `sha256:${inside.digest("hex")}` };
}

/** AES in counter mode over zeros: random enough, the same each time, a gigabyte in a second. */
function* randomChunks(size: number, number: number): Generator<Buffer> {
  const seed = createHash("sha256").update(`layer ${number}`).digest();
  const cipher = createCipheriv("aes-128-ctr", seed.subarray(0, 16), seed.subarray(16));
  const zeros = Buffer.alloc(Math.min(size, chunkSize));
  for (let left = size; left > 0; left -= zeros.length)
    yield cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
}

async function write(storage: string, path: string, content: Buffer | string): Promise<void> {
  const full = join(storage, path);
  await mkdir(dirname(full), { recursive: true });
  await writeFile(full, content);
}

/** The file that makes `skopeo sync --src yaml` read the same images. */
export function skopeoList(host: string, names: ImageName[]): string {
  const lines = names.map(({ repository, tag }) => `    ${repository}: ["${tag}"]`);
  return [`"${host}":`, "  tls-verify: false", "  images:", ...lines, ""].join("\n");
}

/** The manifest for `drydock bundle` of the same images. @param named what each is called at the site, if not so */
export function drydockManifest(
  host: string,
  names: ImageName[],
  addresses: string[],
  named?: (name: ImageName) => ImageName,
): string {
  const text = ({ repository, tag }: ImageName) => `${repository}:${tag}`;
  const lines = names.map((name) => {
    const source = `${host}/${text(name)}`;
    return named === undefined
      ? `  - ${source}`
      : `  - {reference: "${host}/${text(named(name))}", as: "${text(name)}"}`;
  });
  const registry = `registry: {image: "${host}/library/registry:2"}`;
  return ["name: bench", `addresses: [${addresses.join(", ")}]`, registry, "images:", ...lines, ""].join(
    "\n",
  );
}
