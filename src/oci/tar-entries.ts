/**
 * Reads a tar forwards, strictly: what a reader could take in two ways is refused, and a cut or damaged
 * one never passes for whole. (The Parser of the tar package keeps what follows the archive's end in
 * memory and tells nobody; its Header and Pax do the format here.)
 */
import { Header, Pax } from "tar";
import { DrydockError } from "../errors.ts";

export interface TarEntry {
  /** as it stands in the archive, not checked */
  path: string;
  /** in tar's words, but of an old tar's plain file also "File": Directory, SymbolicLink, Link, FIFO … */
  type: string;
  /** in bytes */
  size: number;
  /** Once, forwards. What is not read is skipped when the next entry is asked for. */
  body: AsyncIterable<Uint8Array>;
}

const block = 512;
const zeros = Buffer.alloc(1024 * 1024);
/** A long name or a pax header is some hundred bytes; more is an attack on the memory. */
const longestMeta = 1024 * 1024;

/**
 * POSIX.1-2017 ustar and pax, and GNU's long names. @param where the archive's name, for errors
 * @throws DrydockError "input" if it is no tar, "integrity" if it is cut, damaged or followed by something
 */
export async function* readTarEntries(
  source: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<TarEntry, void> {
  const bytes = new ByteQueue(source, where);
  const meta = new MetaHeaders(where);
  try {
    for (;;) {
      const at = bytes.position;
      const header = readHeader(await readBlock(bytes, where), meta, at, where);
      if (header === undefined) return await onlyZeros(bytes, where);
      const { type, size } = header;
      const padding = (block - (size % block)) % block;
      if (meta.concerns(type)) {
        if (size > longestMeta) throw damaged(where, `the extended header at byte ${at} has ${size} bytes`);
        meta.add(type, await bytes.exactly(size));
      } else {
        const end = bytes.position + size;
        yield { path: header.path, type, size, body: bytes.upTo(end) };
        await bytes.skipTo(end);
        meta.forget();
      }
      await bytes.skipTo(bytes.position + padding);
    }
  } finally {
    await bytes.close();
  }
}

/** A source that ends in its first block is rather something else than a cut archive. */
async function readBlock(bytes: ByteQueue, where: string): Promise<Buffer> {
  if (bytes.position > 0) return bytes.exactly(block);
  try {
    return await bytes.exactly(block);
  } catch (error) {
    throw bytes.ended ? noTar(where) : error;
  }
}

function noTar(where: string): DrydockError {
  return new DrydockError("input", `read ${JSON.stringify(where)}: it is not a tar archive`, {
    hint: "Wanted is a .tar, plain or compressed with gzip or zstd.",
  });
}

/** @returns undefined for a block of zeros, which begins the archive's end */
function readHeader(
  bytes: Buffer,
  meta: MetaHeaders,
  at: number,
  where: string,
): { path: string; type: string; size: number } | undefined {
  const header = decodeHeader(bytes, meta);
  if (header?.nullBlock && at > 0) return undefined;
  if (!header?.cksumValid || header.size === undefined) {
    if (at > 0) throw damaged(where, `what stands at byte ${at} is no tar header`);
    throw noTar(where);
  }
  const path = meta.path ?? header.path ?? "";
  let type: string = header.type;
  // Before POSIX a directory was a plain file with a slash at its end.
  if (type === "OldFile" || type === "ContiguousFile") type = path.endsWith("/") ? "Directory" : "File";
  if (type === "File" && header.linkpath) {
    throw new DrydockError(
      "input",
      `read ${JSON.stringify(where)}: file ${JSON.stringify(path)} has a link target`,
    );
  }
  return { path, type, size: header.size };
}

function decodeHeader(bytes: Buffer, meta: MetaHeaders): Header | undefined {
  try {
    return new Header(bytes, 0, meta.local, meta.global);
  } catch {
    // Numbers that are none: the caller says that it is no header.
    return undefined;
  }
}

async function onlyZeros(bytes: ByteQueue, where: string): Promise<void> {
  for (
    let chunk = await bytes.next(zeros.length);
    chunk !== undefined;
    chunk = await bytes.next(zeros.length)
  ) {
    if (!zeros.subarray(0, chunk.length).equals(chunk))
      throw damaged(where, "something follows the archive's end");
  }
}

function damaged(where: string, what: string): DrydockError {
  return new DrydockError("integrity", `read ${JSON.stringify(where)}: damaged, ${what}`, {
    hint: copyAgain,
  });
}

/** What to do about a tarball that is cut or damaged. */
export const copyAgain = "Copy or download it again, and compare its sha256 with the one at its origin.";

/** What the headers before an entry say of it: pax records, GNU long names. */
class MetaHeaders {
  /** Header must know the whole name: one that is cut after a slash would pass for a directory's. */
  local: Partial<Pax> | undefined;
  global: Pax | undefined;
  readonly #where: string;

  constructor(where: string) {
    this.#where = where;
  }

  concerns(type: string): boolean {
    return /^(Old|Global)?ExtendedHeader$|^NextFileHasLong|^OldGnuLongPath$/.test(type);
  }

  get path(): string | undefined {
    return this.local?.path;
  }

  add(type: string, body: Buffer): void {
    const extended = type.endsWith("ExtendedHeader");
    const text = extended ? body.toString() : body.toString().replace(/\0$/, "");
    // Readers end a name at a NUL in different places.
    if (text.includes("\0")) {
      throw damaged(this.#where, `a name holds a NUL: ${JSON.stringify(text.slice(0, 200))}`);
    }
    if (type === "GlobalExtendedHeader") this.global = Pax.parse(text, this.global, true);
    else if (extended) this.local = Pax.parse(text, this.local, false);
    else if (type !== "NextFileHasLongLinkpath") this.local = { ...this.local, path: text };
  }

  forget(): void {
    this.local = undefined;
  }
}

/** The bytes of a source, taken in pieces of any length and without copying those of bodies. */
class ByteQueue {
  /** how many bytes have been taken */
  position = 0;
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #where: string;
  #rest: Buffer = Buffer.alloc(0);
  /** whether the source has said that it has no more */
  ended = false;

  constructor(source: AsyncIterable<Uint8Array>, where: string) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#where = where;
  }

  /** Between 1 and `most` bytes, or undefined at the source's end. */
  async next(most: number): Promise<Buffer | undefined> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#iterator.next();
      if (done === true) {
        this.ended = true;
        return undefined;
      }
      this.#rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    const chunk = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(chunk.length);
    this.position += chunk.length;
    return chunk;
  }

  /** @throws DrydockError "integrity" if the source ends before */
  async exactly(length: number): Promise<Buffer> {
    const first = await this.next(length);
    if (first?.length === length) return first;
    const parts = first === undefined ? [] : [first];
    for await (const part of this.upTo(this.position + length - (first?.length ?? 0))) parts.push(part);
    return Buffer.concat(parts);
  }

  /** The bytes from where the queue stands to `end`. */
  async *upTo(end: number): AsyncGenerator<Buffer, void> {
    while (this.position < end) {
      const chunk = await this.next(end - this.position);
      if (chunk === undefined) throw truncated(this.#where, this.position);
      yield chunk;
    }
  }

  async skipTo(end: number): Promise<void> {
    for await (const _ of this.upTo(end));
  }

  async close(): Promise<void> {
    if (!this.ended) await this.#iterator.return?.();
  }
}

function truncated(where: string, position: number): DrydockError {
  return new DrydockError(
    "integrity",
    `read ${JSON.stringify(where)}: truncated, it ends after ${position} bytes`,
    { hint: copyAgain },
  );
}
