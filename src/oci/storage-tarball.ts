/**
 * Reads a tarball of a registry's storage directory, on either side: the connected one scans and copies
 * it, the isolated one unpacks it. One pass, forwards; what it holds beside files and directories, or
 * under an ambiguous name, is refused.
 */

import type { Readable } from "node:stream";
import { pipeline } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { parseStoragePath, type StorageEntry, storageRoot } from "./storage.ts";
import { copyAgain, readTarEntries, type TarEntry } from "./tar-entries.ts";

export type Compression = "none" | "gzip" | "zstd";

/** A file of the tarball: of the storage tree, or outside of it. */
export type TarballEntry = StorageEntry | { kind: "foreign"; path: string };

const bufferSize = 1024 * 1024;

/** By the magic bytes: gzip RFC 1952 section 2.3.1, zstd RFC 8878 sections 3.1.1 and 3.1.2. Four are enough. */
export function detectCompression(firstBytes: Uint8Array): Compression {
  const [a, b, c, d] = firstBytes;
  if (a === 0x1f && b === 0x8b) return "gzip";
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  // A skippable frame comes first in what pzstd writes.
  if (a !== undefined && a >> 4 === 0x5 && b === 0x2a && c === 0x4d && d === 0x18) return "zstd";
  return "none";
}

/**
 * Calls `visit` for each file, one after the other, in the tarball's order. What stands before
 * docker/registry/v2/ is cut off the paths; it must be the same for all.
 * @param source its chunks are kept for a while, so they must not be overwritten
 * @param options.where the tarball's name, for errors
 * @param visit size is in bytes; what it leaves of the body is skipped
 * @returns the prefix that was cut off, or undefined if there is no storage tree
 * @throws DrydockError "input" if it is no tarball or holds what it must not, naming the entry;
 *   "integrity" if it is truncated or damaged
 */
export async function readStorageTarball(
  source: Readable | AsyncIterable<Uint8Array>,
  options: { compression: Compression; where: string },
  visit: (entry: TarballEntry, size: number, body: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<{ prefix: string | undefined }> {
  const { compression, where } = options;
  const names = new EntryNames(where);
  for await (const entry of readTarEntries(decompress(source, compression, where), where)) {
    const path = names.admit(entry);
    if (entry.type === "File") await visit(names.locate(path), entry.size, entry.body);
  }
  return { prefix: names.prefix };
}

async function* decompress(
  source: Readable | AsyncIterable<Uint8Array>,
  compression: Compression,
  where: string,
): AsyncGenerator<Uint8Array, void> {
  if (compression === "none") return yield* source;
  const options = { chunkSize: bufferSize, highWaterMark: bufferSize };
  const decompressor =
    compression === "gzip"
      ? createGunzip(options)
      : createZstdDecompress({ ...options, rejectGarbageAfterEnd: true });
  // An error on either side destroys both, and is then thrown here.
  pipeline(source, decompressor, () => {});
  try {
    yield* decompressor;
  } catch (error) {
    throw decompressionError(error, compression, where);
  }
}

/** The source's own errors stay what they are. */
function decompressionError(error: unknown, compression: Compression, where: string): unknown {
  const code = errorCode(error) ?? "";
  if (!/^(Z_|ZSTD_|ERR_TRAILING_JUNK)/.test(code)) return error;
  const what = code === "Z_BUF_ERROR" ? "truncated" : `damaged, not ${compression} throughout`;
  return new DrydockError("integrity", `read ${JSON.stringify(where)}: ${what} (${errorText(error)})`, {
    hint: copyAgain,
    cause: error,
  });
}

const typeNames = new Map([
  ["SymbolicLink", "a symbolic link"],
  ["Link", "a hard link"],
  ["CharacterDevice", "a device"],
  ["BlockDevice", "a device"],
  ["FIFO", "a named pipe"],
]);

/** What the names of a tarball's entries have shown so far. */
class EntryNames {
  /** what stands before docker/registry/v2; undefined until something stands below it */
  prefix: string | undefined;
  readonly #where: string;
  /** name, folded → whether it is a directory. Some hundred bytes for each. */
  readonly #seen = new Map<string, boolean>();

  constructor(where: string) {
    this.#where = where;
  }

  /** @returns the entry's path without `.` and doubled slashes */
  admit(entry: TarEntry): string {
    const directory = entry.type === "Directory";
    if (!directory && entry.type !== "File")
      throw this.#refuse(entry, `it is ${typeNames.get(entry.type) ?? `of type ${entry.type}`}`);
    if (entry.path.startsWith("/")) throw this.#refuse(entry, "its name is absolute");
    const parts = entry.path.split("/").filter((part) => part !== "" && part !== ".");
    if (parts.includes("..")) throw this.#refuse(entry, 'its name has ".." in it');
    const path = parts.join("/");
    if (path === "" && !directory) throw this.#refuse(entry, "it has no name");
    const seen = this.#seen.get(fold(path));
    if (seen !== undefined && !(seen && directory))
      throw this.#refuse(entry, "it is there twice (case aside)");
    this.#seen.set(fold(path), directory);
    if (directory) this.locate(`${path}/`);
    return path;
  }

  /** Where the path stands in the storage tree. */
  locate(path: string): TarballEntry {
    const at = `/${path}`.indexOf(`/${storageRoot}/`);
    if (at === -1) return { kind: "foreign", path };
    const prefix = path.slice(0, at);
    this.prefix ??= prefix;
    if (prefix !== this.prefix) {
      throw new DrydockError(
        "input",
        `read ${JSON.stringify(this.#where)}: it holds two storage trees, ` +
          `in ${JSON.stringify(this.prefix || ".")} and in ${JSON.stringify(prefix || ".")}`,
        { hint: "Pack one storage directory in one tarball." },
      );
    }
    return parseStoragePath(path.slice(at)) ?? { kind: "foreign", path };
  }

  #refuse(entry: TarEntry, why: string): DrydockError {
    const name = JSON.stringify(entry.path);
    return new DrydockError("input", `read ${JSON.stringify(this.#where)}: entry ${name} refused: ${why}`, {
      hint: "A registry's storage directory holds only files and directories, each under one plain name: pack that directory anew.",
    });
  }
}

/** Tags are the only names in the tree whose case means something. */
function fold(path: string): string {
  const match = /^(.*\/_manifests\/tags\/)([^/]+)(.*)$/.exec(path);
  const [, before = path, tag = "", after = ""] = match ?? [];
  return `${plain(before)}${tag}${plain(after)}`;
}

function plain(text: string): string {
  return text.normalize("NFC").toLowerCase();
}
