/**
 * Files and folders that are of no use once their work is over. Whoever makes one removes it; if the
 * process is interrupted before, they are removed as it ends. (Not after a `kill -9`: then the next run
 * finds them.)
 */
import { rmSync } from "node:fs";
import { rm } from "node:fs/promises";

const alive = new Set<string>();

export interface Temporary {
  path: string;
  /** Removes it; does nothing if it is gone. */
  remove(): Promise<void>;
  /** It has become something that stays, by a rename. */
  keep(): void;
}

/** @param path of what is about to be made */
export function temporary(path: string): Temporary {
  if (alive.size === 0) process.once("exit", removeAll);
  alive.add(path);
  const keep = () => {
    alive.delete(path);
    if (alive.size === 0) process.off("exit", removeAll);
  };
  const remove = async () => {
    await rm(path, { recursive: true, force: true });
    keep();
  };
  return { path, remove, keep };
}

function removeAll(): void {
  for (const path of alive) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // One that cannot be removed must not keep the others, or change how the process ends.
    }
  }
}
