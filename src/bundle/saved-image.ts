/**
 * Reads what `docker save` writes, as it comes, into a spool folder: layers gzipped at a fixed level, since
 * their digests are known only then. Both layouts: that of Docker up to 24 (ID/layer.tar, links where a
 * layer stands twice) and that of Docker 25 and later (blobs/sha256/HEX, an OCI layout). Both have a
 * manifest.json that says what is what.
 */
import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import { createReadStream, createWriteStream } from "node:fs";
import { join, posix } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip, createZstdDecompress } from "node:zlib";
import { Parser, type ReadEntry } from "tar";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";

export interface SpooledLayer {
  /** the gzipped layer */
  file: string;
  digest: Digest;
  /** in bytes, gzipped */
  size: number;
  /** of the layer as it was before compression (OCI image specification, config.md) */
  diffId: Digest;
}

export interface SavedImage {
  config: Buffer;
  /** base layer first */
  layers: SpooledLayer[];
}

type Spooled = { kind: "json"; bytes: Buffer } | { kind: "layer"; layer: SpooledLayer };

/** The level and the memory that gzip runs with never change, so that the same layer gives the same bytes. */
const gzipOptions = { level: 6, memLevel: 9, chunkSize: 256 * 1024 };
/** Configs, manifests and the like are far smaller; together they are held in memory. */
const largestJson = 4 * 1024 * 1024;
const largestJsonTotal = 32 * 1024 * 1024;

/**
 * @param archive the tar that the engine sends @param folder an empty one for the layers
 * @param where names the image in errors
 * @throws DrydockError "upstream" if the stream breaks off or is no saved image, "host" if the spool can't
 *   be written.
 */
export async function readSavedImage(
  archive: AsyncIterable<Uint8Array>,
  folder: string,
  where: string,
): Promise<SavedImage> {
  return await new SavedImageReader(folder, where).read(archive);
}

class SavedImageReader {
  readonly #folder: string;
  readonly #where: string;
  /** of all that is taken, also what is still being compressed */
  readonly #names = new Set<string>();
  readonly #entries = new Map<string, Spooled>();
  readonly #links = new Map<string, string>();
  #jsonTotal = 0;
  #layerCount = 0;

  constructor(folder: string, where: string) {
    this.#folder = folder;
    this.#where = where;
  }

  async read(archive: AsyncIterable<Uint8Array>): Promise<SavedImage> {
    await this.#spool(archive);
    const { Config: configName, Layers: layerNames } = this.#description();
    const config = this.#find(configName);
    if (config?.kind !== "json") throw this.#bad(`it lacks the config ${JSON.stringify(configName)}`);
    const layers: SpooledLayer[] = [];
    for (const name of layerNames) {
      const found = this.#find(name);
      if (found === undefined) throw this.#bad(`it lacks the layer ${JSON.stringify(name)}`);
      // A tar whose first name begins with a brace was taken for JSON.
      layers.push(found.kind === "layer" ? found.layer : await this.#compress([found.bytes]));
    }
    return { config: config.bytes, layers };
  }

  async #spool(archive: AsyncIterable<Uint8Array>): Promise<void> {
    const parser = new Parser({ strict: true });
    const over = Promise.withResolvers<void>();
    const open = new Set<ReadEntry>();
    const takes: Promise<void>[] = [];
    let failure: { error: unknown } | undefined;
    const fail = (error: unknown): void => {
      failure ??= { error };
      over.resolve();
      // The loop below may wait for the parser to take more.
      parser.emit("drain");
    };
    parser.on("error", (error: unknown) => fail(this.#bad(errorText(error), error)));
    parser.on("end", over.resolve);
    parser.on("entry", (entry: ReadEntry) => {
      open.add(entry);
      // Whoever iterates over it learns of its end; nobody may do so at that moment.
      entry.on("error", () => {});
      takes.push(
        this.#take(entry)
          .catch(fail)
          .finally(() => open.delete(entry)),
      );
    });
    try {
      for await (const chunk of archive) {
        if (failure !== undefined) break;
        if (!parser.write(chunk) && failure === undefined) await once(parser, "drain");
      }
    } catch (cause) {
      fail(this.#bad(`the engine broke off: ${errorText(cause)}`, cause));
    }
    if (failure === undefined) parser.end();
    await over.promise;
    // An entry that will never end would be waited for.
    if (failure !== undefined) for (const entry of open) entry.destroy(new Error("stopped"));
    await Promise.all(takes);
    if (failure !== undefined) throw failure.error;
  }

  /** The parser gives the next entry when this one's content is taken. */
  async #take(entry: ReadEntry): Promise<void> {
    const name = posix.normalize(entry.path);
    if (entry.type === "File" && isWanted(name)) {
      if (this.#names.has(name)) throw this.#bad(`${JSON.stringify(name)} stands in it twice`);
      this.#names.add(name);
      this.#entries.set(name, await this.#takeFile(entry, name));
      return;
    }
    if (entry.type === "SymbolicLink" || entry.type === "Link") {
      const base = entry.type === "Link" ? "." : posix.dirname(name);
      this.#links.set(name, posix.join(base, entry.linkpath ?? ""));
    }
    entry.resume();
  }

  async #takeFile(entry: ReadEntry, name: string): Promise<Spooled> {
    const chunks = entry[Symbol.asyncIterator]();
    const first = await chunks.next();
    const isJson = name.endsWith(".json") || (first.done !== true && first.value[0] === 0x7b);
    const content = resumed(first, chunks);
    if (!isJson || entry.size > largestJson) return { kind: "layer", layer: await this.#compress(content) };
    this.#jsonTotal += entry.size;
    if (this.#jsonTotal > largestJsonTotal) throw this.#bad("it has too many descriptions");
    return { kind: "json", bytes: Buffer.concat(await Array.fromAsync(content)) };
  }

  /** Newer engines may hold layers compressed already: those are unpacked, to gzip all alike. */
  async #compress(content: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<SpooledLayer> {
    const chunks =
      Symbol.asyncIterator in content ? content[Symbol.asyncIterator]() : content[Symbol.iterator]();
    const first = await chunks.next();
    const file = join(this.#folder, `layer-${this.#layerCount++}`);
    const plain = new Meter();
    const packed = new Meter();
    const unpack = decompressorFor(first.done === true ? Buffer.alloc(0) : first.value);
    const out = createWriteStream(file, { flags: "wx", mode: 0o600, highWaterMark: 1024 * 1024 });
    try {
      const source = resumed(first, chunks);
      const gzip = createGzip(gzipOptions);
      if (unpack === undefined) await pipeline(source, plain, gzip, packed, out);
      else await pipeline(source, unpack, plain, gzip, packed, out);
    } catch (cause) {
      const code = errorCode(cause) ?? "";
      if (/^(Z_|ZSTD_)/.test(code))
        throw this.#bad(`a compressed layer can't be read: ${errorText(cause)}`, cause);
      throw new DrydockError("host", `write spool file ${JSON.stringify(file)}: ${errorText(cause)}`, {
        hint: code === "ENOSPC" ? "Set TMPDIR to a folder with more space." : undefined,
        cause,
      });
    }
    return { file, digest: packed.digest(), size: packed.size, diffId: plain.digest() };
  }

  /** manifest.json: a list with one image, since one was asked for. */
  #description(): { Config: string; Layers: string[] } {
    const entry = this.#entries.get("manifest.json");
    if (entry?.kind !== "json") throw this.#bad("it lacks manifest.json");
    let images: unknown;
    try {
      images = JSON.parse(entry.bytes.toString("utf8"));
    } catch (cause) {
      throw this.#bad("manifest.json is not JSON", cause);
    }
    if (!Array.isArray(images) || images.length !== 1)
      throw this.#bad("manifest.json does not list one image");
    const { Config, Layers } = (images[0] ?? {}) as Record<string, unknown>;
    const isList = Array.isArray(Layers) && Layers.every((layer) => typeof layer === "string");
    if (typeof Config !== "string" || !isList) throw this.#bad("manifest.json lacks Config or Layers");
    return { Config, Layers };
  }

  #find(name: string): Spooled | undefined {
    const normal = posix.normalize(name);
    return this.#entries.get(normal) ?? this.#entries.get(this.#links.get(normal) ?? "");
  }

  #bad(why: string, cause?: unknown): DrydockError {
    return new DrydockError(
      "upstream",
      `read ${this.#where}: what the engine saved is not as expected: ${why}`,
      {
        cause,
      },
    );
  }
}

/** Hashes and counts what flows through. */
class Meter extends Transform {
  size = 0;
  readonly #hash: Hash = createHash("sha256");

  override _transform(
    chunk: Buffer,
    _encoding: BufferEncoding,
    done: (error: null, chunk: Buffer) => void,
  ): void {
    this.size += chunk.length;
    this.#hash.update(chunk);
    done(null, chunk);
  }

  digest(): Digest {
    return `sha256:${this.#hash.digest("hex")}`;
  }
}

/** Podman names its layers HEX.tar. */
function isWanted(name: string): boolean {
  return name.startsWith("blobs/sha256/") || name.endsWith(".tar") || /^[^/]+\.json$/.test(name);
}

/** Told by the first bytes: RFC 1952, 2.3.1 and RFC 8878, 3.1.1. */
function decompressorFor(first: Buffer): Transform | undefined {
  if (first[0] === 0x1f && first[1] === 0x8b) return createGunzip({ chunkSize: 256 * 1024 });
  if (first.length >= 4 && first.readUInt32LE(0) === 0xfd2fb528) return createZstdDecompress();
  return undefined;
}

/** An iteration of which the first result was looked at. */
async function* resumed<T>(
  first: IteratorResult<T>,
  rest: AsyncIterator<T> | Iterator<T>,
): AsyncGenerator<T> {
  for (let next = first; next.done !== true; next = await rest.next()) yield next.value;
}

/** The spooled bytes of a layer. */
export function readSpooled(layer: SpooledLayer): AsyncIterable<Uint8Array> {
  return createReadStream(layer.file, { highWaterMark: 1024 * 1024 });
}
