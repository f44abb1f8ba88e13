/**
 * An image from its blobs into the engine: the archive that `docker load` takes, made while it is sent.
 * Its form is Docker's older one (moby/image/tarexport), which every engine reads: manifest.json names
 * the config and the layers, whose files may have any name and may be gzipped.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import { createZstdDecompress } from "node:zlib";
import { Header } from "tar";
import { DrydockError, errorText } from "../errors.ts";
import { type Digest, hexOf, parseDigest } from "../oci/digest.ts";
import { type Engine, engineFailure, engineStatus } from "./engine.ts";

export interface LoadableImage {
  /** the bytes of its image manifest (OCI or Docker schema 2) */
  manifest: Uint8Array;
  /**
   * A blob's bytes from the beginning, at each call; they are checked here. Chunks are kept for a while,
   * so each must have memory of its own.
   */
  blob: (digest: Digest) => AsyncIterable<Uint8Array>;
  /** the name that the engine gives it: repository:tag */
  name: string;
}

/**
 * Puts an image into the engine, unless it is there.
 * @returns the engine's id of it: "sha256:…" (the config's digest, except in containerd's image store).
 * @throws DrydockError "host" if the engine refuses it; "integrity" if a blob isn't what its digest says.
 */
export async function loadImage(engine: Engine, image: LoadableImage): Promise<string> {
  const { config, layers } = readManifest(image);
  const there = await imageId(engine, config.digest);
  if (there !== undefined) return there;
  await send(engine, archive(image, config, layers), `load image "${image.name}" into the engine`);
  const loaded = (await imageId(engine, config.digest)) ?? (await imageId(engine, image.name));
  if (loaded !== undefined) return loaded;
  throw new DrydockError("host", `load image "${image.name}" into the engine: it is not there afterwards`);
}

/** The id that engines give an image: its config's digest. containerd's image store has another one. */
export function idOfImage(image: Pick<LoadableImage, "manifest" | "name">): Digest {
  return readManifest(image).config.digest;
}

/** The engine's id ("sha256:…") of an image's name or id, or undefined if it has none such. */
export async function imageId(engine: Engine, name: string): Promise<string | undefined> {
  try {
    const { Id } = await engine.docker.getImage(name).inspect();
    return Id.startsWith("sha256:") ? Id : `sha256:${Id}`;
  } catch (error) {
    if (engineStatus(error) === 404) return undefined;
    throw engineFailure(`look for image "${name}"`, error);
  }
}

interface Part {
  digest: Digest;
  size: number;
  zstd: boolean;
}

function readManifest(image: Pick<LoadableImage, "manifest" | "name">): { config: Part; layers: Part[] } {
  const where = `image manifest of "${image.name}"`;
  try {
    const manifest = JSON.parse(Buffer.from(image.manifest).toString("utf8"));
    return {
      config: part(manifest.config, where),
      layers: Array.from(manifest.layers, (x) => part(x, where)),
    };
  } catch (error) {
    if (error instanceof DrydockError) throw error;
    throw new DrydockError("integrity", `read ${where}: ${errorText(error)}`, { cause: error });
  }
}

/** A descriptor, as in the OCI image specification (descriptor.md). */
function part(value: unknown, where: string): Part {
  const { digest, size, mediaType } = Object(value) as Record<string, unknown>;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw new DrydockError("integrity", `read ${where}: ${JSON.stringify(size)} is no size`);
  }
  return { digest: parseDigest(digest, where), size, zstd: String(mediaType).endsWith("zstd") };
}

async function* archive(image: LoadableImage, config: Part, layers: Part[]): AsyncGenerator<Uint8Array> {
  const contents = {
    Config: nameOf(config.digest),
    RepoTags: [image.name],
    Layers: layers.map((layer) => nameOf(layer.digest)),
  };
  const list = Buffer.from(JSON.stringify([contents]));
  yield* entry("manifest.json", list.length, [list]);
  // A layer may stand in an image more than once; it is sent once.
  for (const one of new Map([config, ...layers].map((x) => [x.digest, x])).values()) {
    const size = one.zstd ? await unpackedSize(image, one) : one.size;
    const bytes = checked(image, one);
    yield* entry(nameOf(one.digest), size, one.zstd ? unpacked(bytes) : bytes);
  }
  yield Buffer.alloc(1024);
}

function nameOf(digest: Digest): string {
  return `blobs/sha256/${hexOf(digest)}`;
}

async function* entry(
  path: string,
  size: number,
  content: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const block = Buffer.alloc(512);
  new Header({ path, size, mode: 0o644, type: "File", mtime: new Date(0), uid: 0, gid: 0 }).encode(block);
  yield block;
  yield* content;
  const rest = size % 512;
  if (rest > 0) yield Buffer.alloc(512 - rest);
}

/** The bytes as they come; the last thing it does is to throw if they were not the right ones. */
async function* checked(image: LoadableImage, part: Part): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of image.blob(part.digest)) {
    size += chunk.length;
    hash.update(chunk);
    if (size > part.size) break;
    yield chunk;
  }
  const got = `sha256:${hash.digest("hex")}`;
  if (size === part.size && got === part.digest) return;
  throw new DrydockError(
    "integrity",
    `blob of image "${image.name}": wanted ${part.digest} of ${part.size} bytes, got ${got} of ${size}`,
  );
}

// Docker before 23 takes no zstd layers. They are unpacked twice, the first time only for their size,
// which the tar header needs: that costs less than a temporary file and is seldom at all.
function unpacked(bytes: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  return Readable.from(bytes, { objectMode: false }).compose(createZstdDecompress());
}

async function unpackedSize(image: LoadableImage, part: Part): Promise<number> {
  let size = 0;
  for await (const chunk of unpacked(checked(image, part))) size += chunk.length;
  return size;
}

async function send(engine: Engine, bytes: AsyncIterable<Uint8Array>, action: string): Promise<void> {
  const body = Readable.from(bytes, { objectMode: false, highWaterMark: 1024 * 1024 });
  let broken: unknown;
  body.once("error", (error) => {
    broken = error;
  });
  try {
    const answer = await engine.docker.loadImage(body, { quiet: true });
    await checkAnswer(answer);
  } catch (error) {
    // If our own stream broke, the engine's complaint is only about its end.
    throw engineFailure(action, broken ?? error);
  } finally {
    body.destroy();
  }
}

/** The answer is JSON texts, one a line. The status is 200 even where the last of them is an error. */
async function checkAnswer(answer: NodeJS.ReadableStream): Promise<void> {
  let text = "";
  for await (const chunk of answer) text = (text + String(chunk)).slice(-64 * 1024);
  for (const line of text.split("\n")) {
    const event = parseLine(line);
    if (event?.error !== undefined) throw new Error(String(event.error));
  }
}

function parseLine(line: string): { error?: unknown } | undefined {
  try {
    return Object(JSON.parse(line));
  } catch {
    return undefined;
  }
}
