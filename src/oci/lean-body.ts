/**
 * A body of known length on its way from a socket into buffers that are lent (see lent-buffers.ts): the
 * kernel writes into them, and nothing is copied until they are on the disk.
 */
import { giveBack, lentSize, takeBuffer } from "../lent-buffers.ts";

/** So many pieces may wait to be read; then the socket is told to pause. */
const mostWaiting = 2;
/** On a slow line, what is there is handed over at least so often, in milliseconds. */
const patience = 500;
/** Less than this many bytes are not worth a lent buffer. */
const small = 64 * 1024;

/** What the body tells its socket. */
export interface Tap {
  pause(): void;
  resume(): void;
  /** the reader has left before the end */
  abandon(): void;
}

export class LeanBody implements AsyncIterable<Buffer> {
  readonly #tap: Tap;
  /** bytes that are still to come from the socket */
  #left: number;
  #buffer: Buffer | undefined;
  /** how much of #buffer the current piece may fill, has filled, and was handed over as a copy before it was full */
  #limit = 0;
  #filled = 0;
  #copied = 0;
  readonly #ready: Buffer[] = [];
  #error: unknown;
  #wake: (() => void) | undefined;

  /** @param lead length of the first piece, if it shall be shorter: so that the others begin at a page of a file */
  constructor(length: number, lead: number, tap: Tap) {
    this.#left = length;
    this.#tap = tap;
    this.#begin(lead);
  }

  /** Where the socket's next bytes go; empty when all are there. */
  space(): Buffer {
    return this.#buffer?.subarray(this.#filled, this.#limit) ?? Buffer.alloc(0);
  }

  /** So many bytes were put into space(). @returns whether all are there */
  received(count: number): boolean {
    this.#filled += count;
    this.#left -= count;
    if (this.#filled === this.#limit) {
      this.#hand();
      if (this.#left > 0) this.#begin(lentSize);
      if (this.#ready.length >= mostWaiting && this.#left > 0) this.#tap.pause();
    }
    if (this.#ready.length > 0 || this.#left === 0) this.#wakeUp();
    return this.#left === 0;
  }

  /** Bytes that came another way: together with the headers. @returns how many of them are of this body */
  take(bytes: Uint8Array): number {
    let taken = 0;
    while (taken < bytes.length && this.#left > 0) {
      const space = this.space();
      const part = bytes.subarray(taken, taken + space.length);
      space.set(part);
      taken += part.length;
      this.received(part.length);
    }
    return taken;
  }

  /** No more bytes come. What came is still given out, then the error is thrown; none after the last byte. */
  fail(error: unknown): void {
    if (this.#left === 0 || this.#error !== undefined) return;
    this.#error = error;
    this.#copyOut();
    this.#letGo();
    this.#wakeUp();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    try {
      for (;;) {
        const piece = this.#ready.shift();
        if (piece !== undefined) {
          if (this.#ready.length < mostWaiting) this.#tap.resume();
          yield piece;
        } else if (this.#error !== undefined) {
          throw this.#error;
        } else if (this.#left === 0) {
          return;
        } else {
          await this.#more();
        }
      }
    } finally {
      if (this.#left > 0) this.#tap.abandon();
      for (const piece of this.#ready.splice(0)) giveBack(piece);
      this.#letGo();
    }
  }

  /** Lets go of what nobody wants. */
  async dump(): Promise<void> {
    let size = 0;
    for await (const piece of this) {
      size += piece.length;
      giveBack(piece);
      if (size > 64 * 1024) return;
    }
  }

  #begin(length: number): void {
    this.#limit = Math.min(length === 0 ? lentSize : length, this.#left);
    this.#filled = 0;
    this.#copied = 0;
    const isSmall = this.#limit < small;
    this.#buffer = this.#limit === 0 ? undefined : isSmall ? Buffer.allocUnsafe(this.#limit) : takeBuffer();
  }

  /** The current piece is full. */
  #hand(): void {
    if (this.#buffer === undefined) return;
    if (this.#copied > 0) this.#copyOut();
    else this.#ready.push(this.#buffer.subarray(0, this.#limit));
    this.#buffer = undefined;
  }

  /** What is in the current piece and was not handed over yet, as a copy: the rest of it may come later. */
  #copyOut(): void {
    if (this.#buffer === undefined || this.#filled === this.#copied) return;
    this.#ready.push(Buffer.from(this.#buffer.subarray(this.#copied, this.#filled)));
    this.#copied = this.#filled;
    if (this.#filled === this.#limit) giveBack(this.#buffer);
  }

  /** Nothing is received into the current piece any more: its connection has ended. */
  #letGo(): void {
    if (this.#buffer) giveBack(this.#buffer);
    this.#buffer = undefined;
  }

  #more(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      this.#copyOut();
      resolve();
    }, patience);
    this.#wake = resolve;
    return promise.finally(() => clearTimeout(timer));
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
