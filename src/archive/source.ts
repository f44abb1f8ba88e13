/**
 * Where a reader's bytes come from: a file, read at any position, or a pipe, read forwards. Both look the
 * same to the reader, which asks for rising positions only when `sequential` is true.
 */

import { read } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { alignedBuffers, directUnit, isAligned, openDirect } from "../direct.ts";
import { DrydockError, errorCode, errorText, fileErrorText } from "../errors.ts";
import type { ByteRange, PartRange } from "./damage.ts";

/** What direct reading aligns to here: an archive is made of such blocks, and most disks are. */
const blockSize = 512;

export interface ByteSource {
  /** as the user named it, for errors */
  name: string;
  /** True for a pipe: positions may only rise, and one reader at a time. */
  sequential: boolean;
  /** in bytes; undefined for a pipe */
  readonly size: number | undefined;
  /** Fills `buffer` from `position` on; returns how many bytes there were before the end. */
  readAt(position: number, buffer: Buffer): Promise<number>;
  /** Of a bundle in parts: in which of them these bytes stand, and where there. */
  partsOf?(range: ByteRange): PartRange[];
  /** Reads these parts, and gives the names of those that are not what the list of parts says. */
  wrongParts?(asked: ReadonlySet<string>): Promise<ReadonlySet<string>>;
  /**
   * Of a bundle in parts: what is known not to be there, in order, with the error that reading it throws.
   * @param size of the archive, as its index says; without a list of the parts it shows what each should hold
   */
  lacking?(size: number): LackingBytes[];
  /** Whether the disk still gives anything, asked past the system's cache; true where that cannot be asked. */
  answers?(): Promise<boolean>;
  close(): Promise<void>;
}

export interface LackingBytes extends ByteRange {
  error: DrydockError;
}

/**
 * What the system says when a disk, a stick or a cable does not give back what was written: the page cache
 * knows only EIO, block devices are more exact (Linux, block/blk-core.c), file systems find their own damage.
 */
const mediumCodes = new Set([
  ...["EIO", "ENODATA", "EILSEQ", "EREMOTEIO", "ETIMEDOUT", "ENOLINK", "EBADMSG", "EUCLEAN"],
  ...["ENODEV", "ENXIO", "ENOMEDIUM"],
]);

/** Whether bytes could not be read because of where they are kept, of an error that readAt threw. */
export function isMediumError(error: unknown): error is DrydockError {
  return error instanceof DrydockError && mediumCodes.has(errorCode(error.cause) ?? "");
}

/** @throws DrydockError "input" if the file cannot be opened, "host" if it cannot be read. */
export async function openFile(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    throw new DrydockError("input", `open bundle ${JSON.stringify(path)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  }
  const stat = await handle.stat();
  if (!stat.isFile()) {
    await handle.close();
    const isFolder = stat.isDirectory();
    const what = isFolder ? "a folder" : "not a regular file";
    throw new DrydockError("input", `open bundle ${JSON.stringify(path)}: it is ${what}`, {
      hint: isFolder ? "Name the bundle's file in it." : "To read from a pipe, give - as the bundle.",
    });
  }
  const direct = await openDirect(path, "read");
  const readAt = async (position: number, buffer: Buffer) => {
    if (direct && isAligned(buffer) && position % blockSize === 0 && buffer.length % blockSize === 0) {
      const got = await direct.read(buffer, 0, buffer.length, position).catch(() => undefined);
      if (got?.bytesRead === buffer.length) return got.bytesRead;
      // Another alignment is wanted here, or the bytes are not to be had: the ordinary way will say.
    }
    try {
      return await fill(buffer, async (offset) => {
        const result = await handle.read(buffer, offset, buffer.length - offset, position + offset);
        return result.bytesRead;
      });
    } catch (error) {
      throw new DrydockError(
        "host",
        `read bundle ${JSON.stringify(path)} at byte ${position}: ${errorText(error)}`,
        {
          hint: "The disk or stick does not give back these bytes. Copy the bundle again, to another one.",
          cause: error,
        },
      );
    }
  };
  const close = async () => {
    await direct?.close();
    await handle.close();
  };
  const answers = () => givesFirstBytes(direct);
  return { name: path, sequential: false, size: stat.size, readAt, answers, close };
}

/** A file system may want a larger alignment than ours and say so: that is an answer. */
async function givesFirstBytes(direct: FileHandle | undefined): Promise<boolean> {
  const [buffer] = alignedBuffers(1, directUnit);
  if (!direct || !buffer) return true;
  return await direct.read(buffer, 0, buffer.length, 0).then(
    () => true,
    (error: unknown) => !mediumCodes.has(errorCode(error) ?? ""),
  );
}

const readDescriptor = promisify(read);

/** Standard input, or any other descriptor that can only be read forwards. */
export function openPipe(descriptor = 0, name = "standard input"): ByteSource {
  let at = 0;
  const next = (buffer: Buffer) =>
    fill(buffer, async (offset) => {
      for (;;) {
        try {
          return (await readDescriptor(descriptor, buffer, offset, buffer.length - offset, null)).bytesRead;
        } catch (error) {
          if (errorCode(error) === "EOF") return 0;
          if (errorCode(error) !== "EAGAIN") {
            throw new DrydockError("host", `read ${name}: ${errorText(error)}`, { cause: error });
          }
          await delay(5);
        }
      }
    });
  const readAt = async (position: number, buffer: Buffer) => {
    if (position < at) throw new Error(`a pipe cannot go back from ${at} to ${position}`);
    const waste = Buffer.allocUnsafe(Math.min(position - at, 1024 * 1024));
    while (at < position) {
      const got = await next(waste.subarray(0, Math.min(waste.length, position - at)));
      if (got === 0) return 0;
      at += got;
    }
    const got = await next(buffer);
    at += got;
    return got;
  };
  return { name, sequential: true, size: undefined, readAt, close: async () => {} };
}

async function fill(buffer: Buffer, readInto: (offset: number) => Promise<number>): Promise<number> {
  let filled = 0;
  while (filled < buffer.length) {
    const got = await readInto(filled);
    if (got === 0) break;
    filled += got;
  }
  return filled;
}
