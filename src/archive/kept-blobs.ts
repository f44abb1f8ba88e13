/** Small blobs that an earlier try left whole, read while the new one is still being planned. */
import { type Digest, digestOf } from "../oci/digest.ts";
import { type Journal, journalOf, noteReading, readReadings } from "./journal.ts";
import { hasPartials, Output } from "./output.ts";

export interface KeptBlobs {
  /** whether there is none */
  isEmpty: boolean;
  /** The blob, verified; undefined if it is not there, not whole, not what it should be, or longer than `limit` bytes. */
  read(digest: Digest, limit: number): Promise<Buffer | undefined>;
  /** Keeps one that was fetched, until the bundle is finished. */
  add(digest: Digest, bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** @param journal what an earlier try of this output noted, if there was one */
export async function openKeptBlobs(path: string, journal: Journal | undefined): Promise<KeptBlobs> {
  const readings = await readReadings(journalOf(path));
  const slots = journal && (await openSlots(path, journal));
  return {
    isEmpty: readings.size === 0 && slots === undefined,
    async read(digest, limit) {
      const bytes = readings.get(digest) ?? (await slots?.read(digest, limit));
      const isRight = bytes !== undefined && bytes.length <= limit && digestOf(bytes) === digest;
      return isRight ? bytes : undefined;
    },
    async add(digest, bytes) {
      if (readings.has(digest)) return;
      readings.set(digest, bytes);
      await noteReading(journalOf(path), digest, bytes);
    },
    async close() {
      await slots?.output.close();
    },
  };
}

async function openSlots(path: string, { size, split, entries }: Journal) {
  if (!(await hasPartials({ path, size, split }))) return undefined;
  const output = await Output.open({ path, size, split }, true);
  const read = async (digest: Digest, limit: number) => {
    const entry = entries.get(digest);
    if (!entry || entry.have < entry.size || entry.size > limit) return undefined;
    const bytes = Buffer.alloc(entry.size);
    await output.read(bytes, entry.at);
    return bytes;
  };
  return { output, read };
}
