/**
 * Direct I/O (open(2), O_DIRECT): bytes go between the disk and our memory without the system's page
 * cache. What is read once and written once gains nothing from the cache and pays for it: the copying,
 * and the memory that has to be found. Where a file system knows no direct I/O, or wants another
 * alignment, the ordinary way is taken.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** Positions and lengths in a file that is written directly: a page, which every block size divides. */
export const directUnit = 4096;

/** As much as is used here: TypeScript describes it among the things of browsers only. */
declare const WebAssembly: {
  Memory: new (pages: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
};

const aligned = new WeakSet<ArrayBufferLike>();
const wasmPage = 65536;

/**
 * Buffers of `size` bytes, a multiple of 4096, whose memory begins at a page, as direct I/O needs it.
 * WebAssembly's memory does; Node's own buffers do not.
 */
export function alignedBuffers(count: number, size: number): Buffer[] {
  const pages = Math.ceil((count * size) / wasmPage);
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages });
  aligned.add(buffer);
  return Array.from({ length: count }, (_, number) => Buffer.from(buffer, number * size, size));
}

/** Whether direct I/O can use these bytes of memory. */
export function isAligned(bytes: Uint8Array): boolean {
  return bytes.byteOffset % directUnit === 0 && aligned.has(bytes.buffer);
}

/** Opens a file that exists for direct I/O. @returns undefined where that is not to be had */
export async function openDirect(path: string, mode: "read" | "write"): Promise<FileHandle | undefined> {
  const flags = mode === "read" ? constants.O_RDONLY : constants.O_WRONLY;
  // macOS and others have no such flag.
  if (constants.O_DIRECT === undefined) return undefined;
  return await open(path, flags | constants.O_DIRECT).catch(() => undefined);
}

/**
 * Writes what can be written directly of a chunk: its whole pages, if it and its place in the file begin at one.
 * @param file opened by openDirect; undefined where that is not to be had
 * @returns how many bytes are written; 0 if none, and the ordinary way is to be taken, which says what is wrong
 */
export async function writeDirectly(
  file: FileHandle | undefined,
  chunk: Uint8Array | undefined,
  position: number,
): Promise<number> {
  if (!file || !chunk || position % directUnit !== 0 || !isAligned(chunk)) return 0;
  const whole = chunk.length - (chunk.length % directUnit);
  if (whole === 0) return 0;
  const written = await file.write(chunk, 0, whole, position).catch(() => ({ bytesWritten: 0 }));
  // What was cut short is written again.
  return written.bytesWritten === whole ? whole : 0;
}
