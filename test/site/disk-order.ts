/** Watches in which order a process writes, syncs and renames. The calls themselves are the real ones. */
import fs, { type FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

export type DiskEvent =
  /** of a file's content or a folder's names: after it, they survive a power cut */
  { kind: "sync" | "write"; path: string } | { kind: "rename"; from: string; path: string };

/** Runs `work` and returns what it did, in order; an event stands where its call was done. */
export async function diskEvents(work: () => Promise<unknown>): Promise<DiskEvent[]> {
  const events: DiskEvent[] = [];
  const { open, rename } = fs;
  const watchedOpen = async (...args: Parameters<typeof open>): Promise<FileHandle> => {
    const handle = await open(...args);
    const path = String(args[0]);
    for (const [method, kind] of [
      ["sync", "sync"],
      ["write", "write"],
      ["writeFile", "write"],
    ] as const) {
      const real = (handle[method] as (...args: unknown[]) => Promise<unknown>).bind(handle);
      Object.assign(handle, {
        [method]: async (...given: unknown[]) => {
          const result = await real(...given);
          events.push({ kind, path });
          return result;
        },
      });
    }
    return handle;
  };
  const watchedRename = async (from: string, path: string) => {
    await rename(from, path);
    events.push({ kind: "rename", from, path });
  };
  Object.assign(fs, { open: watchedOpen, rename: watchedRename });
  syncBuiltinESMExports();
  try {
    await work();
  } finally {
    Object.assign(fs, { open, rename });
    syncBuiltinESMExports();
  }
  return events;
}
