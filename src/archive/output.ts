/**
 * The file that an archive is written into, or the parts that are the archive cut in pieces. Until it is
 * finished every file's name ends in `.partial`.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, open, rename, rm, stat, statfs, writeFile } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { isAligned, openDirect, writeDirectly } from "../direct.ts";
import { DrydockError, errorCode, fileErrorText } from "../errors.ts";
import { type PartList, partListName, partName } from "./parts.ts";

interface OutputFile {
  /** its name when it is finished */
  path: string;
  /** the first byte of the archive that stands in it */
  start: number;
  /** in bytes */
  size: number;
  handle: FileHandle;
  /** the same for direct I/O, where that is to be had */
  direct: FileHandle | undefined;
}

export interface OutputPlan {
  path: string;
  /** of the archive, in bytes */
  size: number;
  /** the largest size of a part; undefined: one file */
  split?: number | undefined;
}

export function partialOf(path: string): string {
  return `${path}.partial`;
}

export class Output {
  readonly #plan: OutputPlan;
  readonly #files: OutputFile[];

  private constructor(plan: OutputPlan, files: OutputFile[]) {
    this.#plan = plan;
    this.#files = files;
  }

  /**
   * Opens the partial files, each with its size. @param keep whether bytes that are there stay
   * @throws DrydockError "usage" if the folder cannot be written to, "host" if the disk fails.
   */
  static async open(plan: OutputPlan, keep: boolean): Promise<Output> {
    const files: OutputFile[] = [];
    const output = new Output(plan, files);
    try {
      for (const { path, start, size } of layOutFiles(plan)) {
        const flags = constants.O_RDWR | constants.O_CREAT | (keep ? 0 : constants.O_TRUNC);
        const handle = await open(partialOf(path), flags, 0o600);
        const file: OutputFile = { path, start, size, handle, direct: undefined };
        files.push(file);
        await handle.truncate(size);
        file.direct = await openDirect(partialOf(path), "write");
      }
    } catch (error) {
      await output.close();
      if (!keep) await removePartials(plan);
      throw errorCode(error) === "EFBIG" ? tooLarge(plan, error) : cannotWrite(plan.path, error);
    }
    return output;
  }

  /** Writes chunks one after the other from a byte of the archive on. */
  async write(chunks: Uint8Array[], position: number): Promise<void> {
    let rest = chunks;
    for (let at = position; rest.length > 0; ) {
      const file = this.#fileAt(at);
      const fitting = takeBytes(rest, file.start + file.size - at);
      const bytesWritten =
        (await writeDirectly(file.direct, fitting[0], at - file.start)) ||
        (await file.handle.writev(upToAligned(fitting), at - file.start)).bytesWritten;
      at += bytesWritten;
      rest = afterBytes(rest, bytesWritten);
    }
  }

  /** Fills the buffer from a byte of the archive on. @throws Error if the archive ends before. */
  async read(buffer: Buffer, position: number): Promise<void> {
    for (let done = 0; done < buffer.length; ) {
      const at = position + done;
      const file = this.#fileAt(at);
      const length = Math.min(buffer.length - done, file.start + file.size - at);
      const { bytesRead } = await file.handle.read(buffer, done, length, at - file.start);
      if (bytesRead === 0) throw new Error(`${partialOf(file.path)} ends at byte ${at - file.start}`);
      done += bytesRead;
    }
  }

  async sync(): Promise<void> {
    await Promise.all(this.#files.map(({ handle }) => handle.sync()));
  }

  /** Gives back the space of all that stands from a byte on; reading it is an error from then on. */
  async cutAt(position: number): Promise<void> {
    for (const { start, size, handle } of this.#files) {
      const rest = Math.max(0, position - start);
      if (rest < size) await handle.truncate(rest);
    }
  }

  /** Syncs everything and gives the files their names; of parts, writes their list first. */
  async finish(mode: number, read: (bytes: number) => void): Promise<void> {
    for (const { handle } of this.#files) {
      await handle.chmod(mode & ~process.umask());
      await handle.sync();
    }
    const { path: whole, split } = this.#plan;
    // The list gets its name last: where it is missing, the set is not finished (see reopenParts).
    await rm(partListName(whole), { force: true });
    if (split !== undefined) await this.#writePartList(read);
    await this.close();
    for (const { path } of this.#files) await rename(partialOf(path), path);
    if (split !== undefined) await rename(partialOf(partListName(whole)), partListName(whole));
    await this.#removeReplaced();
    const folder = await open(dirname(this.#plan.path), "r");
    await folder.sync().finally(() => folder.close());
  }

  async close(): Promise<void> {
    const handles = this.#files.flatMap(({ handle, direct }) => [handle, ...(direct ? [direct] : [])]);
    await Promise.all(handles.map((handle) => handle.close().catch(() => {})));
  }

  #fileAt(position: number): OutputFile {
    const { split = Number.POSITIVE_INFINITY } = this.#plan;
    const file = this.#files[Math.floor(position / split)];
    if (!file || position >= file.start + file.size)
      throw new Error(`byte ${position} is beyond the archive`);
    return file;
  }

  async #writePartList(read: (bytes: number) => void): Promise<void> {
    const list: PartList = { formatVersion: 1, size: this.#plan.size, parts: [] };
    for (const { path, size, handle } of this.#files) {
      const hash = createHash("sha256");
      const stream = handle.createReadStream({ start: 0, autoClose: false, highWaterMark: 1024 * 1024 });
      for await (const chunk of stream) {
        hash.update(chunk);
        read(chunk.length);
      }
      list.parts.push({ name: basename(path), size, sha256: hash.digest("hex") });
    }
    const path = partialOf(partListName(this.#plan.path));
    await writeFile(path, `${JSON.stringify(list, null, 2)}\n`, { flush: true });
  }

  /** What a bundle of the same name was before, in one file or in more parts, would be read in its place. */
  async #removeReplaced(): Promise<void> {
    const { path, split } = this.#plan;
    if (split !== undefined) await rm(path, { force: true });
    const first = split === undefined ? 1 : this.#files.length + 1;
    for (let number = first; await isFile(partName(path, number)); number++) await rm(partName(path, number));
  }
}

function layOutFiles({ path, size, split }: OutputPlan): Omit<OutputFile, "handle" | "direct">[] {
  if (split === undefined) return [{ path, start: 0, size }];
  return Array.from({ length: Math.ceil(size / split) }, (_, number) => ({
    path: partName(path, number + 1),
    start: number * split,
    size: Math.min(split, size - number * split),
  }));
}

/** Removes the partial files of a plan, whether or not all are there. */
export async function removePartials(plan: OutputPlan): Promise<void> {
  for (const { path } of layOutFiles(plan)) await rm(partialOf(path), { force: true });
  await rm(partialOf(partListName(plan.path)), { force: true });
}

/** Whether any of a plan's partial files is there. */
export async function hasPartials(plan: OutputPlan): Promise<boolean> {
  for (const { path } of layOutFiles(plan)) if (await isFile(partialOf(path))) return true;
  return false;
}

/** Makes parts partial again that have their names already, of a set whose list has not. */
export async function reopenParts(plan: OutputPlan): Promise<void> {
  if (plan.split === undefined || (await isFile(partListName(plan.path)))) return;
  for (const { path } of layOutFiles(plan)) {
    if (!(await isFile(partialOf(path))) && (await isFile(path))) await rename(path, partialOf(path));
  }
}

async function isFile(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Gives the partial files of one path the names of another's, to read from them what still fits. */
export async function renamePartials(plan: OutputPlan, to: string): Promise<void> {
  const names = layOutFiles({ ...plan, path: to });
  for (const [number, { path }] of layOutFiles(plan).entries()) {
    // One that is missing has been renamed already, before a crash.
    await rename(partialOf(path), partialOf(names[number]?.path ?? to)).catch((error: unknown) => {
      if (errorCode(error) !== "ENOENT") throw error;
    });
  }
}

/**
 * @throws DrydockError "usage" if the path, or a part of it, exists and `force` is false, or cannot be a
 *   bundle's.
 */
export async function checkOutput(path: string, force: boolean, split?: number): Promise<void> {
  for (const one of split === undefined ? [path] : [path, partName(path, 1), partListName(path)]) {
    const found = await stat(one).catch((error: unknown) => {
      if (errorCode(error) === "ENOENT") return undefined;
      throw cannotWrite(one, error);
    });
    if (found && !found.isFile()) {
      const what = found.isDirectory() ? "a folder" : "no regular file";
      throw new DrydockError("usage", `write bundle ${JSON.stringify(one)}: it is there, and is ${what}`, {
        hint: "Name a file with -o.",
      });
    }
    if (found && !force) {
      throw new DrydockError("usage", `write bundle ${JSON.stringify(one)}: it exists`, {
        hint: "Give --force to replace it, or another name with -o.",
      });
    }
  }
  // Now, and not after hours of downloads.
  await access(dirname(path), constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw cannotWrite(path, error);
  });
}

/**
 * @param aside what an earlier try left, whose space becomes free as its bytes are moved
 * @throws DrydockError "preflight" if the file system has too little space for what is not there yet.
 */
export async function checkSpace(plan: OutputPlan, aside?: OutputPlan): Promise<void> {
  const folder = dirname(plan.path);
  const { bavail, bsize } = await statfs(folder).catch((error: unknown) => {
    throw cannotWrite(plan.path, error);
  });
  const there = (await spaceOf(plan)) + (aside === undefined ? 0 : await spaceOf(aside));
  const needed = Math.max(0, plan.size - there);
  if (bavail * bsize >= needed) return;
  throw new DrydockError(
    "preflight",
    `write bundle ${JSON.stringify(plan.path)}: it needs ${inBytes(needed)}, ${JSON.stringify(folder)} has ${inBytes(bavail * bsize)} left`,
    { hint: "Give a path on a larger file system with -o." },
  );
}

/** Of what is there of its partial files, in bytes. */
async function spaceOf(plan: OutputPlan): Promise<number> {
  let there = 0;
  for (const { path } of layOutFiles(plan)) {
    there += await stat(partialOf(path)).then(
      ({ blocks }) => blocks * 512,
      () => 0,
    );
  }
  return there;
}

/** @returns "usage" where the path is at fault, else "host" */
function cannotWrite(path: string, cause: unknown): DrydockError {
  const code = errorCode(cause) ?? "";
  const reason =
    code === "ENOENT" ? `there is no folder ${JSON.stringify(dirname(path))}` : fileErrorText(cause);
  return new DrydockError(
    /^(ENOENT|ENOTDIR|EACCES|EPERM|EROFS|ELOOP|ENAMETOOLONG)$/.test(code) ? "usage" : "host",
    `write bundle ${JSON.stringify(path)}: ${reason}`,
    {
      hint: "Name a path in a folder that you may write to with -o.",
      cause,
    },
  );
}

/** FAT32 is what sticks come with. */
function tooLarge({ path, size, split }: OutputPlan, cause: unknown): DrydockError {
  const wanted = inBytes(Math.min(size, split ?? size));
  return new DrydockError(
    "preflight",
    `write bundle ${JSON.stringify(path)}: its file system holds no file of ${wanted}`,
    { hint: "Cut the bundle into parts: --split fat32.", cause },
  );
}

export function inBytes(count: number): string {
  return `${count.toLocaleString("en")} bytes`;
}

/** All up to the next chunk that may be written directly. */
function upToAligned(chunks: Uint8Array[]): Uint8Array[] {
  const next = chunks.findIndex((chunk, number) => number > 0 && isAligned(chunk));
  return next < 0 ? chunks : chunks.slice(0, next);
}

/** The first `count` bytes of a list of chunks. */
function takeBytes(chunks: Uint8Array[], count: number): Uint8Array[] {
  const taken: Uint8Array[] = [];
  let left = count;
  for (const chunk of chunks) {
    if (left === 0) break;
    taken.push(chunk.subarray(0, left));
    left -= Math.min(left, chunk.length);
  }
  return taken;
}

/** What is left of a list of chunks after its first `count` bytes. */
function afterBytes(chunks: Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  let first = 0;
  for (const chunk of chunks) {
    if (left < chunk.length) break;
    left -= chunk.length;
    first++;
  }
  const rest = chunks.slice(first);
  if (left > 0 && rest[0]) rest[0] = rest[0].subarray(left);
  return rest;
}
