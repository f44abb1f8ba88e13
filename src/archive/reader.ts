/**
 * Reads a bundle: its top once, checked against its root, then blobs, in one pass over them or one at its
 * offset, from a file or a pipe. Nothing is handed out that was not checked; an archive that deviates in
 * a single header, size, padding byte or digest is refused with what deviates.
 */
import { createHash } from "node:crypto";
import { alignedBuffers } from "../direct.ts";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import type { BundleBlob } from "./bundle-index.ts";
import { usersOf } from "./contents.ts";
import { deviates, placeOf, truncated } from "./deviation.ts";
import {
  allZero,
  blobName,
  blockSize,
  describeHeader,
  endSize,
  headerOf,
  layOut,
  paddingOf,
  type Slot,
} from "./layout.ts";
import type { ByteSource } from "./source.ts";
import { readTop, type Top } from "./top.ts";

/** Of reads within a blob; two such buffers for each blob that is read at the same time. */
const chunkSize = 1024 * 1024;

export interface ReadBlob extends BundleBlob {
  /**
   * The blob's bytes, once. A chunk is valid until the next is asked for. The end is only reported after
   * size, padding and digest were found right.
   * @throws DrydockError "integrity" naming the blob and who needs it.
   */
  read(): AsyncGenerator<Buffer, void, void>;
  /** The same without the digest: for a consumer that checks it itself. */
  readUnchecked(): AsyncGenerator<Buffer, void, void>;
}

/** A certificate or key is small; a larger one is refused before it fills the memory. */
const secretSizeLimit = 64 * 1024;

export interface Bundle extends Omit<Top, "end" | "mtime"> {
  /** The bytes of the certificates and of the key, which stand first, so that a pipe gives them early. */
  certificates: Map<Digest, Buffer>;
  /** as the user named it */
  name: string;
  /** of the whole archive, in bytes */
  size: number;
  /**
   * Goes once over the archive in its order, after the certificates. Blobs that `wants` names are given to `use`, at most
   * `concurrency` at the same time (one after the other from a pipe); others are not read. Every header
   * is checked, and that nothing follows the last entry. The first error stops it.
   */
  forEachBlob(options: BlobPass): Promise<void>;
  /** One blob, at its offset; not from a pipe. @throws DrydockError "integrity" if there is no such blob. */
  blob(digest: Digest): AsyncGenerator<Buffer, void, void>;
  close(): Promise<void>;
}

export interface BlobPass {
  wants: (blob: BundleBlob) => boolean;
  use: (blob: ReadBlob) => Promise<void>;
  concurrency?: number;
}

/** What one reader of blobs uses again and again. */
interface Reading {
  /** two, of chunkSize: one is filled while the other is used */
  buffers: Buffer[];
  /** why the pass has to stop, if it has */
  failure: () => unknown;
}

interface Archive extends Pick<Top, "index" | "mtime"> {
  source: ByteSource;
  slots: Slot[];
  /** where the end-of-archive blocks begin */
  end: number;
}

/**
 * Reads and checks the top of the archive; of a file also that its size is right. Closes the source if
 * that fails.
 * @param expectedDigest as --digest gives it: the bundle's digest, with or without "sha256:"
 * @throws DrydockError "integrity", or "input" for a format version that is not known.
 */
export async function openBundle(source: ByteSource, expectedDigest?: string): Promise<Bundle> {
  try {
    const { end: start, mtime, ...top } = await readTop(source, expectedDigest);
    const { slots, end } = layOut(top.index.blobs, start);
    const archive: Archive = { source, index: top.index, mtime, slots, end };
    if (source.size !== undefined && source.size !== end + endSize) await refuseSize(archive, source.size);
    const certificates = await readCertificates(archive);
    return {
      ...top,
      certificates,
      name: source.name,
      size: end + endSize,
      forEachBlob: (pass) => forEachBlob(archive, certificates.size, pass),
      blob: (digest) => readOne(archive, digest),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The blobs with the roles certificate and key. @throws DrydockError "integrity" if one stands after another blob. */
async function readCertificates(archive: Archive): Promise<Map<Digest, Buffer>> {
  const isOne = ({ role }: BundleBlob) => role === "certificate" || role === "key";
  const found = archive.index.blobs.filter(isOne);
  if (!found.every((blob, number) => archive.index.blobs[number] === blob && blob.size <= secretSizeLimit)) {
    throw new DrydockError(
      "integrity",
      "read bundle.json: certificates and key are not the first blobs, or too large",
    );
  }
  const certificates = new Map<Digest, Buffer>();
  for (const { digest } of found) certificates.set(digest, await readWhole(archive, digest));
  return certificates;
}

async function forEachBlob(
  archive: Archive,
  first: number,
  { wants, use, concurrency = 1 }: BlobPass,
): Promise<void> {
  const { source, index, slots } = archive;
  const failures: unknown[] = [];
  // The workers share one iterator: each takes the next blob, so reading stays in the archive's order.
  const remaining = slots.entries().drop(first);
  const work = async () => {
    const reading: Reading = { buffers: alignedBuffers(2, chunkSize), failure: () => failures[0] };
    for (const [number, slot] of remaining) {
      const blob = index.blobs[number];
      if (!blob) throw new Error("a slot without a blob");
      await checkHeader(archive, slot);
      if (failures.length > 0) return;
      if (!wants(blob)) continue;
      const read = () => readSlot(archive, slot, reading);
      await use({ ...blob, read, readUnchecked: () => readUnchecked(archive, slot, reading) });
    }
  };
  const workers = Array.from({ length: source.sequential ? 1 : concurrency }, () =>
    work().catch((error: unknown) => {
      failures.push(error);
    }),
  );
  await Promise.all(workers);
  if (failures.length > 0) throw failures[0];
  await checkEnd(archive);
}

async function checkHeader(archive: Archive, slot: Slot): Promise<void> {
  const { source, mtime } = archive;
  const wanted = headerOf(blobName(slot.digest), slot.size, mtime);
  const found = Buffer.alloc(wanted.length);
  const got = await source.readAt(slot.headerAt, found);
  if (got < wanted.length)
    throw truncated(source, `at byte ${slot.headerAt + got}, before blob ${nameOf(archive, slot)}`);
  if (!found.equals(wanted))
    throw deviates(source, slot.headerAt, `blob ${slot.digest}`, unexpected(archive, slot, found));
}

/** What stands in the place of a blob's header, for an error's text. */
function unexpected({ slots }: Archive, wanted: Slot, header: Buffer): string {
  const found = describeHeader(header);
  const known = slots.find(({ digest }) => found === `entry "${blobName(digest)}"`);
  if (!known) return `${found}, which the index does not list`;
  if (known === wanted) return `${found} with another header`;
  return `${found}, ${known.headerAt < wanted.headerAt ? "which stood there before" : "out of order"}`;
}

/** The blob's bytes; its end is only reported when its digest is right. */
async function* readSlot(archive: Archive, slot: Slot, reading: Reading): AsyncGenerator<Buffer, void, void> {
  const hash = createHash("sha256");
  for await (const chunk of readUnchecked(archive, slot, reading)) {
    hash.update(chunk);
    yield chunk;
  }
  const found = hash.digest("hex");
  if (`sha256:${found}` === slot.digest) return;
  const { name } = archive.source;
  throw new DrydockError(
    "integrity",
    `read bundle ${JSON.stringify(name)}: blob ${nameOf(archive, slot)} is damaged: bytes ${slot.bodyAt} to ${slot.bodyAt + slot.size - 1}${placeOf(archive.source, slot.bodyAt, slot.bodyAt + slot.size - 1)} have sha256 ${found}`,
    { hint: "Copy the bundle again, or from another stick, and run the same command." },
  );
}

/** The blob's bytes; only its size and padding are checked. */
async function* readUnchecked(
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
    const read = source.readAt(slot.bodyAt + at, bytes).then((got) => ({ got, bytes }));
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

async function checkEnd({ source, end }: Archive): Promise<void> {
  const tail = Buffer.alloc(endSize + 1);
  const got = await source.readAt(end, tail);
  if (got < endSize) throw truncated(source, `at byte ${end + got}, before its end-of-archive blocks`);
  if (!allZero(tail.subarray(0, endSize))) {
    throw deviates(
      source,
      end,
      "the end of the archive",
      `${describeHeader(tail.subarray(0, blockSize))}, which the index does not list`,
    );
  }
  if (got > endSize)
    throw deviates(source, end + endSize, "nothing more", "bytes after the end of the archive");
}

/** A file of the wrong size deviates somewhere: walks the headers to say where. */
async function refuseSize(archive: Archive, size: number): Promise<never> {
  const { source, slots, end } = archive;
  for (const slot of slots) {
    await checkHeader(archive, slot);
    if (slot.bodyAt + slot.size > size)
      throw truncated(source, `at byte ${size}, inside blob ${nameOf(archive, slot)}`);
  }
  await checkEnd(archive);
  throw deviates(source, end, `an archive of ${end + endSize} bytes`, `${size} bytes`);
}

async function* readOne(archive: Archive, digest: Digest): AsyncGenerator<Buffer, void, void> {
  const slot = archive.slots.find((each) => each.digest === digest);
  if (!slot) throw new DrydockError("integrity", `read blob ${digest}: it is not in the bundle`);
  await checkHeader(archive, slot);
  const buffers = [0, 1].map(() => Buffer.allocUnsafe(Math.min(chunkSize, slot.size + paddingOf(slot.size))));
  yield* readSlot(archive, slot, { buffers, failure: () => undefined });
}

async function readWhole(archive: Archive, digest: Digest): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of readOne(archive, digest)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

/** A blob's digest and who needs it, for an error's text. */
function nameOf({ index }: Archive, { digest }: Slot): string {
  const users = usersOf(index, digest);
  return users === "" ? digest : `${digest} (needed by ${users})`;
}
