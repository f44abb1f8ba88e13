/**
 * Writes a bundle: the top and every header first, then each blob at its slot, in any order and side by
 * side, hashed as it arrives. What an earlier try left is checked and used. The final name appears by
 * rename when all slots are full.
 */
import { createHash, type Hash } from "node:crypto";
import { directUnit } from "../direct.ts";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { giveBack, inPages } from "../lent-buffers.ts";
import type { Digest } from "../oci/digest.ts";
import type { Piece } from "../reporter.ts";
import type { ArchivePlan } from "./archive-plan.ts";
import { type Journal, JournalWriter, journalOf } from "./journal.ts";
import { blobName, headerOf, type Slot } from "./layout.ts";
import { checkOutput, checkSpace, inBytes, Output, type OutputPlan } from "./output.ts";

const readSize = 1024 * 1024;
/** The journal hears of a blob under way each time so many bytes of it are written, or so many milliseconds on. */
const noteSize = 8 * readSize;
const noteEvery = 1000;

export interface WriterOptions {
  /** whether a file that is there already is replaced */
  force: boolean;
  /** the finished file's permissions: 0600 if a secret is readable in it */
  mode: number;
  /** the largest size of a part, if the archive is to be cut in some */
  split?: number | undefined;
  /** what an earlier try left, if it fits this plan (see `fits`) */
  journal?: Journal | undefined;
  /** what an earlier try left elsewhere, to be moved in here (see salvage.ts) */
  aside?: OutputPlan | undefined;
  /** is called with each number of blob bytes that have come */
  advance: (bytes: number) => void;
  /** is called with the number of bytes that were reported and have to come once more */
  again?: (bytes: number) => void;
  /** a blob is in flight; what comes of it is counted anew where it is fetched again, other than with `advance` */
  piece?: (blob: Slot, where: string) => Piece;
}

export class ArchiveWriter {
  readonly #path: string;
  readonly #plan: ArchivePlan;
  readonly #options: WriterOptions;
  readonly #output: Output;
  readonly #journal: JournalWriter;
  /** the slots that nobody fills or has filled */
  readonly #empty: Map<Digest, Slot>;
  /** digest → how many bytes of the blob have been reported: a blob that is fetched again is not counted again */
  readonly #counted = new Map<Digest, number>();
  /** digest → how many of the blob's first bytes an earlier try left */
  readonly #begun = new Map<Digest, number>();
  #unfinished: number;

  private constructor(
    path: string,
    plan: ArchivePlan,
    options: WriterOptions,
    output: Output,
    journal: JournalWriter,
  ) {
    this.#path = path;
    this.#plan = plan;
    this.#options = options;
    this.#output = output;
    this.#journal = journal;
    this.#empty = new Map(plan.slots.map((slot) => [slot.digest, slot]));
    this.#unfinished = plan.slots.length;
  }

  /**
   * Makes the partial file with everything but the blobs' bytes, or goes on with the one that is there.
   * @throws DrydockError "usage" if the path exists and `force` is false, or the folder cannot be written to;
   *   "preflight" if the file system has too little space; "host" if the disk fails.
   */
  static async create(path: string, plan: ArchivePlan, options: WriterOptions): Promise<ArchiveWriter> {
    const { force, split, journal } = options;
    await checkOutput(path, force, split);
    const files = { path, size: plan.size, split };
    await checkSpace(files, options.aside);
    const output = await Output.open(files, journal !== undefined);
    try {
      await output.write([plan.top], 0);
      const entries = journal?.entries ?? new Map();
      const created = new Date(plan.mtime * 1000).toISOString();
      const notes = { created, size: plan.size, entries, ...(split === undefined ? {} : { split }) };
      const noted = await JournalWriter.begin(journalOf(path), notes);
      const writer = new ArchiveWriter(path, plan, options, output, noted);
      await writer.#checkKept(journal).catch(async (error: unknown) => {
        await noted.close();
        throw error;
      });
      return writer;
    } catch (error) {
      await output.close();
      throw onDisk(path, plan, error);
    }
  }

  /** Whether the blob is in the plan, and nobody has begun to write it. */
  wants(digest: Digest): boolean {
    return this.#empty.has(digest);
  }

  /**
   * How many of a blob's first bytes are there from an earlier try: `write` then takes the rest alone. And
   * how many more it takes to where a page of the file begins.
   */
  begun(digest: Digest): { bytes: number; lead: number } {
    const bytes = this.#begun.get(digest) ?? 0;
    const behind = ((this.#empty.get(digest)?.bodyAt ?? 0) + bytes) % directUnit;
    return { bytes, lead: behind === 0 ? 0 : directUnit - behind };
  }

  /**
   * Fills a blob's slot; does nothing if that was begun before. Chunks that are lent (lent-buffers.ts) become
   * the writer's, which gives them back; others may be used again when the next is asked for. After an error
   * the slot is empty again.
   * @param where the source, for errors
   * @param from which byte of the blob the source begins with: 0, or what `begun` says
   * @throws DrydockError "integrity" if size or digest are wrong, "host" if the disk fails or is full.
   */
  async write(digest: Digest, source: AsyncIterable<Uint8Array>, where: string, from = 0): Promise<void> {
    const slot = this.#empty.get(digest);
    if (!slot) return;
    this.#empty.delete(digest);
    const piece = this.#options.piece?.(slot, where);
    try {
      await this.#fill(slot, source, where, from, piece);
      await this.#note(slot, slot.size);
      this.#unfinished--;
    } catch (error) {
      this.#begun.delete(digest);
      this.#empty.set(digest, slot);
      // The bytes that are there are wrong: what comes next begins anew. Other errors say nothing about them.
      if (error instanceof WrongBytes) {
        this.#forget(slot);
        await this.#note(slot, 0);
      }
      throw error;
    } finally {
      piece?.end();
    }
  }

  /**
   * Puts the first bytes of a blob into its slot, as an earlier try left them elsewhere; `begun` then says how many
   * there are. They are checked with the rest.
   */
  async keep(digest: Digest, source: AsyncIterable<Uint8Array>): Promise<void> {
    const slot = this.#empty.get(digest);
    if (!slot) return;
    await this.#onDisk(this.#output.write([this.#headerOf(slot)], slot.headerAt));
    let have = 0;
    for await (const bytes of inPages(source, slot.bodyAt)) {
      await this.#onDisk(this.#output.write([bytes], slot.bodyAt + have));
      have += bytes.length;
      giveBack(bytes);
    }
    this.#begun.set(digest, have);
    this.#count(slot, have);
    await this.#note(slot, have);
  }

  /** What was written so far is on disk when this returns. */
  async sync(): Promise<void> {
    await this.#onDisk(this.#output.sync());
  }

  /**
   * Syncs everything and gives the archive its name. @param read is told the bytes of parts that are read for their
   * list @throws Error if a slot is empty: a bug.
   */
  async finish(read: (bytes: number) => void = () => {}): Promise<void> {
    if (this.#unfinished > 0) throw new Error(`${this.#unfinished} blobs of the plan were never written`);
    await this.#onDisk(this.#output.finish(this.#options.mode, read));
    await this.#onDisk(this.#journal.remove());
  }

  /** Leaves what is there for the next try. */
  async close(): Promise<void> {
    await this.#output.close();
    await this.#journal.close().catch(() => {});
  }

  async #fill(
    slot: Slot,
    source: AsyncIterable<Uint8Array>,
    where: string,
    from: number,
    piece: Piece | undefined,
  ): Promise<void> {
    const hash = createHash("sha256");
    if (from > 0) await this.#hashKept(slot, from, hash);
    piece?.advance(from);
    let have = from;
    let noted = from;
    let notedAt = performance.now();
    let writing: Promise<void> = Promise.resolve();
    const write = async (bytes: Uint8Array) => {
      await writing;
      const isFirst = have === 0;
      const position = isFirst ? slot.headerAt : slot.bodyAt + have;
      have += bytes.length;
      const written = have;
      const now = performance.now();
      const isDue = have - noted >= noteSize || now - notedAt >= noteEvery;
      if (isDue) [noted, notedAt] = [have, now];
      writing = (async () => {
        const chunks = isFirst ? [this.#headerOf(slot), bytes] : [bytes];
        await this.#onDisk(this.#output.write(chunks, position));
        giveBack(bytes);
        if (isDue) await this.#note(slot, written);
      })();
      // Its error is thrown by whoever waits for it; until then nobody does.
      writing.catch(() => {});
    };
    try {
      for await (const bytes of inPages(
        this.#arriving(slot, source, where, have, piece),
        slot.bodyAt + have,
      )) {
        hash.update(bytes);
        await write(bytes);
      }
      if (slot.size === 0) await write(new Uint8Array());
      await writing;
    } finally {
      // Nothing is on its way to the slot any more when it is empty again.
      await writing.catch(() => {});
    }
    if (have < slot.size) throw wrongLength(slot, `${have}`, where);
    const found = `sha256:${hash.digest("hex")}`;
    if (found === slot.digest) return;
    throw new WrongBytes(`read ${where}: blob ${slot.digest} has other bytes, of ${found}`);
  }

  /** Counts what comes, and stops at what is too much: no byte of it may come behind the slot. */
  async *#arriving(
    slot: Slot,
    source: AsyncIterable<Uint8Array>,
    where: string,
    from: number,
    piece: Piece | undefined,
  ): AsyncGenerator<Uint8Array, void> {
    let received = from;
    for await (const chunk of source) {
      received += chunk.length;
      if (received > slot.size) throw wrongLength(slot, "more", where);
      this.#count(slot, received);
      piece?.advance(chunk.length);
      yield chunk;
    }
  }

  /** Looks at each blob that the journal says is there: whole ones are taken if their digest is right. */
  async #checkKept(journal: Journal | undefined): Promise<void> {
    for (const { digest, have, size } of journal?.entries.values() ?? []) {
      const slot = this.#empty.get(digest);
      if (!slot || slot.size !== size || have === 0) continue;
      await this.#output.write([this.#headerOf(slot)], slot.headerAt);
      if (have < size) {
        this.#begun.set(digest, have);
        this.#count(slot, have);
        continue;
      }
      const hash = createHash("sha256");
      await this.#hashKept(slot, size, hash);
      if (`sha256:${hash.digest("hex")}` !== digest) {
        this.#forget(slot);
        continue;
      }
      this.#empty.delete(digest);
      this.#unfinished--;
    }
  }

  async #hashKept(slot: Slot, length: number, hash: Hash): Promise<void> {
    const buffer = Buffer.allocUnsafe(Math.min(readSize, length));
    for (let at = 0; at < length; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, length - at));
      await this.#onDisk(this.#output.read(piece, slot.bodyAt + at));
      hash.update(piece);
      this.#count(slot, at + piece.length);
    }
  }

  #headerOf({ digest, size }: Slot): Buffer {
    return headerOf(blobName(digest), size, this.#plan.mtime);
  }

  #count({ digest }: Slot, have: number): void {
    const before = this.#counted.get(digest) ?? 0;
    if (have <= before) return;
    this.#counted.set(digest, have);
    this.#options.advance(have - before);
  }

  /** What was counted of a blob has to come again. */
  #forget({ digest }: Slot): void {
    this.#options.again?.(this.#counted.get(digest) ?? 0);
    this.#counted.delete(digest);
  }

  async #note({ digest, bodyAt, size }: Slot, have: number): Promise<void> {
    await this.#onDisk(this.#journal.note({ digest, at: bodyAt, size, have }));
  }

  async #onDisk<T>(work: Promise<T>): Promise<T> {
    return await work.catch((error: unknown) => {
      throw onDisk(this.#path, this.#plan, error);
    });
  }
}

/** What went wrong with the disk, with the bundle's name and what to do; other errors stay what they are. */
function onDisk(path: string, plan: ArchivePlan, error: unknown): unknown {
  if (error instanceof DrydockError || errorCode(error) === undefined) return error;
  const full = errorCode(error) === "ENOSPC" ? "the disk is full" : errorText(error);
  return new DrydockError("host", `write bundle ${JSON.stringify(path)}: ${full}`, {
    hint: `The bundle needs ${inBytes(plan.size)} there: make room, or name a larger file system with -o.`,
    cause: error,
  });
}

const otherBytes =
  "Run it again; if it happens each time, the source or something on the way (a proxy, a mirror) changes the bytes.";

/** A blob's own bytes are not what they should be. */
class WrongBytes extends DrydockError {
  constructor(message: string) {
    super("integrity", message, { hint: otherBytes });
  }
}

function wrongLength(slot: Slot, got: string, where: string): WrongBytes {
  return new WrongBytes(`read ${where}: blob ${slot.digest} should have ${slot.size} bytes, got ${got}`);
}
