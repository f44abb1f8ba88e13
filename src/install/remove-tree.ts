/** Removing what stands at a path, whatever it is: a mount point in it is emptied and stays. */
import { readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "../errors.ts";

/**
 * It need not be there. A symbolic link is removed, not followed.
 * @returns the mount points that stay, empty @throws the system's error if something cannot be removed
 */
export async function removeTree(path: string): Promise<string[]> {
  try {
    await rm(path, { recursive: true, force: true });
    return [];
  } catch (error) {
    if (errorCode(error) !== "EBUSY") throw error;
  }
  return await emptied(path);
}

/** Empties a folder and removes it, unless it is a mount point, or one is left in it. @returns as removeTree */
async function emptied(path: string): Promise<string[]> {
  const left: string[] = [];
  for (const name of await readdir(path)) left.push(...(await removeTree(join(path, name))));
  return [...left, ...(await removeEmpty(path, left.length > 0))];
}

/** @param keeps whether something is left in it @returns the path itself if it is a mount point */
export async function removeEmpty(path: string, keeps = false): Promise<string[]> {
  try {
    await rmdir(path);
    return [];
  } catch (error) {
    if (errorCode(error) === "EBUSY") return [path];
    if (errorCode(error) === "ENOENT" || (keeps && errorCode(error) === "ENOTEMPTY")) return [];
    throw error;
  }
}
