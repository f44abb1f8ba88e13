/**
 * Reads one blob of an archive at its slot: the header, which must be the one that the index demands, and
 * the bytes, whose end is only reported when size, padding and digest were found right. What cannot be read
 * is narrowed down, so that an error names the bytes which a disk does not give back.
 */
import { createHash } from "node:crypto";
import { DrydockError } from "../errors.ts";
import { lentSize } from "../lent-buffers.ts";
import { usersOf } from "./contents.ts";
import { type ByteRange, DamagedBlob, type FoundDamage } from "./damage.ts";
import { deviates, placeOf, truncated } from "./deviation.ts";
import { allZero, blobName, describeHeader, headerOf, paddingOf, type Slot } from "./layout.ts";
import { type ByteSource, isMediumError } from "./source.ts";
import type { Top } from "./top.ts";

/** Of reads within a blob; two such buffers for each blob that is read at the same time. */
export const chunkSize = lentSize;

export interface Archive extends Pick<Top, "index" | "mtime"> {
  source: ByteSource;
  slots: Slot[];
  /** where the end-of-archive blocks begin */
  end: number;
  /** what is known not to be there, in order */
  lacking: ByteRange[];
}

/** What one reader of blobs uses again and again. */
export interface Reading {
  /** two, of chunkSize: one is filled while the other is used */
  buffers: Buffer[];
  /** why the pass has to stop, if it has */
  failure: () => unknown;
}

/**
 * Checks that the slot is there, and its header.
 * @throws DamagedBlob if it is cut off or its header cannot be read, DrydockError "integrity" if another header
 *   stands there: then the archive is not the one that the index describes.
 */
export async function checkSlot(archive: Archive, slot: Slot): Promise<void> {
  const { source, mtime } = archive;
  const lost = lackOf(archive, {
    from: slot.headerAt,
    to: slot.bodyAt + slot.size + paddingOf(slot.size) - 1,
  });
  if (lost) throw damagedBlob(archive, slot, { reason: "cut off", lost });
  const wanted = headerOf(blobName(slot.digest), slot.size, mtime);
  const found = Buffer.alloc(wanted.length);
  const got = await readOrName(archive, slot, slot.headerAt, found);
  if (got < wanted.length)
    throw truncated(source, `at byte ${slot.headerAt + got}, before blob ${nameOf(archive, slot)}`);
  if (!found.equals(wanted))
    throw deviates(source, slot.headerAt, `blob ${slot.digest}`, unexpected(archive, slot, found));
}

/** What of these bytes is known not to be there. */
export function lackOf({ lacking }: Archive, { from, to }: ByteRange): ByteRange | undefined {
  const lack = lacking.find((each) => each.from <= to && from <= each.to);
  return lack && { from: Math.max(from, lack.from), to: Math.min(to, lack.to) };
}

/** What stands in the place of a blob's header, for an error's text. */
function unexpected({ slots }: Archive, wanted: Slot, header: Buffer): string {
  const found = describeHeader(header);
  const known = slots.find(({ digest }) => found === `entry "${blobName(digest)}"`);
  if (!known) return `${found}, which the index does not list`;
  if (known === wanted) return `${found} with another header`;
  return `${found}, ${known.headerAt < wanted.headerAt ? "which stood there before" : "out of order"}`;
}

/** The blob's bytes; its end is only reported when its digest is right. @throws DamagedBlob if it is not. */
export async function* readSlot(
  archive: Archive,
  slot: Slot,
  reading: Reading,
): AsyncGenerator<Buffer, void, void> {
  const hash = createHash("sha256");
  for await (const chunk of readUnchecked(archive, slot, reading)) {
    hash.update(chunk);
    yield chunk;
  }
  const found = hash.digest("hex");
  if (`sha256:${found}` === slot.digest) return;
  throw damagedBlob(archive, slot, { reason: "other bytes", found });
}

/** The blob's bytes; only its size and padding are checked. @throws DamagedBlob if it cannot be read. */
export async function* readUnchecked(
  archive: Archive,
  slot: Slot,
  reading: Reading,
): AsyncGenerator<Buffer, void, void> {
  const { source } = archive;
  const length = slot.size + paddingOf(slot.size);
  const start = (at: number) => {
    const bytes = (reading.buffers[(at / chunkSize) % 2] as Buffer).subarray(
      0,
      Math.min(chunkSize, length - at),
    );
    const read = readOrName(archive, slot, slot.bodyAt + at, bytes).then((got) => ({ got, bytes }));
    // Its error is thrown where it is awaited; should the consumer stop before that, nobody waits for it.
    read.catch(() => {});
    return read;
  };
  let next = length > 0 ? start(0) : undefined;
  try {
    for (let at = 0; next; at += chunkSize) {
      const { got, bytes } = await next;
      if (reading.failure()) throw reading.failure();
      if (got < bytes.length)
        throw truncated(source, `at byte ${slot.bodyAt + at + got}, inside blob ${nameOf(archive, slot)}`);
      next = at + chunkSize < length ? start(at + chunkSize) : undefined;
      const body = bytes.subarray(0, Math.max(0, slot.size - at));
      if (!allZero(bytes.subarray(body.length)))
        throw deviates(
          source,
          slot.bodyAt + slot.size,
          `zeros after blob ${nameOf(archive, slot)}`,
          "something else",
        );
      if (body.length > 0) yield body;
    }
  } finally {
    // The buffers serve the next blob: nothing may still be read into them.
    await next?.catch(() => {});
  }
}

/** Reads; what the disk does not give back is named as damage of this blob, if the reader can go on behind it. */
async function readOrName(archive: Archive, slot: Slot, at: number, buffer: Buffer): Promise<number> {
  const lost = await readOrNarrow(archive.source, at, buffer);
  if (typeof lost === "number") return lost;
  throw damagedBlob(archive, slot, { reason: "unreadable", lost, cause: lost.cause });
}

/** @returns how many bytes there were, or which of them cannot be read @throws DrydockError "host" from a pipe. */
export async function readOrNarrow(
  source: ByteSource,
  at: number,
  buffer: Buffer,
): Promise<number | (ByteRange & { cause: DrydockError })> {
  try {
    return await source.readAt(at, buffer);
  } catch (error) {
    if (source.sequential || !isMediumError(error)) throw error;
    if ((await source.answers?.()) === false) throw gone(source, error);
    const all = { from: at, to: at + buffer.length - 1 };
    const lost = await narrow(source, all);
    if (lost) return { ...lost, cause: error };
    // All of it was given now: a loose cable, say. The digest will tell whether it is right.
    return await source.readAt(at, buffer).catch(() => ({ ...all, cause: error }));
  }
}

function gone({ name }: ByteSource, cause: DrydockError): DrydockError {
  return new DrydockError("host", `${cause.message}; nothing else of it can be read, either`, {
    hint: `Was the stick with ${JSON.stringify(name)} pulled out? Put it back, mount it, and run the same command.`,
    cause,
  });
}

/** Read in such pieces, larger ones first. A failing disk takes seconds for each that it does not give. */
const pieces = [64 * 1024, 4096];

/** From the first to the last byte that cannot be read; undefined if all can by now. */
async function narrow(source: ByteSource, range: ByteRange): Promise<ByteRange | undefined> {
  let { from, to } = range;
  for (const size of pieces) {
    const first = await firstUnreadable(source, { from, to }, size);
    if (first === undefined && size === pieces[0]) return undefined;
    from = first ?? from;
  }
  for (const size of pieces) to = (await lastUnreadable(source, { from, to }, size)) ?? to;
  return { from, to };
}

async function firstUnreadable(
  source: ByteSource,
  { from, to }: ByteRange,
  size: number,
): Promise<number | undefined> {
  for (let at = from; at <= to; at += size - (at % size))
    if (!(await isReadable(source, at, Math.min(at + size - (at % size), to + 1)))) return at;
  return undefined;
}

async function lastUnreadable(
  source: ByteSource,
  { from, to }: ByteRange,
  size: number,
): Promise<number | undefined> {
  for (let at = to; at >= from; at -= (at % size) + 1)
    if (!(await isReadable(source, Math.max(at - (at % size), from), at + 1))) return at;
  return undefined;
}

/** @param end the first byte that is not asked for */
async function isReadable(source: ByteSource, at: number, end: number): Promise<boolean> {
  try {
    await source.readAt(at, Buffer.alloc(end - at));
    return true;
  } catch (error) {
    if (isMediumError(error)) return false;
    throw error;
  }
}

type Finding =
  | { reason: "other bytes"; found: string }
  | { reason: "unreadable"; lost: ByteRange; cause: DrydockError }
  | { reason: "cut off"; lost: ByteRange };

function damagedBlob(archive: Archive, slot: Slot, finding: Finding): DamagedBlob {
  const { source } = archive;
  const body = { from: slot.bodyAt, to: slot.bodyAt + slot.size - 1 };
  const lost = "lost" in finding ? { from: finding.lost.from, to: finding.lost.to } : undefined;
  // What is lost may be the header, too.
  const range = lost ? { from: Math.min(body.from, lost.from), to: Math.max(body.to, lost.to) } : body;
  const parts = source.partsOf?.(lost ?? range);
  const damage: FoundDamage = {
    digest: slot.digest,
    ...range,
    reason: finding.reason,
    ...(lost ? { lost } : {}),
    ...(parts ? { parts } : {}),
  };
  const what = {
    "other bytes": `have sha256 ${"found" in finding ? finding.found : ""}`,
    unreadable: "cannot be read",
    "cut off": "are not there",
  }[finding.reason];
  const { from, to } = lost ?? range;
  return new DamagedBlob(
    `read bundle ${JSON.stringify(source.name)}: blob ${nameOf(archive, slot)} is damaged: bytes ${from} to ${to}${placeOf(source, from, to)} ${what}`,
    damage,
    "cause" in finding ? finding.cause : undefined,
  );
}

/** A blob's digest and who needs it, for an error's text. */
export function nameOf({ index }: Pick<Archive, "index">, { digest }: Slot): string {
  const users = usersOf(index, digest);
  return users === "" ? digest : `${digest} (needed by ${users})`;
}
