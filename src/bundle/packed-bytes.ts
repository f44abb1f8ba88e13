/** The bytes of a seed on their way from the file or the network to the tar reader: hashed and counted. */
import { createHash } from "node:crypto";
import type { Step } from "../reporter.ts";

export class PackedBytes {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #step: Step | undefined;
  readonly #hash = createHash("sha256");
  #head: Buffer | undefined;
  #size = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>, step: Step | undefined) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#step = step;
  }

  /** The first four bytes or more, which `read` gives again; fewer if there are no more. */
  async head(): Promise<Buffer> {
    let head = Buffer.alloc(0);
    while (head.length < 4) {
      const chunk = await this.#next();
      if (chunk === undefined) break;
      head = Buffer.concat([head, chunk]);
    }
    this.#head = head;
    return head;
  }

  /** Ending it early does not end the source. */
  async *read(): AsyncGenerator<Uint8Array, void> {
    if (this.#head !== undefined && this.#head.length > 0) yield this.#head;
    for (let chunk = await this.#next(); chunk !== undefined; chunk = await this.#next()) yield chunk;
  }

  /** Reads what is left. */
  async end(): Promise<{ sha256: string; size: number }> {
    while ((await this.#next()) !== undefined);
    return { sha256: this.#hash.digest("hex"), size: this.#size };
  }

  async close(): Promise<void> {
    if (!this.#ended) await this.#iterator.return?.();
  }

  async #next(): Promise<Uint8Array | undefined> {
    if (this.#ended) return undefined;
    const { done, value } = await this.#iterator.next();
    if (done === true) {
      this.#ended = true;
      return undefined;
    }
    this.#hash.update(value);
    this.#size += value.length;
    this.#step?.advance(value.length);
    return value;
  }
}
