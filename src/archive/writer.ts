/**
 * Writes a bundle into `NAME.partial`: the top and every header first, then each blob at its slot, in any
 * order and side by side, hashed as it arrives. The final name appears by rename when all slots are full.
 */
import { createHash, type Hash } from "node:crypto";
import { access, constants, type FileHandle, open, rename, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { DrydockError, errorCode, errorText, fileErrorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { type Temporary, temporary } from "../temporary.ts";
import type { BundleIndex } from "./bundle-index.ts";
import { blobName, endSize, headerOf, layOut, paddingOf, type Slot, topNames } from "./layout.ts";
import { type ImageName, ociImageIndex, ociLayoutFile } from "./oci-layout.ts";
import { formatSums } from "./sums.ts";

/** Chunks are gathered until they are so many bytes, then written at once. */
const writeSize = 1024 * 1024;

export interface ArchiveParts {
  index: BundleIndex;
  /** README.txt */
  readme: string;
  /** what the OCI index.json lists */
  images: ImageName[];
}

/** The whole archive before its first blob is there. */
export interface ArchivePlan {
  /** the bundle's digest, 64 digits */
  digest: string;
  /** of the archive, in bytes */
  size: number;
  /** everything before the first blob */
  top: Buffer;
  slots: Slot[];
  mtime: number;
}

export function planArchive({ index, readme, images }: ArchiveParts): ArchivePlan {
  const files = [
    { name: topNames.index, bytes: Buffer.from(`${JSON.stringify(index, null, 1)}\n`) },
    { name: topNames.readme, bytes: Buffer.from(readme) },
    { name: topNames.ociLayout, bytes: ociLayoutFile },
    { name: topNames.ociIndex, bytes: ociImageIndex(images) },
  ];
  const sums = Buffer.from(formatSums(files));
  const mtime = Math.floor(Date.parse(index.created) / 1000);
  const entries = [{ name: topNames.sums, bytes: sums }, ...files];
  const top = Buffer.concat(
    entries.flatMap(({ name, bytes }) => [
      headerOf(name, bytes.length, mtime),
      bytes,
      Buffer.alloc(paddingOf(bytes.length)),
    ]),
  );
  const { slots, end } = layOut(index.blobs, top.length);
  return { digest: createHash("sha256").update(sums).digest("hex"), size: end + endSize, top, slots, mtime };
}

export interface WriterOptions {
  /** whether a file that is there already is replaced */
  force: boolean;
  /** the finished file's permissions: 0600 if a secret is readable in it */
  mode: number;
  /** is called with each number of blob bytes written */
  advance: (bytes: number) => void;
}

export class ArchiveWriter {
  readonly #path: string;
  readonly #partial: Temporary;
  readonly #handle: FileHandle;
  readonly #plan: ArchivePlan;
  readonly #empty: Map<Digest, Slot>;
  readonly #options: WriterOptions;
  #unfinished: number;

  private constructor(path: string, handle: FileHandle, plan: ArchivePlan, options: WriterOptions) {
    this.#path = path;
    this.#partial = temporary(partialOf(path));
    this.#handle = handle;
    this.#plan = plan;
    this.#options = options;
    this.#empty = new Map(plan.slots.map((slot) => [slot.digest, slot]));
    this.#unfinished = plan.slots.length;
  }

  /**
   * Makes the partial file with everything but the blobs' bytes.
   * @throws DrydockError "usage" if the path exists and `force` is false, or the folder cannot be written to;
   *   "preflight" if the file system has too little space.
   */
  static async create(path: string, plan: ArchivePlan, options: WriterOptions): Promise<ArchiveWriter> {
    await checkOutput(path, options.force);
    await checkSpace(path, plan.size);
    let handle: FileHandle;
    try {
      handle = await open(partialOf(path), "w", 0o600);
    } catch (error) {
      throw cannotWrite(path, error);
    }
    const writer = new ArchiveWriter(path, handle, plan, options);
    try {
      await writer.#onDisk(async () => {
        await handle.truncate(plan.size);
        await handle.writev([plan.top], 0);
      });
    } catch (error) {
      await writer.abort();
      throw error;
    }
    return writer;
  }

  /** Whether nobody has begun to write this blob yet. */
  wants(digest: Digest): boolean {
    return this.#empty.has(digest);
  }

  /**
   * Fills a blob's slot; does nothing if that was begun before. The chunks become the writer's: a source
   * must not use their memory again.
   * @param where the source, for errors
   * @throws DrydockError "integrity" if size or digest are wrong, "host" if the disk fails or is full.
   */
  async write(digest: Digest, source: AsyncIterable<Uint8Array>, where: string): Promise<void> {
    const slot = this.#empty.get(digest);
    if (!slot) return;
    this.#empty.delete(digest);
    const hash = createHash("sha256");
    let gathered: Uint8Array[] = [headerOf(blobName(digest), slot.size, this.#plan.mtime)];
    let gatheredSize = 0;
    let at = slot.headerAt;
    let received = 0;
    let writing: Promise<void> = Promise.resolve();
    const flush = async () => {
      await writing;
      const [chunks, position, size] = [gathered, at, gatheredSize];
      at += chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      gathered = [];
      gatheredSize = 0;
      writing = this.#writeAll(chunks, position).then(() => this.#options.advance(size));
      // Its error is thrown by the next flush; until then nobody waits for it.
      writing.catch(() => {});
    };
    for await (const chunk of source) {
      received += chunk.length;
      if (received > slot.size) break;
      hash.update(chunk);
      gathered.push(chunk);
      gatheredSize += chunk.length;
      if (gatheredSize >= writeSize) await flush();
    }
    await flush();
    await writing;
    checkReceived(slot, received, hash, where);
    this.#unfinished--;
  }

  /** Syncs the file and gives it its name. @throws Error if a slot is empty: a bug. */
  async finish(): Promise<void> {
    if (this.#unfinished > 0) throw new Error(`${this.#unfinished} blobs of the plan were never written`);
    await this.#onDisk(async () => {
      await this.#handle.chmod(this.#options.mode);
      await this.#handle.sync();
      await this.#handle.close();
      await rename(this.#partial.path, this.#path);
      this.#partial.keep();
      const folder = await open(dirname(this.#path), "r");
      await folder.sync().finally(() => folder.close());
    });
  }

  /** Removes the partial file. */
  async abort(): Promise<void> {
    await this.#handle.close().catch(() => {});
    await this.#partial.remove().catch(() => {});
  }

  async #writeAll(chunks: Uint8Array[], position: number): Promise<void> {
    await this.#onDisk(async () => {
      let rest = chunks;
      for (let at = position; rest.length > 0; ) {
        const { bytesWritten } = await this.#handle.writev(rest, at);
        at += bytesWritten;
        rest = afterBytes(rest, bytesWritten);
      }
    });
  }

  async #onDisk(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const full = errorCode(error) === "ENOSPC" ? "the disk is full" : errorText(error);
      throw new DrydockError("host", `write bundle ${JSON.stringify(this.#path)}: ${full}`, {
        hint: `The bundle needs ${inBytes(this.#plan.size)} there: make room, or name a larger file system with -o.`,
        cause: error,
      });
    }
  }
}

export function partialOf(path: string): string {
  return `${path}.partial`;
}

const otherBytes =
  "Run it again; if it happens each time, the source or something on the way (a proxy, a mirror) changes the bytes.";

function checkReceived(slot: Slot, received: number, hash: Hash, where: string): void {
  if (received !== slot.size) {
    const got = received > slot.size ? "more" : `${received}`;
    throw new DrydockError(
      "integrity",
      `read ${where}: blob ${slot.digest} should have ${slot.size} bytes, got ${got}`,
      { hint: otherBytes },
    );
  }
  const found = `sha256:${hash.digest("hex")}`;
  if (found !== slot.digest) {
    throw new DrydockError("integrity", `read ${where}: blob ${slot.digest} has other bytes, of ${found}`, {
      hint: otherBytes,
    });
  }
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

/** @throws DrydockError "usage" if the path exists and `force` is false, or cannot be a bundle's. */
export async function checkOutput(path: string, force: boolean): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return undefined;
    throw cannotWrite(path, error);
  });
  if (found && !found.isFile()) {
    const what = found.isDirectory() ? "a folder" : "no regular file";
    throw new DrydockError("usage", `write bundle ${JSON.stringify(path)}: it is there, and is ${what}`, {
      hint: "Name a file with -o.",
    });
  }
  if (found && !force) {
    throw new DrydockError("usage", `write bundle ${JSON.stringify(path)}: it exists`, {
      hint: "Give --force to replace it, or another name with -o.",
    });
  }
  // Now, and not after hours of downloads.
  await access(dirname(path), constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw cannotWrite(path, error);
  });
}

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

async function checkSpace(path: string, needed: number): Promise<void> {
  const folder = dirname(path);
  const { bavail, bsize } = await statfs(folder).catch((error: unknown) => {
    throw cannotWrite(path, error);
  });
  if (bavail * bsize >= needed) return;
  throw new DrydockError(
    "preflight",
    `write bundle ${JSON.stringify(path)}: it needs ${inBytes(needed)}, ${JSON.stringify(folder)} has ${inBytes(bavail * bsize)} left`,
    { hint: "Give a path on a larger file system with -o." },
  );
}

/** 3,722,240 bytes */
function inBytes(count: number): string {
  return `${count.toLocaleString("en")} bytes`;
}
