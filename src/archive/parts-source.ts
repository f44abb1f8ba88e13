/** A bundle that was cut into parts, read where the parts lie as if it were one file. */
import { basename, dirname, join } from "node:path";
import { DrydockError, fileErrorText } from "../errors.ts";
import type { ByteRange, PartRange } from "./damage.ts";
import { Deviation } from "./deviation.ts";
import { partNames, readPartList, wantedSizes } from "./find-parts.ts";
import { partListName, partName } from "./parts.ts";
import { type ByteSource, type LackingBytes, openFile } from "./source.ts";
import { wrongParts } from "./wrong-parts.ts";

/** A part's file: open, or why it is not. */
interface PartFile {
  path: string;
  source?: ByteSource;
  error?: DrydockError;
}

interface Part extends PartFile {
  /** the first byte of the archive that stands in it */
  start: number;
  /** in bytes, as it should be; `error` is there if it is missing or shorter */
  size: number;
}

/**
 * @param path the bundle's, without a part's ending
 * @returns also where a part is missing or short: `lacking` says which, and reading there throws it.
 * @throws DrydockError "integrity" if there is no list and no first part.
 */
export async function openParts(path: string): Promise<ByteSource> {
  const list = await readPartList(path);
  const names = list?.map(({ name }) => name) ?? (await partNames(path));
  const files = await Promise.all(names.map((name) => openPart(join(dirname(path), name))));
  const close = async () => {
    await Promise.all(files.map(({ source }) => source?.close()));
  };
  const found = files.map(({ source }) => source?.size);
  const layOut = (total?: number) =>
    list
      ? layOutParts(path, files, list)
      : layOutParts(path, files, wantedSizes(found, total), partListName(path));
  let parts: Part[];
  try {
    const [first = missingFile(partName(path, 1))] = files;
    if (!list && first.error) throw first.error;
    parts = layOut();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    name: path,
    sequential: false,
    get size() {
      return parts.reduce((sum, { size }) => sum + size, 0);
    },
    readAt: (position, buffer) => readParts(parts, position, buffer),
    partsOf: (range) => rangesIn(parts, range),
    wrongParts: async (asked) => {
      const wrong = await wrongParts(path, asked);
      return new Set(wrong.map(({ part }) => part));
    },
    lacking: (total) => {
      parts = layOut(total);
      return parts.flatMap(lackOf);
    },
    answers: async () => (await files.find(({ source }) => source)?.source?.answers?.()) ?? true,
    close,
  };
}

/**
 * @param wanted each part's size, perhaps of more parts than were found
 * @param lackingList the path of their list if it is missing: the sizes are then what the others suggest
 * @throws DrydockError "integrity" if one is too long.
 */
function layOutParts(
  path: string,
  files: PartFile[],
  wanted: { size: number }[],
  lackingList?: string,
): Part[] {
  let start = 0;
  const byFirst =
    files.length === 2 ? `, if ${JSON.stringify(basename(partName(path, 1)))} is whole` : undefined;
  return wanted.map(({ size }, number) => {
    const file = files[number] ?? missingFile(partName(path, number + 1));
    const guess = (number === 1 ? byFirst : undefined) ?? ", going by the other parts";
    const guessed = lackingList === undefined ? undefined : { list: lackingList, guess };
    const error = file.error ?? wrongSize(file, size, guessed);
    const part = { ...file, start, size, ...(error && { error }) };
    start += size;
    return part;
  });
}

function wrongSize(
  { path, source }: PartFile,
  wanted: number,
  guessed?: { list: string; guess: string },
): DrydockError | undefined {
  const size = source?.size ?? 0;
  if (size === wanted) return undefined;
  const list = guessed === undefined ? "" : `, and ${JSON.stringify(basename(guessed.list))} with it`;
  const message = `open part ${JSON.stringify(path)}: it has ${size} bytes, wanted ${wanted}${guessed?.guess ?? ""}`;
  if (size > wanted) throw new Deviation(message, [basename(path)], `Copy this part again${list}.`);
  const hint = `Copy this part again${list}; the stick may have been full or pulled out too early.`;
  return new DrydockError("integrity", message, { hint });
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

async function openPart(path: string): Promise<PartFile> {
  try {
    return { path, source: await openFile(path) };
  } catch (error) {
    return missingFile(path, error);
  }
}

function missingFile(path: string, cause?: unknown): PartFile {
  const why = cause instanceof Error ? fileErrorText(cause.cause) : "there is no such file";
  const error = new DrydockError("integrity", `open part ${JSON.stringify(path)}: ${why}`, {
    hint: "All parts must lie in one folder.",
    cause,
  });
  return { path, error };
}
