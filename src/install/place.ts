/**
 * The step "place": blobs go from the archive straight to where they stay, hashed on the way, in one pass.
 * A blob gets its final name after its digest has matched and it is on disk; one whose final name and size
 * are there already is neither written nor read.
 *
 * Readers hand each written file to a bounded queue of fsyncs, so that reading never waits for the disk's
 * cache; the folders that got new names are synced together at the end.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import pLimit from "p-limit";
import type { BundleBlob, BundleIndex, BundleSeed } from "../archive/bundle-index.ts";
import { storedBlobs } from "../archive/contents.ts";
import { damageError } from "../archive/damage.ts";
import type { Bundle } from "../archive/reader.ts";
import { openDirect, writeDirectly } from "../direct.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, hexOf } from "../oci/digest.ts";
import { blobPath } from "../oci/storage.ts";
import { readStorageTarball } from "../oci/storage-tarball.ts";
import type { Step } from "../reporter.ts";
import { cannotWrite, makeFolder, makeFolderUnsynced, syncFolders } from "../site/durable.ts";
import type { SiteLayout } from "../site/layout.ts";
import { blobNames } from "./blob-names.ts";
import { planFiles, type ShownFile, showFiles } from "./files.ts";
import { copy, move } from "./move.ts";

/** Four readers and eight fsyncs were the fastest of those measured; the thread pool must have 16. */
const readers = 4;
const syncs = 8;
/** Smaller blobs are not worth the second opening that direct I/O takes. */
const directFrom = 64 * 1024;

/** A blob's size in bytes, and the paths where it is missing. */
interface Missing {
  size: number;
  paths: string[];
}

/** What of a bundle is not at the site yet. */
export interface Placement {
  missing: Map<Digest, Missing>;
  /** what the manifest's `files:` carried and is not seen at the site yet */
  files: ShownFile[];
  /** what that will take */
  needed: { blobs: number; bytes: number };
}

/** Looks what of the bundle is there already. Writes nothing. */
export async function planPlacement(
  index: BundleIndex,
  layout: SiteLayout,
  bundleDigest: Digest,
): Promise<Placement> {
  const release = layout.release(bundleDigest);
  const missing: Placement["missing"] = new Map();
  const look = async (digest: Digest, size: number, path: string) => {
    const paths = missing.get(digest)?.paths ?? [];
    if (paths.includes(path) || (await isThere(path, size))) return;
    missing.set(digest, { size, paths: [...paths, path] });
  };
  for (const [digest, size] of storedBlobs(index))
    await look(digest, size, join(layout.storage, blobPath(digest)));
  for (const { digest, size, role } of index.blobs) {
    if (role === "registry") await look(digest, size, release.registryBlob(digest));
  }
  const sizes = new Map(index.blobs.map(({ digest, size }) => [digest, size]));
  const files = await planFiles(index.files, layout, release);
  for (const { digest, staged } of files) await look(digest, sizes.get(digest) ?? 0, staged);
  const bytes = missing.values().reduce((sum, { size, paths }) => sum + size * paths.length, 0);
  return { missing, files, needed: { blobs: missing.size, bytes } };
}

async function isThere(path: string, size: number): Promise<boolean> {
  const found = await stat(path).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return undefined;
    throw new DrydockError("host", `read "${path}": ${errorText(error)}`, { cause: error });
  });
  return found?.isFile() === true && found.size === size;
}

/** What is said after what to copy again. */
const next =
  "What is good is at the site by now and stays; nothing of it shows yet, and what was served still is. " +
  "Then run the same command: it reads only what is missing.";

/**
 * Writes every missing blob to its place; of a bundle opened to go on, all that are good.
 * @throws DrydockError "integrity" naming every blob that is damaged (`data.damage` is a list of Damage), or
 *   what a seed lacks, "host" if the disk is full or fails.
 */
export async function place(
  bundle: Bundle,
  placement: Placement,
  layout: SiteLayout,
  step: Step,
): Promise<void> {
  const seeds = new Map(bundle.index.seeds.map((seed) => [`sha256:${seed.sha256}`, seed]));
  step.total(placement.needed.bytes);
  const writer = new BlobPlacer(placement, layout.incoming, step, blobNames(bundle.index));
  await writer.begin();
  try {
    // The pass goes over what comes after the certificates; one of them may be wanted as a file, too.
    for (const [digest, bytes] of bundle.certificates) await writer.write(digest, once(bytes));
    const pass = bundle.forEachBlob({
      concurrency: readers,
      wants: (blob) => wantedSeed(blob, seeds, placement) !== undefined || placement.missing.has(blob.digest),
      use: async (blob) => {
        const seed = wantedSeed(blob, seeds, placement);
        const path = placement.missing.get(blob.digest)?.paths[0];
        if (path !== undefined) await writer.write(blob.digest, blob.read());
        if (!seed) return;
        if (path !== undefined) await writer.named();
        if (path === undefined) await unpackCarried(blob.read(), seed, writer);
        else await unpackSeed(createReadStream(path, { highWaterMark: 1024 * 1024 }), seed, writer);
      },
    });
    const stoppedBy = await pass.then(() => [], integrityError);
    const damage = await bundle.damage();
    if (damage.length > 0) throw damageError(bundle, damage, next, stoppedBy);
    if (stoppedBy[0]) throw stoppedBy[0];
  } finally {
    await writer.end();
  }
  writer.checkComplete();
  // Only now is it certain that the bundle is whole: nothing that people see has changed so far.
  await showFiles(placement.files);
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

/** @throws what is none */
function integrityError(error: unknown): [DrydockError] {
  if (error instanceof DrydockError && error.kind === "integrity") return [error];
  throw error;
}

/** The packed seed that a blob is, if something of it is missing. */
function wantedSeed(
  blob: BundleBlob,
  seeds: Map<string, BundleSeed>,
  { missing }: Placement,
): BundleSeed | undefined {
  const seed = blob.role === "seed" ? seeds.get(blob.digest) : undefined;
  return seed?.packed?.blobs.some(({ digest }) => missing.has(digest)) ? seed : undefined;
}

/**
 * Unpacks a seed as it comes from the archive. Where something is wrong in it, the rest is read too: then its
 * own digest says whether the bundle is damaged, or the seed was made like that, which no copy will cure.
 */
async function unpackCarried(
  carried: AsyncGenerator<Buffer>,
  seed: BundleSeed,
  writer: BlobPlacer,
): Promise<void> {
  let damage: unknown;
  // Taken by hand, so that the end of unpacking does not end the reading.
  async function* chunks() {
    for (;;) {
      const { done, value } = await carried.next().catch((error: unknown) => {
        damage = error;
        throw error;
      });
      if (done) return;
      // The reader's chunks are overwritten by later ones, and the decompressor holds several at a time.
      yield Buffer.from(value);
    }
  }
  try {
    await unpackSeed(chunks(), seed, writer);
    await drain(carried);
  } catch (error) {
    if (damage === undefined && error instanceof DrydockError && error.kind === "integrity")
      await drain(carried);
    throw damage ?? error;
  } finally {
    await carried.return(undefined);
  }
}

async function drain(source: AsyncIterable<Buffer>): Promise<void> {
  for await (const _ of source);
}

/**
 * Each inner blob is checked on its own, and the packed seed as a whole by the archive's reader. One that is
 * damaged does not keep the others from their places.
 */
async function unpackSeed(
  chunks: AsyncIterable<Uint8Array>,
  seed: BundleSeed,
  writer: BlobPlacer,
): Promise<void> {
  const compression = seed.packed?.compression ?? "none";
  const inner = new Set(seed.packed?.blobs.map(({ digest }) => digest));
  const damaged: DamagedInside[] = [];
  try {
    await readStorageTarball(chunks, { compression, where: seed.source }, async (entry, _size, body) => {
      if (entry.kind !== "blob" || !inner.has(entry.digest)) return;
      await writer.write(entry.digest, verified(entry.digest, body, seed.source)).catch((error: unknown) => {
        if (!(error instanceof DamagedInside)) throw error;
        damaged.push(error);
      });
    });
  } catch (error) {
    // It was a whole tarball when the bundle was made, so it is damaged if it is none now.
    if (!(error instanceof DrydockError) || error.kind !== "input") throw error;
    throw new DrydockError("integrity", `blob sha256:${seed.sha256} is damaged: ${error.message}`, {
      cause: error,
    });
  }
  if (damaged[0]) throw damaged[0];
}

/** A blob in a packed seed has another digest than its name there says. */
class DamagedInside extends DrydockError {}

async function* verified(
  digest: Digest,
  body: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<Uint8Array> {
  const hash = createHash("sha256");
  for await (const chunk of body) {
    hash.update(chunk);
    yield chunk;
  }
  const found = hash.digest("hex");
  if (found !== hexOf(digest)) {
    throw new DamagedInside(
      "integrity",
      `read seed "${where}": blob ${digest} is damaged: its sha256 is ${found}`,
    );
  }
}

/** Writes blobs under temporary names, syncs them apart from the readers, and gives them their names. */
class BlobPlacer {
  readonly #missing: Placement["missing"];
  readonly #incoming: string;
  readonly #step: Step;
  readonly #nameOf: (digest: Digest) => string;
  readonly #begun = new Set<Digest>();
  readonly #syncs = pLimit(syncs);
  readonly #unsynced = new Set<Promise<void>>();
  readonly #folders = new Set<string>();
  #failure: { error: unknown } | undefined;

  constructor(placement: Placement, incoming: string, step: Step, nameOf: (digest: Digest) => string) {
    this.#missing = placement.missing;
    this.#incoming = incoming;
    this.#step = step;
    this.#nameOf = nameOf;
  }

  async begin(): Promise<void> {
    await onDisk(this.#incoming, async () => {
      // What an earlier try left there has no final name: nothing knows whether it is whole.
      await rm(this.#incoming, { recursive: true, force: true });
      if (this.#missing.size === 0) return;
      await makeFolder(dirname(this.#incoming));
      await mkdir(this.#incoming);
    });
  }

  /** Returns when the blob is written; it has its name after end(). Does nothing for a blob that is not missing. */
  async write(digest: Digest, source: AsyncIterable<Uint8Array>): Promise<void> {
    if (this.#failure) throw this.#failure.error;
    const wanted = this.#missing.get(digest);
    if (!wanted || this.#begun.has(digest)) return;
    this.#begun.add(digest);
    const temporary = join(this.#incoming, hexOf(digest));
    const file = await onDisk(temporary, () => open(temporary, "wx", 0o644));
    const direct = wanted.size >= directFrom ? await openDirect(temporary, "write") : undefined;
    const piece = this.#step.piece(this.#nameOf(digest), wanted.size);
    try {
      let at = 0;
      for await (const chunk of source) {
        const done = await writeDirectly(direct, chunk, at);
        await onDisk(temporary, () => writeAt(file, chunk.subarray(done), at + done));
        at += chunk.length;
        this.#step.advance(chunk.length);
        piece.advance(chunk.length);
      }
    } catch (error) {
      await file.close();
      // Nothing of it is kept, and where a seed has it, too, that one may be good. end() removes what stays.
      await rm(temporary, { force: true }).catch(() => {});
      this.#begun.delete(digest);
      throw error;
    } finally {
      piece.end();
      await direct?.close();
    }
    await this.#queue(() => this.#name(file, temporary, wanted));
  }

  /** Waits until all that was written has its names. @throws what the first that failed threw. */
  async named(): Promise<void> {
    await Promise.all(this.#unsynced);
    if (this.#failure) throw this.#failure.error;
  }

  /** Waits for all syncs. @throws what the first of them threw. */
  async end(): Promise<void> {
    await Promise.all(this.#unsynced);
    await onDisk(this.#incoming, () => rm(this.#incoming, { recursive: true, force: true }));
    if (this.#failure) throw this.#failure.error;
    await syncFolders(this.#folders);
  }

  /** @throws DrydockError "integrity" if a blob never came: a seed lacks what the index says it holds. */
  checkComplete(): void {
    for (const digest of this.#missing.keys()) {
      if (this.#begun.has(digest)) continue;
      throw new DrydockError("integrity", `read bundle: blob ${digest} is in none of its seeds`);
    }
  }

  /** Waits only while the queue is full. */
  async #queue(work: () => Promise<void>): Promise<void> {
    const task = this.#syncs(work).catch((error: unknown) => {
      this.#failure ??= { error };
    });
    this.#unsynced.add(task);
    task.finally(() => this.#unsynced.delete(task));
    if (this.#unsynced.size >= 2 * syncs) await Promise.race(this.#unsynced);
  }

  async #name(file: FileHandle, temporary: string, { size, paths }: Missing): Promise<void> {
    await onDisk(temporary, async () => {
      await file.sync().finally(() => file.close());
    });
    const [first, ...others] = paths;
    if (first === undefined) throw new Error(`blob ${temporary} has no place`);
    await makeFolderUnsynced(dirname(first), this.#folders);
    await onDisk(first, () => move(temporary, first));
    for (const path of others) {
      await makeFolderUnsynced(dirname(path), this.#folders);
      await onDisk(path, () => copy(first, path));
      this.#step.advance(size);
    }
  }
}

async function writeAt(file: FileHandle, chunk: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < chunk.length; ) {
    done += (await file.write(chunk, done, chunk.length - done, position + done)).bytesWritten;
  }
}

async function onDisk<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof DrydockError ? error : cannotWrite(path, error);
  }
}
