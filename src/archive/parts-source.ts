/** A bundle that was cut into parts, read where the parts lie as if it were one file. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { DrydockError, errorCode, fileErrorText } from "../errors.ts";
import { type PartList, parsePartList, partListName, partName, wholeName } from "./parts.ts";
import { type ByteSource, openFile } from "./source.ts";

interface Part {
  path: string;
  /** the first byte of the archive that stands in it */
  start: number;
  source: ByteSource;
}

/** The bundle's path without a part's ending, if `path` is a set of parts: names one of it, or would be its whole. */
export async function partsOf(path: string): Promise<string | undefined> {
  if (await isThere(path)) return wholeName(path);
  return (await isThere(partName(path, 1))) || (await isThere(partListName(path))) ? path : undefined;
}

/** @param path the bundle's, without a part's ending @throws DrydockError "integrity" naming a part that is missing or short. */
export async function openParts(path: string): Promise<ByteSource> {
  const list = await readPartList(path);
  const parts: Part[] = [];
  const close = async () => {
    await Promise.all(parts.map(({ source }) => source.close()));
  };
  let size = 0;
  try {
    for (const one of list ?? (await partsThere(path))) {
      const part = await openPart(join(dirname(path), one.name), one.size, list !== undefined);
      parts.push({ ...part, start: size });
      size += part.source.size ?? 0;
    }
  } catch (error) {
    await close();
    throw error;
  }
  const partAt = (position: number) => parts.findLast(({ start }) => start <= position);
  const readAt = async (position: number, buffer: Buffer) => {
    let done = 0;
    while (done < buffer.length) {
      const part = partAt(position + done);
      const at = position + done - (part?.start ?? 0);
      const length = Math.min(buffer.length - done, (part?.source.size ?? 0) - at);
      if (!part || length <= 0) break;
      const got = await part.source.readAt(at, buffer.subarray(done, done + length));
      done += got;
      if (got < length) break;
    }
    return done;
  };
  const place = (from: number, to: number) =>
    parts
      .filter(({ start, source }) => start <= to && from < start + (source.size ?? 0))
      .map((part) => JSON.stringify(basename(part.path)))
      .join(" and ");
  return {
    name: path,
    sequential: false,
    size,
    readAt,
    place,
    close,
  };
}

/** Names every part that is not what the list says, by its sha256; empty if there is no list, or all is well. */
export async function damagedParts(path: string): Promise<string[]> {
  const list = (await readPartList(path)) ?? [];
  const found: string[] = [];
  for (const { name, sha256 } of list) {
    const hash = createHash("sha256");
    const stream = createReadStream(join(dirname(path), name), { highWaterMark: 1024 * 1024 });
    for await (const chunk of stream) hash.update(chunk);
    const is = hash.digest("hex");
    if (is === sha256) continue;
    const other = list.find((one) => one.sha256 === is);
    found.push(
      other
        ? `${JSON.stringify(name)} holds what ${JSON.stringify(other.name)} should hold`
        : `${JSON.stringify(name)} is damaged`,
    );
  }
  return found;
}

/**
 * Reads a bundle with `read`; if it turns out to be damaged and is a set of parts, all of them are read once
 * more, so that the error says which ones to copy again.
 * @param path as the user gave it
 */
export async function namingParts<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof DrydockError) || error.kind !== "integrity" || path === "-") throw error;
    const parts = await partsOf(path);
    // A part that cannot be read is named by the error that is there already.
    const damaged = parts === undefined ? [] : await damagedParts(parts).catch(() => []);
    if (damaged.length === 0) throw error;
    throw new DrydockError("integrity", [error.message, ...damaged].join("\n"), {
      hint: `Copy ${damaged.length === 1 ? "this part" : "these parts"} again.`,
      cause: error,
    });
  }
}

async function openPart(path: string, size: number, isListed: boolean): Promise<Omit<Part, "start">> {
  const source = await openFile(path).catch((error: unknown) => {
    throw new DrydockError(
      "integrity",
      `open part ${JSON.stringify(path)}: ${fileErrorText(error instanceof Error ? error.cause : error)}`,
      {
        hint: "All parts must lie in one folder.",
        cause: error,
      },
    );
  });
  if (!isListed || source.size === size) return { path, source };
  await source.close();
  throw new DrydockError(
    "integrity",
    `open part ${JSON.stringify(path)}: it has ${source.size} bytes, wanted ${size}`,
    {
      hint: "Copy this part again; the stick may have been full or pulled out too early.",
    },
  );
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
