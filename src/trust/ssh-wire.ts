/**
 * SSH's data types on the wire (RFC 4251 section 5), as far as certificates and the first packets need them.
 */

/** Reads one field after the other. @throws RangeError if the bytes end before the field does */
export class WireReader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.at === this.#bytes.length;
  }

  uint32(): number {
    return this.#take(4).readUInt32BE(0);
  }

  uint64(): bigint {
    return this.#take(8).readBigUInt64BE(0);
  }

  string(): Buffer {
    return this.#take(this.uint32());
  }

  /** All strings to the end. */
  strings(): string[] {
    const strings: string[] = [];
    while (!this.atEnd) strings.push(this.string().toString("utf8"));
    return strings;
  }

  /** A list of names with commas between. */
  names(): string[] {
    return this.string().toString("latin1").split(",");
  }

  /** A positive multiple precision integer, padded to `size` bytes. */
  number(size: number): Buffer {
    const bytes = this.string();
    const digits = bytes[0] === 0 ? bytes.subarray(1) : bytes;
    if (digits.length > size) throw new RangeError("number too large");
    return Buffer.concat([Buffer.alloc(size - digits.length), digits]);
  }

  #take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.#bytes.length) throw new RangeError("field is cut");
    const bytes = this.#bytes.subarray(this.at, end);
    this.at = end;
    return bytes;
  }
}

export function wireString(value: Buffer | string): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
