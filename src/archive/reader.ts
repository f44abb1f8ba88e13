/**
 * Reads a bundle: its top once, checked against its root, then blobs, in one pass over them or one at its
 * offset, from a file or a pipe. Nothing is handed out that was not checked; an archive that deviates in
 * a single header, size, padding byte or digest is refused with what deviates.
 */
import { DrydockError } from "../errors.ts";
import { freeBuffer, ownBuffer } from "../lent-buffers.ts";
import type { Digest } from "../oci/digest.ts";
import type { BundleBlob } from "./bundle-index.ts";
import { type Damage, DamagedBlob, type FoundDamage } from "./damage.ts";
import { Deviation, deviates, truncated } from "./deviation.ts";
import { allZero, blockSize, describeHeader, endSize, layOut, paddingOf } from "./layout.ts";
import {
  type Archive,
  checkSlot,
  chunkSize,
  lackOf,
  nameOf,
  type Reading,
  readOrNarrow,
  readSlot,
  readUnchecked,
} from "./slots.ts";
import type { ByteSource } from "./source.ts";
import { readTop, type Top } from "./top.ts";
import { usersOfEach } from "./users.ts";

export interface ReadBlob extends BundleBlob {
  /**
   * The blob's bytes, once. A chunk is valid until the next is asked for. The end is only reported after
   * size, padding and digest were found right.
   * @throws DamagedBlob, a DrydockError "integrity", naming the blob and who needs it.
   */
  read(): AsyncGenerator<Buffer, void, void>;
  /** The same without the digest: for a consumer that checks it itself. */
  readUnchecked(): AsyncGenerator<Buffer, void, void>;
}

export interface OpenOptions {
  /**
   * Reads on past damage: past a blob whose bytes are other ones, or cannot be read, or are not there. `damage`
   * tells of it then; without this the first is thrown. Another header than the index wants is always thrown.
   */
  goOn?: boolean;
}

/** A certificate or key is small; a larger one is refused before it fills the memory. */
const secretSizeLimit = 64 * 1024;

export interface Bundle extends Omit<Top, "end" | "mtime"> {
  /** The bytes of the certificates and of the key, which stand first, so that a pipe gives them early. Damaged ones lack. */
  certificates: Map<Digest, Buffer>;
  /** as the user named it */
  name: string;
  /** from a pipe: `blob` gives nothing */
  sequential: boolean;
  /** of the whole archive, in bytes */
  size: number;
  /** What is known from the beginning not to be there, in words: the archive's end, or a part. */
  lacking: string[];
  /** What was found damaged so far, in the archive's order; empty unless opened to go on. */
  damage(): Promise<Damage[]>;
  /**
   * Goes once over the archive in its order, after the certificates. Blobs that `wants` names are given to `use`, at most
   * `concurrency` at the same time (one after the other from a pipe); others are not read. Every header
   * is checked, and that nothing follows the last entry. The first error stops it; damage does not if the
   * bundle was opened to go on, also where `use` throws it on.
   */
  forEachBlob(options: BlobPass): Promise<void>;
  /** One blob, at its offset; not from a pipe. @throws DrydockError "integrity" if there is no such blob. */
  blob(digest: Digest): AsyncGenerator<Buffer, void, void>;
  close(): Promise<void>;
}

export interface BlobPass {
  wants: (blob: BundleBlob) => boolean;
  use: (blob: ReadBlob) => Promise<void>;
  /**
   * Takes note that something else stands in the place of a header or of zeros, and goes on behind that blob:
   * only for a pass that uses nothing. Without this it is thrown, since the archive is not what its index says.
   */
  deviation?: (error: DrydockError) => void;
  concurrency?: number;
}

/** An open archive, and what was found damaged in it. */
interface OpenArchive extends Archive {
  /** undefined: damage is thrown */
  damage: FoundDamage[] | undefined;
}

/**
 * Reads and checks the top of the archive; of a file also that its size is right. Closes the source if
 * that fails.
 * @param expectedDigest as --digest gives it: the bundle's digest, with or without "sha256:"
 * @throws DrydockError "integrity", or "input" for a format version that is not known.
 */
export async function openBundle(
  source: ByteSource,
  expectedDigest?: string,
  { goOn = false }: OpenOptions = {},
): Promise<Bundle> {
  try {
    const { end: start, mtime, ...top } = await readTop(source, expectedDigest);
    const { slots, end } = layOut(top.index.blobs, start);
    const lacking = source.lacking?.(end + endSize) ?? [];
    if (!goOn && lacking[0]) throw lackingError(lacking.map(({ error }) => error));
    const damage = goOn ? [] : undefined;
    const archive: OpenArchive = { source, index: top.index, mtime, slots, end, lacking, damage };
    const cut = await checkSize(archive);
    if (cut && !goOn) throw cut;
    const certificates = await readCertificates(archive);
    return {
      ...top,
      certificates,
      name: source.name,
      sequential: source.sequential,
      size: end + endSize,
      lacking: [
        ...lacking.map(({ error }) => error.message),
        ...(cut ? [`the bundle is cut: it has ${source.size} bytes, wanted ${end + endSize}`] : []),
      ],
      damage: () => damageOf(archive),
      forEachBlob: (pass) => forEachBlob(archive, pass),
      blob: (digest) => readOne(archive, digest),
      close: () => source.close(),
    };
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** The one error for all that is known not to be there. */
function lackingError(errors: DrydockError[]): DrydockError {
  const message = errors.map((error) => error.message).join("\n");
  return new DrydockError("integrity", message, { hint: errors[0]?.hint, cause: errors[0] });
}

/** Collects damage, or throws it. */
async function unlessDamaged(archive: OpenArchive, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!archive.damage || !(error instanceof DamagedBlob)) throw error;
    archive.damage.push(error.damage);
  }
}

const isCertificate = ({ role }: BundleBlob) => role === "certificate" || role === "key";

/** The blobs with the roles certificate and key. @throws DrydockError "integrity" if one stands after another blob. */
async function readCertificates(archive: OpenArchive): Promise<Map<Digest, Buffer>> {
  const found = archive.index.blobs.filter(isCertificate);
  if (!found.every((blob, number) => archive.index.blobs[number] === blob && blob.size <= secretSizeLimit)) {
    throw new DrydockError(
      "integrity",
      "read bundle.json: certificates and key are not the first blobs, or too large",
    );
  }
  const certificates = new Map<Digest, Buffer>();
  for (const { digest } of found) {
    await unlessDamaged(archive, async () => {
      certificates.set(digest, await readWhole(archive, digest));
    });
  }
  return certificates;
}

async function forEachBlob(
  archive: OpenArchive,
  { wants, use, deviation, concurrency = 1 }: BlobPass,
): Promise<void> {
  const { source, index, slots } = archive;
  const failures: unknown[] = [];
  // The workers share one iterator: each takes the next blob, so reading stays in the archive's order.
  const remaining = slots.entries().drop(index.blobs.filter(isCertificate).length);
  const unlessNoted = (error: unknown) => {
    if (!deviation || !(error instanceof Deviation)) throw error;
    deviation(error);
  };
  const work = async (reading: Reading) => {
    for (const [number, slot] of remaining) {
      const blob = index.blobs[number];
      if (!blob) throw new Error("a slot without a blob");
      await unlessDamaged(archive, async () => {
        const isWanted = wants(blob);
        await checkSlot(archive, slot).catch((error: unknown) => {
          // What nobody wants may be lost.
          if (isWanted || !(error instanceof DamagedBlob)) throw error;
        });
        if (failures.length > 0 || !isWanted) return;
        const read = () => readSlot(archive, slot, reading);
        await use({ ...blob, read, readUnchecked: () => readUnchecked(archive, slot, reading) });
      }).catch(unlessNoted);
      if (failures.length > 0) return;
    }
  };
  const workers = Array.from({ length: source.sequential ? 1 : concurrency }, async () => {
    const buffers = [ownBuffer(), ownBuffer()];
    await work({ buffers, failure: () => failures[0] }).catch((error: unknown) => {
      failures.push(error);
    });
    for (const buffer of buffers) freeBuffer(buffer);
  });
  await Promise.all(workers);
  if (failures.length > 0) throw failures[0];
  await checkEnd(archive).catch(unlessNoted);
}

async function checkEnd(archive: OpenArchive): Promise<void> {
  const { source, end, damage } = archive;
  const lack = lackOf(archive, { from: end, to: end + endSize - 1 });
  const tail = Buffer.alloc(endSize + 1);
  const got = lack ?? (await readOrNarrow(source, end, tail));
  if (typeof got !== "number") {
    if (!damage) throw "cause" in got ? got.cause : truncated(source, `at byte ${got.from}, before its end`);
    // That it ends too early was said of the blobs that are not there.
    if (lack && damage.some(({ reason }) => reason === "cut off")) return;
    const lost = { from: got.from, to: Math.min(got.to, end + endSize - 1) };
    const parts = source.partsOf?.(lost);
    const reason = lack ? "cut off" : "unreadable";
    damage.push({ from: end, to: end + endSize - 1, reason, lost, ...(parts ? { parts } : {}) });
    return;
  }
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

/**
 * A file of the wrong size deviates somewhere: walks the headers to see where.
 * @returns the error for one that only ends too early, whose missing bytes are then noted as lacking
 * @throws DrydockError "integrity" for any other.
 */
async function checkSize(archive: OpenArchive): Promise<DrydockError | undefined> {
  const { source, slots, end } = archive;
  const { size } = source;
  if (size === undefined || size === end + endSize) return undefined;
  if (size < end + endSize) archive.lacking = [...archive.lacking, { from: size, to: end + endSize - 1 }];
  for (const slot of slots) {
    if (slot.bodyAt > size) return truncated(source, `at byte ${size}, before blob ${nameOf(archive, slot)}`);
    if (slot.bodyAt + slot.size > size)
      return truncated(source, `at byte ${size}, inside blob ${nameOf(archive, slot)}`);
    await checkSlot(archive, slot).catch((error: unknown) => {
      // Told when its turn comes.
      if (!(error instanceof DamagedBlob)) throw error;
    });
  }
  if (size < end + endSize) return truncated(source, `at byte ${size}, before its end-of-archive blocks`);
  await checkEnd(archive);
  throw deviates(source, end, `an archive of ${end + endSize} bytes`, `${size} bytes`);
}

/** Finds out who needs what is damaged and, where a blob stands in several parts, which of them is at fault. */
async function damageOf(archive: OpenArchive): Promise<Damage[]> {
  const { source, index } = archive;
  const found = (archive.damage ?? []).toSorted((one, other) => one.from - other.from);
  const suspects = found.flatMap(({ reason, parts = [] }) =>
    reason === "other bytes" && parts.length > 1 ? parts.map(({ part }) => part) : [],
  );
  // If a part cannot be read, all that may be at fault are named.
  const wrong =
    suspects.length > 0 ? await source.wrongParts?.(new Set(suspects)).catch(() => {}) : undefined;
  const digests = found.flatMap(({ digest }) => digest ?? []);
  const users = await usersOfEach(index, digests, (digest) => {
    if (source.sequential) throw new Error("a pipe cannot go back");
    return readWhole(archive, digest);
  });
  return found.map((damage) => {
    const parts = damage.parts?.filter(({ part }) => !suspects.includes(part) || wrong?.has(part));
    return {
      ...damage,
      ...(parts && parts.length > 0 ? { parts } : {}),
      users: (damage.digest && users.get(damage.digest)) ?? [],
    };
  });
}

async function* readOne(archive: Archive, digest: Digest): AsyncGenerator<Buffer, void, void> {
  const slot = archive.slots.find((each) => each.digest === digest);
  if (!slot) throw new DrydockError("integrity", `read blob ${digest}: it is not in the bundle`);
  await checkSlot(archive, slot);
  const buffers = [0, 1].map(() => Buffer.allocUnsafe(Math.min(chunkSize, slot.size + paddingOf(slot.size))));
  yield* readSlot(archive, slot, { buffers, failure: () => undefined });
}

async function readWhole(archive: Archive, digest: Digest): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of readOne(archive, digest)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
