/**
 * One bundle's keys on disk, on the connected machine:
 *
 *   STORE/NAME/              0700   one generation: the four files belong together
 *     ca.pem  ca-key.pem  registry.pem  registry-key.pem     0600
 *   STORE/.NAME~new-XXXXXX/         a generation being written
 *   STORE/.NAME~next/               a complete one, about to take the place of NAME
 *   STORE/.NAME~old/                the one it replaces, about to be removed
 *   STORE/.NAME~retired-XXXXXXXX/   one with another CA, kept: clients may still trust it
 *
 * (A bundle's name has no "~", so no bundle's folders are taken for another's.)
 *
 * A generation is replaced as a whole, by renaming folders, so that files of two generations never stand
 * together. Everything here is called while the lock of lock.ts is held.
 */
import type { Stats } from "node:fs";
import { chmod, constants, lstat, mkdir, mkdtemp, open, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { DrydockError, errorCode, errorText } from "../errors.ts";

/** The names of cfssl: X.pem, X-key.pem. */
const fileNames = {
  ca: "ca.pem",
  caKey: "ca-key.pem",
  server: "registry.pem",
  serverKey: "registry-key.pem",
} as const;

type Part = keyof typeof fileNames;
const allParts = Object.keys(fileNames) as Part[];

/** PEM texts. */
export type Generation = Record<Part, string>;

/** Makes the folder that holds the bundles' folders. @throws DrydockError "input" if others can change it. */
export async function prepareStore(store: string): Promise<void> {
  await mkdir(store, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw failure(store, error);
  });
  const stats = await stat(store);
  const owners = [0, process.geteuid?.()];
  const othersWrite = (stats.mode & 0o022) !== 0 && (stats.mode & 0o1000) === 0;
  if (!stats.isDirectory() || !owners.includes(stats.uid) || othersWrite) {
    throw new DrydockError(
      "input",
      `key store ${JSON.stringify(store)}: wanted a folder that only we can change`,
      {
        hint: `It must belong to you, and no one else may write to it: chmod 700 ${store}`,
      },
    );
  }
}

/** Ends what a killed process left half done. */
export async function recover(store: string, name: string): Promise<void> {
  const next = join(store, `.${name}~next`);
  if ((await exists(next)) && !(await exists(join(store, name)))) {
    await rename(next, join(store, name));
    await syncFolder(store);
  }
  await discard(store, name);
  for (const entry of await readdir(store)) {
    const unfinished = entry === `.${name}~next` || entry.startsWith(`.${name}~new-`);
    if (unfinished) await rm(join(store, entry), { recursive: true });
  }
}

/** Removes the generation that was replaced. What else stood in its folder is not ours and moves on. */
async function discard(store: string, name: string): Promise<void> {
  const old = join(store, `.${name}~old`);
  const known: string[] = Object.values(fileNames);
  for (const entry of (await readdir(old).catch(ignoreMissing)) ?? []) {
    if (!known.includes(entry)) await rename(join(old, entry), join(store, name, entry));
  }
  await rm(old, { recursive: true, force: true });
}

/**
 * What is kept, as far as it is there. A mode that lets others in is put right.
 * @throws DrydockError "input" if something there is not ours.
 */
export async function readGeneration(folder: string): Promise<Partial<Generation>> {
  const stats = await lstat(folder).catch(ignoreMissing);
  if (stats === undefined) return {};
  if (!stats.isDirectory()) throw notOurs(folder, "it is no folder");
  checkOwner(folder, stats);
  if ((stats.mode & 0o077) !== 0) await chmod(folder, 0o700);
  const kept: Partial<Generation> = {};
  for (const part of allParts) {
    const text = await readOwn(join(folder, fileNames[part]));
    if (text !== undefined) kept[part] = text;
  }
  return kept;
}

async function readOwn(path: string): Promise<string | undefined> {
  // NONBLOCK: opening a named pipe must not wait for a writer
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags)
    .catch(ignoreMissing)
    .catch((error: unknown) => {
      throw notOurs(path, errorCode(error) === "ELOOP" ? "it is a symbolic link" : errorText(error), error);
    });
  if (file === undefined) return undefined;
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw notOurs(path, "it is no file");
    checkOwner(path, stats);
    if ((stats.mode & 0o077) !== 0) await file.chmod(0o600);
    return await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

/**
 * Puts a generation in the place of the one that is there.
 * @param retired names what is there, which is then kept under that name instead of being removed.
 */
export async function writeGeneration(
  store: string,
  name: string,
  generation: Generation,
  retired?: string,
): Promise<void> {
  try {
    const fresh = await mkdtemp(join(store, `.${name}~new-`));
    for (const part of allParts) await writeSynced(join(fresh, fileNames[part]), generation[part]);
    await syncFolder(fresh);
    const next = join(store, `.${name}~next`);
    await rename(fresh, next);
    await replace(store, name, next, retired);
  } catch (error) {
    await recover(store, name).catch(() => {}); // the first error is the one to tell
    throw failure(join(store, name), error);
  }
}

async function replace(
  store: string,
  name: string,
  next: string,
  retired: string | undefined,
): Promise<void> {
  const folder = join(store, name);
  const aside = join(store, retired === undefined ? `.${name}~old` : retiredName(name, retired));
  if (await exists(folder)) {
    await rm(aside, { recursive: true, force: true });
    await rename(folder, aside);
  }
  await rename(next, folder);
  await syncFolder(store);
  await discard(store, name);
}

export function retiredName(name: string, retired: string): string {
  return `.${name}~retired-${retired}`;
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(ignoreMissing)) !== undefined;
}

function ignoreMissing(error: unknown): undefined {
  if (errorCode(error) === "ENOENT") return undefined;
  throw error;
}

function checkOwner(path: string, stats: Stats): void {
  const us = process.geteuid?.();
  if (us !== undefined && stats.uid !== us)
    throw notOurs(path, `it belongs to user ${stats.uid}, and we are ${us}`);
}

function notOurs(path: string, reason: string, cause?: unknown): DrydockError {
  return new DrydockError("input", `key store ${JSON.stringify(path)}: ${reason}`, {
    hint: "Keys are only taken from files of your own. Was the last bundle made by another user, or with sudo?",
    cause,
  });
}

function failure(path: string, cause: unknown): DrydockError {
  return new DrydockError("host", `write key store ${JSON.stringify(path)}: ${errorText(cause)}`, { cause });
}
