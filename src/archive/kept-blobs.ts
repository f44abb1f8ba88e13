/** Small blobs that an earlier try left whole, read while the new one is still being planned. */
import { type Digest, digestOf } from "../oci/digest.ts";
import type { Journal } from "./journal.ts";
import { hasPartials, Output } from "./output.ts";

export interface KeptBlobs {
  /** The blob, verified; undefined if it is not there, not whole, or not what it should be. */
  read(digest: Digest): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

const nothing: KeptBlobs = { read: async () => undefined, close: async () => {} };

/** @param journal what an earlier try of this output noted, if there was one */
export async function openKeptBlobs(path: string, journal: Journal | undefined): Promise<KeptBlobs> {
  if (journal === undefined) return nothing;
  const { size, split, entries } = journal;
  if (!(await hasPartials({ path, size, split }))) return nothing;
  const output = await Output.open({ path, size, split }, true);
  return {
    read: async (digest) => {
      const entry = entries.get(digest);
      if (!entry || entry.have < entry.size) return undefined;
      const bytes = Buffer.alloc(entry.size);
      await output.read(bytes, entry.at);
      return digestOf(bytes) === digest ? bytes : undefined;
    },
    close: () => output.close(),
  };
}
