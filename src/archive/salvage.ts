/**
 * What an earlier try left, where the plan has changed so that its blobs stand elsewhere now: it is set
 * aside as `NAME.old.partial`, and the blobs that the new plan has too are taken from there.
 */
import { rename, rm } from "node:fs/promises";
import { DrydockError } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import {
  type Journal,
  type JournalEntry,
  journalOf,
  readBeginning,
  readJournal,
  readReadings,
} from "./journal.ts";
import { keptSeeds, removeKeptSeeds } from "./kept-seeds.ts";
import {
  hasPartials,
  Output,
  type OutputPlan,
  partialOf,
  removePartials,
  renamePartials,
  reopenParts,
} from "./output.ts";
import { partName } from "./parts.ts";
import type { ArchiveWriter } from "./writer.ts";

const readSize = 1024 * 1024;
/** Each time so many bytes are moved, what they left is given back to the file system. */
const cutSize = 64 * 1024 * 1024;

function asideOf(path: string): string {
  return `${path}.old`;
}

/** What was set aside, if anything. */
export async function findAside(path: string): Promise<OutputPlan | undefined> {
  const journal = await readJournal(journalOf(asideOf(path)));
  return journal && planOf(asideOf(path), journal);
}

function planOf(path: string, { size, split }: Journal): OutputPlan {
  return { path, size, split };
}

/** Gives what is there another name. What was set aside before is lost. */
export async function setAside(path: string, journal: Journal): Promise<void> {
  const { size, split } = journal;
  // If nothing is there but the journal, a crash came between the two renames.
  if (await hasPartials({ path, size, split })) await discard(asideOf(path));
  await renamePartials({ path, size, split }, asideOf(path));
  await rename(journalOf(path), journalOf(asideOf(path)));
}

export interface EarlierTry {
  /** when the first one began */
  created: string;
  /** none: it ended before it had written anything here */
  journal?: Journal;
}

/**
 * What an earlier try left, or undefined. A set of parts that was about to get its names is unfinished again.
 * A journal of bytes that are not there is that of a bundle that was finished: it is removed.
 */
export async function findEarlier(path: string): Promise<EarlierTry | undefined> {
  const journal = await readJournal(journalOf(path));
  if (journal === undefined) {
    // A kill after a try was set aside, and before the next one had written its journal.
    const created = (await readBeginning(journalOf(path))) ?? (await readBeginning(journalOf(asideOf(path))));
    return created === undefined ? undefined : { created };
  }
  const { created, size, split } = journal;
  await reopenParts({ path, size, split });
  if (await hasPartials({ path, size, split })) return { created, journal };
  if (await hasPartials({ path: asideOf(path), size, split })) return { created, journal };
  await rm(journalOf(path), { force: true });
  return undefined;
}

/** How many bytes are kept for the next try, and the file with most of them; undefined if none are. */
export async function keptBytes(path: string): Promise<{ bytes: number; file: string } | undefined> {
  const journal = await readJournal(journalOf(path));
  const aside = await readJournal(journalOf(asideOf(path)));
  const have = new Map<Digest, number>();
  for (const entry of [...(journal?.entries.values() ?? []), ...(aside?.entries.values() ?? [])])
    have.set(entry.digest, Math.max(entry.have, have.get(entry.digest) ?? 0));
  const slots = have.values().reduce((sum, bytes) => sum + bytes, 0);
  for (const [digest, bytes] of await readReadings(journalOf(path))) have.set(digest, bytes.length);
  const blobs = have.values().reduce((sum, bytes) => sum + bytes, 0);
  const seeds = await keptSeeds(path);
  const bytes = seeds.reduce((sum, { size }) => sum + size, blobs);
  if (bytes === 0) return undefined;
  const first = partialOf(journal?.split === undefined ? path : partName(path, 1));
  return { bytes, file: slots > 0 ? first : (seeds[0]?.file ?? journalOf(path)) };
}

/** Removes the journal of a try that left nothing else. */
export async function forgetBeginning(path: string): Promise<void> {
  const isPlanned = (await readJournal(journalOf(path))) !== undefined;
  if (!isPlanned && (await keptBytes(path)) === undefined) await rm(journalOf(path), { force: true });
}

/** Removes what earlier tries left, set aside or not, and the seeds that they saved. */
export async function discardAll(path: string): Promise<void> {
  await discard(path);
  await discard(asideOf(path));
  await removeKeptSeeds(path);
}

async function discard(path: string): Promise<void> {
  const journal = await readJournal(journalOf(path));
  await removePartials({ path, size: journal?.size ?? 1, split: journal?.split });
  await rm(journalOf(path), { force: true });
}

/**
 * Moves each blob that the writer still wants, as far as it is there, out of what was set aside, the last one first: what was
 * moved is synced, then cut off, so that both together need little more space than one of them.
 */
export async function salvage(path: string, writer: ArchiveWriter): Promise<void> {
  const aside = asideOf(path);
  const journal = await readJournal(journalOf(aside));
  if (!journal) return;
  const output = await Output.open(planOf(aside, journal), true);
  try {
    const entries = [...journal.entries.values()].sort((one, other) => other.at - one.at);
    let moved = 0;
    for (const entry of entries) {
      if (entry.have === 0 || !writer.wants(entry.digest)) continue;
      const bytes = readEntry(output, entry);
      // A blob that is not what the journal says is fetched again, like one that was never there.
      if (entry.have === entry.size) await writer.write(entry.digest, bytes, aside).catch(unlessDamaged);
      else await writer.keep(entry.digest, bytes);
      moved += entry.have;
      if (moved < cutSize) continue;
      await writer.sync();
      await output.cutAt(entry.at);
      moved = 0;
    }
  } finally {
    await output.close();
  }
  await discard(aside);
}

function unlessDamaged(error: unknown): void {
  if (!(error instanceof DrydockError) || error.kind !== "integrity") throw error;
}

async function* readEntry(output: Output, { at, have }: JournalEntry): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafe(Math.min(readSize, have));
  for (let done = 0; done < have; done += readSize) {
    const piece = buffer.subarray(0, Math.min(readSize, have - done));
    await output.read(piece, at + done);
    yield piece;
  }
}
