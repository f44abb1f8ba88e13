/** A bundle that was cut into parts, read where the parts lie as if it were one file. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DrydockError, errorCode, fileErrorText } from "../errors.ts";
import type { ByteRange, PartRange } from "./damage.ts";
import { type PartList, parsePartList, partListName, partName, wholeName } from "./parts.ts";
import { type ByteSource, type LackingBytes, openFile } from "./source.ts";

interface Part {
  path: string;
  /** the first byte of the archive that stands in it */
  start: number;
  /** in bytes, as it should be */
  size: number;
  /** none: it is missing */
  source?: ByteSource;
  /** It is missing, or shorter than `size`. */
  error?: DrydockError;
}

/** The bundle's path without a part's ending, if `path` is a set of parts: names one of it, or would be its whole. */
export async function partsOf(path: string): Promise<string | undefined> {
  if (await isThere(path)) return wholeName(path);
  return (await isThere(partName(path, 1))) || (await isThere(partListName(path))) ? path : undefined;
}

/**
 * @param path the bundle's, without a part's ending
 * @returns also where a listed part is missing or short: `lacking` says which, and reading there throws it.
 * @throws DrydockError "integrity" if there is no part at all, or one is too long.
 */
export async function openParts(path: string): Promise<ByteSource> {
  const list = await readPartList(path);
  const parts: Part[] = [];
  const close = async () => {
    await Promise.all(parts.map(({ source }) => source?.close()));
  };
  let size = 0;
  try {
    for (const one of list ?? (await partsThere(path))) {
      const part = await openPart(join(dirname(path), one.name), list && one.size);
      parts.push({ ...part, start: size });
      size += part.size;
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    name: path,
    sequential: false,
    size,
    readAt: (position, buffer) => readParts(parts, position, buffer),
    partsOf: (range) => rangesIn(parts, range),
    wrongParts: async (asked) => {
      const found = await wrongParts(path, (part) => asked.has(part));
      return new Set(found.map(({ part }) => part));
    },
    lacking: parts.flatMap(lackOf),
    answers: async () => (await parts.find(({ source }) => source)?.source?.answers?.()) ?? true,
    close,
  };
}

async function readParts(parts: Part[], position: number, buffer: Buffer): Promise<number> {
  let done = 0;
  while (done < buffer.length) {
    const part = parts.findLast(({ start }) => start <= position + done);
    const at = position + done - (part?.start ?? 0);
    const length = Math.min(buffer.length - done, (part?.size ?? 0) - at);
    if (!part || length <= 0) break;
    const got = (await part.source?.readAt(at, buffer.subarray(done, done + length))) ?? 0;
    if (got < length && part.error) throw part.error;
    done += got;
    if (got < length) break;
  }
  return done;
}

function rangesIn(parts: Part[], { from, to }: ByteRange): PartRange[] {
  return parts
    .filter(({ start, size }) => start <= to && from < start + size)
    .map(({ path, start, size }) => ({
      part: basename(path),
      from: Math.max(from - start, 0),
      to: Math.min(to - start, size - 1),
    }));
}

function lackOf({ start, size, source, error }: Part): LackingBytes[] {
  return error ? [{ from: start + (source?.size ?? 0), to: start + size - 1, error }] : [];
}

/** Names every part that is not what the list says, by its sha256; empty if there is no list, or all is well. */
export async function damagedParts(path: string): Promise<string[]> {
  const found = await wrongParts(path, () => true);
  return found.map(({ part, holds }) =>
    holds === undefined
      ? `${JSON.stringify(part)} is damaged`
      : `${JSON.stringify(part)} holds what ${JSON.stringify(holds)} should hold`,
  );
}

/** Reads parts and compares their sha256 with the list. @returns those that are others; holds: which it is then */
async function wrongParts(
  path: string,
  isAsked: (part: string) => boolean,
): Promise<{ part: string; holds?: string | undefined }[]> {
  const list = (await readPartList(path)) ?? [];
  const found: { part: string; holds?: string | undefined }[] = [];
  for (const { name, sha256 } of list) {
    if (!isAsked(name)) continue;
    const hash = createHash("sha256");
    const stream = createReadStream(join(dirname(path), name), { highWaterMark: 1024 * 1024 });
    for await (const chunk of stream) hash.update(chunk);
    const is = hash.digest("hex");
    if (is !== sha256) found.push({ part: name, holds: list.find((one) => one.sha256 === is)?.name });
  }
  return found;
}

/**
 * Reads a bundle with `read`; if it deviates from its index and is a set of parts, all of them are read once
 * more, so that the error says which ones to copy again. Damage names its parts already.
 * @param path as the user gave it
 */
export async function namingParts<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof DrydockError) || error.kind !== "integrity" || path === "-") throw error;
    if (error.data && !error.data.besides) throw error;
    const parts = await partsOf(path);
    // A part that cannot be read is named by the error that is there already.
    const damaged = parts === undefined ? [] : await damagedParts(parts).catch(() => []);
    if (damaged.length === 0) throw error;
    throw new DrydockError("integrity", [error.message, ...damaged].join("\n"), {
      hint: `Copy ${damaged.length === 1 ? "this part" : "these parts"} again.`,
      data: error.data,
      cause: error,
    });
  }
}

/** @param listed its size in bytes as the list says; its own if there is no list */
async function openPart(path: string, listed: number | undefined): Promise<Omit<Part, "start">> {
  const what = `open part ${JSON.stringify(path)}`;
  let source: ByteSource;
  try {
    source = await openFile(path);
  } catch (error) {
    const why = fileErrorText(error instanceof Error ? error.cause : error);
    const hint = "All parts must lie in one folder.";
    const missing = new DrydockError("integrity", `${what}: ${why}`, { hint, cause: error });
    if (listed === undefined) throw missing;
    return { path, size: listed, error: missing };
  }
  const { size = 0 } = source;
  if (listed === undefined || size === listed) return { path, size, source };
  const error = new DrydockError("integrity", `${what}: it has ${size} bytes, wanted ${listed}`, {
    hint: "Copy this part again; the stick may have been full or pulled out too early.",
  });
  if (size < listed) return { path, size: listed, source, error };
  await source.close();
  throw error;
}

async function readPartList(path: string): Promise<PartList["parts"] | undefined> {
  const file = partListName(path);
  try {
    return parsePartList(await readFile(file, "utf8"), file).parts;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** Without a list: those that are there, from the first on. */
async function partsThere(path: string): Promise<{ name: string; size: number }[]> {
  const parts: { name: string; size: number }[] = [];
  for (let number = 1; await isThere(partName(path, number)); number++)
    parts.push({ name: basename(partName(path, number)), size: 0 });
  if (parts.length > 0) return parts;
  throw new DrydockError("integrity", `open bundle ${JSON.stringify(path)}: its first part is missing`, {
    hint: "All parts must lie in one folder.",
  });
}

async function isThere(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}
