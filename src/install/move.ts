/** Giving a synced file another place. */
import { copyFile, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errorCode } from "../errors.ts";

/** By rename; by a copy where the storage is a file system of its own and the place is not in it. */
export async function move(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (errorCode(error) !== "EXDEV") throw error;
    await copy(from, to);
    await rm(from);
  }
}

/** Where a copy lies until it is whole. */
export function copyOnItsWay(to: string): string {
  return join(dirname(to), `.${basename(to)}.incoming`);
}

/** Copies a synced file to another place: under a temporary name beside it, synced, renamed. */
export async function copy(from: string, to: string): Promise<void> {
  const temporary = copyOnItsWay(to);
  try {
    await copyFile(from, temporary);
    const file = await open(temporary, "r+");
    await file.sync().finally(() => file.close());
    await rename(temporary, to);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
}
