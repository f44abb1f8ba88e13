/**
 * Puts blobs in their places: written under a temporary name, synced, renamed. Readers hand each written file
 * to a bounded queue of fsyncs, so that reading never waits for the disk's cache; the folders that got new
 * names are synced together at the end.
 */
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import pLimit from "p-limit";
import { openDirect, writeDirectly } from "../direct.ts";
import { DrydockError } from "../errors.ts";
import { giveBack } from "../lent-buffers.ts";
import { type Digest, hexOf } from "../oci/digest.ts";
import type { Step } from "../reporter.ts";
import { cannotWrite, makeFolder, makeFolderUnsynced, syncFolders } from "../site/durable.ts";
import { copy, move } from "./move.ts";

const syncs = 8;
/** Smaller blobs are not worth the second opening that direct I/O takes. */
const directFrom = 64 * 1024;

/** A blob's size in bytes, and the paths where it is missing. */
interface MissingBlob {
  size: number;
  paths: string[];
}

export type Missing = Map<Digest, MissingBlob>;

/** Writes blobs under temporary names, syncs them apart from the readers, and gives them their names. */
export class BlobPlacer {
  readonly #missing: Missing;
  readonly #incoming: string;
  readonly #step: Step;
  readonly #nameOf: (digest: Digest) => string;
  readonly #begun = new Set<Digest>();
  readonly #syncs = pLimit(syncs);
  readonly #unsynced = new Set<Promise<void>>();
  readonly #folders = new Set<string>();
  #failure: { error: unknown } | undefined;

  constructor(missing: Missing, incoming: string, step: Step, nameOf: (digest: Digest) => string) {
    this.#missing = missing;
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
        giveBack(chunk);
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

  async #name(file: FileHandle, temporary: string, { size, paths }: MissingBlob): Promise<void> {
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
