/**
 * What an earlier try left, where the plan has changed so that its blobs stand elsewhere now: it is set
 * aside as `NAME.old.partial`, and the blobs that the new plan has too are taken from there.
 */
import { rename, rm } from "node:fs/promises";
import { DrydockError } from "../errors.ts";
import { type Journal, type JournalEntry, journalOf, readJournal } from "./journal.ts";
import { Output, removePartials, renamePartials } from "./output.ts";
import type { ArchiveWriter } from "./writer.ts";

const readSize = 1024 * 1024;

function asideOf(path: string): string {
  return `${path}.old`;
}

/** Gives what is there another name. What was set aside before is lost. */
export async function setAside(path: string, journal: Journal): Promise<void> {
  await discard(asideOf(path));
  await renamePartials({ path, size: journal.size, split: journal.split }, asideOf(path));
  await rename(journalOf(path), journalOf(asideOf(path)));
}

/** Removes what earlier tries left, set aside or not. */
export async function discardAll(path: string): Promise<void> {
  await discard(path);
  await discard(asideOf(path));
}

async function discard(path: string): Promise<void> {
  const journal = await readJournal(journalOf(path));
  await removePartials({ path, size: journal?.size ?? 1, split: journal?.split });
  await rm(journalOf(path), { force: true });
}

/** Copies each whole blob that the writer still wants out of what was set aside, and removes that. */
export async function salvage(path: string, writer: ArchiveWriter): Promise<void> {
  const aside = asideOf(path);
  const journal = await readJournal(journalOf(aside));
  if (!journal) return;
  const output = await Output.open({ path: aside, size: journal.size, split: journal.split }, true);
  try {
    for (const entry of journal.entries.values()) {
      if (entry.have < entry.size || !writer.wants(entry.digest)) continue;
      // A blob that is not what the journal says is fetched again, like one that was never there.
      await writer.write(entry.digest, readEntry(output, entry), aside).catch(unlessDamaged);
    }
  } finally {
    await output.close();
  }
  await discard(aside);
}

function unlessDamaged(error: unknown): void {
  if (!(error instanceof DrydockError) || error.kind !== "integrity") throw error;
}

async function* readEntry(output: Output, { at, size }: JournalEntry): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < size; done += readSize) {
    const buffer = Buffer.allocUnsafe(Math.min(readSize, size - done));
    await output.read(buffer, at + done);
    yield buffer;
  }
}
