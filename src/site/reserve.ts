/**
 * Room that is kept while an action changes what is served. If the disk gets full meanwhile, it is given up, and the
 * action can still be completed, or all be put back.
 */
import { randomBytes } from "node:crypto";
import { rm, rmdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { cannotWrite, makeFolder, writeDurably } from "./durable.ts";
import type { SiteLayout } from "./layout.ts";

/** @param bytes that the action will still write, besides tags @throws DrydockError "host" */
export async function makeReserve({ reserves }: SiteLayout, bytes: number): Promise<void> {
  const devices = new Set<number>();
  for (const path of reserves) {
    await makeFolder(dirname(path));
    const { dev } = await stat(dirname(path));
    if (devices.has(dev)) continue;
    devices.add(dev);
    // Not zeros: a file system may need no room for these.
    await writeDurably(path, randomBytes(tagsAtOnce + bytes), { mode: 0o600 });
  }
}

/** For the new values of some tags at a time: each gives back the room of the old one. */
const tagsAtOnce = 256 * 1024;

/** Does nothing if there is none. @throws DrydockError "host" */
export async function freeReserve({ reserves, incoming }: SiteLayout): Promise<void> {
  for (const path of reserves) {
    await rm(path, { force: true }).catch((error: unknown) => {
      throw cannotWrite(path, error);
    });
  }
  await rmdir(incoming).catch(() => {});
}
