/**
 * Buffers of one size for what passes through in pieces: filled, used, and filled again, without memory
 * being asked for and cleared each time. A piece belongs to whoever holds it, who may give it back when it
 * is done with; one that never comes back is the garbage collector's, and nothing else.
 */
import { alignedBuffers, directUnit } from "./direct.ts";

/** Of each buffer, in bytes. They begin at a page, for direct I/O. */
export const lentSize = 1024 * 1024;

const madeAtOnce = 8;

const free: Buffer[] = [];
const lent = new WeakMap<ArrayBufferLike, (Buffer | undefined)[]>();

/** A buffer to hand on, whole or in part, to whoever gives it back. What is in it is of no meaning. */
export function takeBuffer(): Buffer {
  const buffer = ownBuffer();
  const places = lent.get(buffer.buffer) ?? [];
  places[placeOf(buffer)] = buffer;
  lent.set(buffer.buffer, places);
  return buffer;
}

/** A buffer to keep: others see what is in it, and giving that back has no effect. */
export function ownBuffer(): Buffer {
  if (free.length === 0) free.push(...alignedBuffers(madeAtOnce, lentSize));
  const buffer = free.pop();
  if (buffer === undefined) throw new Error("no buffer was made");
  return buffer;
}

/** The end of an own buffer, by its owner, when nobody looks at it any more. */
export function freeBuffer(buffer: Buffer): void {
  free.push(buffer);
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

/**
 * Gathers a stream's chunks into pieces that begin at a page of the file that they go into, and so can be
 * written directly: the first up to the next page, then pieces of lentSize. Chunks that are such pieces
 * already are passed on, others are copied: their memory may be used again when the next is asked for.
 * @param position in the file, of the stream's first byte
 */
export async function* inPages(
  source: AsyncIterable<Uint8Array>,
  position: number,
): AsyncGenerator<Uint8Array, void> {
  let at = position;
  let piece: Buffer | undefined;
  let filled = 0;
  try {
    for await (const chunk of source) {
      if (piece === undefined && at % directUnit === 0 && isLent(chunk)) {
        at += chunk.length;
        yield chunk;
        continue;
      }
      for (let done = 0; done < chunk.length; ) {
        piece ??= at % directUnit === 0 ? takeBuffer() : Buffer.allocUnsafe(directUnit - (at % directUnit));
        const part = chunk.subarray(done, done + piece.length - filled);
        piece.set(part, filled);
        done += part.length;
        filled += part.length;
        if (filled < piece.length) continue;
        at += filled;
        const full = piece;
        [piece, filled] = [undefined, 0];
        yield full;
      }
      giveBack(chunk);
    }
    const rest = piece?.subarray(0, filled);
    piece = undefined;
    if (rest) yield rest;
  } finally {
    if (piece) giveBack(piece);
  }
}

function isLent(bytes: Uint8Array): boolean {
  return lent.get(bytes.buffer)?.[placeOf(bytes)] !== undefined;
}
