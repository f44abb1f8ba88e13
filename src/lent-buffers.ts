/**
 * Buffers of one size for what passes through in pieces: filled, used, and filled again, without memory
 * being asked for and cleared each time. A piece belongs to whoever holds it, who may give it back when it
 * is done with; one that never comes back is the garbage collector's, and nothing else.
 */
import { alignedBuffers } from "./direct.ts";

/** Of each buffer, in bytes. They begin at a page, for direct I/O. */
export const lentSize = 1024 * 1024;

const madeAtOnce = 8;

const free: Buffer[] = [];
const lent = new WeakMap<ArrayBufferLike, (Buffer | undefined)[]>();

/** A buffer that is nobody else's. What is in it is of no meaning. */
export function takeBuffer(): Buffer {
  if (free.length === 0) free.push(...alignedBuffers(madeAtOnce, lentSize));
  const buffer = free.pop();
  if (buffer === undefined) throw new Error("no buffer was made");
  const places = lent.get(buffer.buffer) ?? [];
  places[placeOf(buffer)] = buffer;
  lent.set(buffer.buffer, places);
  return buffer;
}

/** The end of using a buffer, given whole or in part, once; of what was not lent, nothing. */
export function giveBack(bytes: Uint8Array): void {
  const places = lent.get(bytes.buffer);
  const buffer = places?.[placeOf(bytes)];
  if (places === undefined || buffer === undefined) return;
  places[placeOf(bytes)] = undefined;
  free.push(buffer);
}

function placeOf(bytes: Uint8Array): number {
  return Math.floor(bytes.byteOffset / lentSize);
}
