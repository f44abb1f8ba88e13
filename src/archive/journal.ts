/**
 * The journal of an unfinished bundle, NAME.tar.partial.journal: which slots are filled, and how far. It
 * is what makes the same command continue. Lines of JSON, each appended after the bytes it speaks of; what
 * it says is checked again before it is used, so a lost or torn line costs a download and nothing else. Until
 * the plan is made it says only when the build began, and holds what was read to make it.
 */
import { appendFile, type FileHandle, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Digest, isDigest } from "../oci/digest.ts";

export interface JournalEntry {
  digest: Digest;
  /** where the blob's bytes begin in the partial file */
  at: number;
  /** of the blob, in bytes */
  size: number;
  /** how many of its first bytes are there */
  have: number;
}

export interface Journal {
  /** when the first try began: the bundle's `created` */
  created: string;
  /** of the archive, in bytes */
  size: number;
  /** the size of the parts, if the archive is cut in some */
  split?: number;
  /** the last entry of each blob */
  entries: Map<Digest, JournalEntry>;
}

export function journalOf(path: string): string {
  return `${path}.partial.journal`;
}

/** @returns undefined if there is none, or none that can be used. @throws DrydockError "host" if it cannot be read. */
export async function readJournal(path: string): Promise<Journal | undefined> {
  const [head, ...lines] = await readLines(path);
  const created = createdIn(head);
  if (head === undefined || created === undefined || !isSize(head.size)) return undefined;
  const entries = new Map<Digest, JournalEntry>();
  for (const line of lines) if (isEntry(line)) entries.set(line.digest, line);
  return {
    created,
    size: head.size,
    entries,
    ...(isSize(head.split) ? { split: head.split } : {}),
  };
}

/** Begins a journal before the plan is made. @param created when the first try began */
export async function noteBeginning(path: string, created: string): Promise<void> {
  await writeFile(path, `${JSON.stringify({ created })}\n`, { mode: 0o600 }).catch(unlessFull);
}

/** Keeps an image manifest or a config that was fetched to make the plan, so that the next try need not. */
export async function noteReading(path: string, digest: Digest, bytes: Buffer): Promise<void> {
  // The line before may have been cut short.
  await appendFile(path, `\n${readingLine(digest, bytes)}`, { mode: 0o600 }).catch(unlessFull);
}

/** What was kept with noteReading, not verified. @throws as readJournal */
export async function readReadings(path: string): Promise<Map<Digest, Buffer>> {
  const found = new Map<Digest, Buffer>();
  for (const line of await readLines(path)) {
    const { digest, bytes } = line ?? {};
    if (typeof digest !== "string" || !isDigest(digest) || typeof bytes !== "string") continue;
    found.set(digest, Buffer.from(bytes, "base64"));
  }
  return found;
}

function readingLine(digest: Digest, bytes: Buffer): string {
  return `${JSON.stringify({ digest, bytes: bytes.toString("base64") })}\n`;
}

/** How much is lacking is known when the plan is made, and is said then. */
function unlessFull(error: unknown): void {
  if (errorCode(error) !== "ENOSPC") throw error;
}

/** When the first try began, of any journal; undefined if there is none. @throws as readJournal */
export async function readBeginning(path: string): Promise<string | undefined> {
  const [head] = await readLines(path);
  return createdIn(head);
}

async function readLines(path: string): Promise<(Record<string, unknown> | undefined)[]> {
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return "";
    throw new DrydockError("host", `read ${JSON.stringify(path)}: ${errorText(error)}`, { cause: error });
  });
  return text.split("\n").map(parseLine);
}

function createdIn(head: Record<string, unknown> | undefined): string | undefined {
  const created = head?.created;
  return typeof created === "string" && !Number.isNaN(Date.parse(created)) ? created : undefined;
}

/** A line that was cut short by a crash is none. */
function parseLine(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function isEntry(line: Record<string, unknown> | undefined): line is Record<string, unknown> & JournalEntry {
  if (typeof line?.digest !== "string" || !isDigest(line.digest)) return false;
  const { at, size, have } = line;
  return isSize(at) && isSize(size) && isSize(have) && have <= size;
}

function isSize(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** Appends to a journal. */
export class JournalWriter {
  readonly #path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  /** Begins a journal with the entries that are known, replacing the one that is there but for its readings. */
  static async begin(path: string, journal: Journal): Promise<JournalWriter> {
    const { created, size, split } = journal;
    const readings = await readReadings(path);
    const lines = [{ created, size, ...(split === undefined ? {} : { split }) }, ...journal.entries.values()];
    const temporary = `${path}.new`;
    const handle = await open(temporary, "w", 0o600);
    const text = lines.map((line) => `${JSON.stringify(line)}\n`);
    for (const [digest, bytes] of readings) text.push(readingLine(digest, bytes));
    await handle.writeFile(text.join(""));
    await rename(temporary, path);
    return new JournalWriter(path, handle);
  }

  async note(entry: JournalEntry): Promise<void> {
    await this.#handle.appendFile(`${JSON.stringify(entry)}\n`);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** The bundle is finished, or begins again. */
  async remove(): Promise<void> {
    await this.#handle.close().catch(() => {});
    await rm(this.#path, { force: true });
  }
}
