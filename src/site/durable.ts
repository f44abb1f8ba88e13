/**
 * Files and folders that are there, whole, after a power cut: written under a temporary name beside the
 * final one, synced, renamed, and the folder synced too, since the name stands in the folder.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import pLimit from "p-limit";
import { DrydockError, errorCode, errorText } from "../errors.ts";

/**
 * Writes `path` so that it holds either what it held before or all of `content`. The folder must exist.
 *
 * @param mode the file's permissions, whatever the umask; 0o600 for keys.
 * @throws DrydockError "host" naming the path (disk full, read-only file system, no such folder).
 */
export async function writeDurably(
  path: string,
  content: Uint8Array | string,
  options: { mode?: number } = {},
): Promise<void> {
  const mode = options.mode ?? 0o644;
  const temporary = join(dirname(path), temporaryName(basename(path)));
  try {
    // 0600 until all is written: a key is never readable for others, not even for a moment.
    const file = await open(temporary, "wx", 0o600);
    try {
      await file.writeFile(content);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw cannotWrite(path, error);
  }
}

const temporaryName = (name: string) => `.${name}.${randomBytes(6).toString("hex")}`;
const isTemporary = (name: string) => /^\..+\.[0-9a-f]{12}$/.test(name);

/**
 * Removes what writeDurably left in a folder, which need not be there, where it was killed in the middle.
 * Nobody else may be writing there. @throws DrydockError "host"
 */
export async function removeTemporaries(folder: string): Promise<void> {
  for (const name of (await namesIn(folder)).filter(isTemporary)) {
    const path = join(folder, name);
    try {
      await rm(path, { force: true });
    } catch (error) {
      throw cannotWrite(path, error);
    }
  }
}

/** What a folder holds; nothing if there is none. @throws DrydockError "host" */
export async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT" || errorCode(error) === "ENOTDIR") return [];
    throw new DrydockError("host", `read "${folder}": ${errorText(error)}`, { cause: error });
  });
}

/**
 * Makes a folder and those above it that are missing, and syncs the names that were made.
 *
 * @param mode the permissions of those that are made; one that exists keeps its own.
 * @throws DrydockError "host" naming the path.
 */
export async function makeFolder(path: string, options: { mode?: number } = {}): Promise<void> {
  const mode = options.mode ?? 0o755;
  try {
    const first = await mkdir(path, { recursive: true, mode });
    if (first === undefined) return;
    for (let made = path; ; made = dirname(made)) {
      await syncFolder(dirname(made));
      if (made === first || made === dirname(made)) return;
    }
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/**
 * Makes a folder, without syncing: adds to `unsynced` every folder that must be synced before the folder
 * and what is put into it are sure to be found again.
 * @throws DrydockError "host" naming the path.
 */
export async function makeFolderUnsynced(path: string, unsynced: Set<string>): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true });
    unsynced.add(path);
    if (first === undefined) return;
    for (let made = path; made.length >= first.length; made = dirname(made)) unsynced.add(dirname(made));
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Puts the names in a folder on disk (fsync of a directory, as in fsync(2)). */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * Puts the names in many folders on disk, some at a time: one journal commit then serves several.
 * @throws DrydockError "host" naming the folder.
 */
export async function syncFolders(paths: Iterable<string>): Promise<void> {
  const limit = pLimit(8);
  const sync = async (path: string) => {
    try {
      await syncFolder(path);
    } catch (error) {
      throw cannotWrite(path, error);
    }
  };
  await Promise.all([...paths].map((path) => limit(() => sync(path))));
}

const goesOn = "When it can be written to again, run the same command again: it goes on.";

/** @returns DrydockError "host" that names the path and says what to do */
export function cannotWrite(path: string, error: unknown): DrydockError {
  const hints: Record<string, string> = {
    ENOSPC: "The file system is full: free some space and run the same command again.",
    EDQUOT: "A quota is used up: free some space and run the same command again.",
    EROFS: `The file system is mounted read-only; \`dmesg\` shows whether its disk has failed. ${goesOn}`,
    EIO: `The disk has failed, or the file system on it: \`dmesg\` shows more. ${goesOn}`,
    EACCES: "Run the command as root, or as a user that may write there.",
    EPERM: "Run the command as root, or as a user that may write there.",
  };
  return new DrydockError("host", `write "${path}": ${errorText(error)}`, {
    hint: hints[errorCode(error) ?? ""],
    cause: error,
  });
}
