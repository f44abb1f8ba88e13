/** Buffers that are lent, and streams gathered into pages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { directUnit, isAligned } from "../src/direct.ts";
import { freeBuffer, giveBack, inPages, lentSize, ownBuffer, takeBuffer } from "../src/lent-buffers.ts";

const bytes = Buffer.from(Array.from({ length: 2 * lentSize + 5000 }, (_, at) => (at * 7 + (at >> 8)) % 251));

test("a buffer that is given back, whole or in part, is taken again; once, and only if it was lent", () => {
  const first = takeBuffer();
  assert.equal(first.length, lentSize);
  assert.ok(isAligned(first));
  giveBack(first.subarray(100, 200));
  const again = takeBuffer();
  assert.ok(again.buffer === first.buffer && again.byteOffset === first.byteOffset);
  giveBack(again);
  giveBack(again);
  const [one, other] = [takeBuffer(), takeBuffer()];
  assert.ok(one.buffer !== other.buffer || one.byteOffset !== other.byteOffset);
  const own = Buffer.alloc(lentSize);
  giveBack(own);
  assert.ok(takeBuffer().buffer !== own.buffer);
});

test("an own buffer is not given back by those who saw it, and its pieces are copied", async () => {
  const own = ownBuffer();
  own.set(bytes.subarray(0, lentSize));
  giveBack(own);
  const other = takeBuffer();
  assert.ok(other.buffer !== own.buffer || other.byteOffset !== own.byteOffset);
  const [piece] = await Array.fromAsync(inPages(stream([own]), 0));
  assert.ok(piece && piece !== own && piece.byteOffset !== own.byteOffset);
  assert.ok(Buffer.from(piece).equals(bytes.subarray(0, lentSize)));
  freeBuffer(own);
  const again = ownBuffer();
  assert.ok(again.buffer === own.buffer && again.byteOffset === own.byteOffset);
});

/** Pieces as copies, and whether each may be written directly. */
async function gather(chunks: Iterable<Uint8Array>, position: number) {
  const pieces: { bytes: Buffer; aligned: boolean }[] = [];
  const source = (async function* () {
    yield* chunks;
  })();
  for await (const piece of inPages(source, position)) {
    pieces.push({ bytes: Buffer.from(piece), aligned: isAligned(piece) });
    giveBack(piece);
  }
  return pieces;
}

/** Chunks that all use the same memory. */
function* reusing(size: number): Generator<Buffer> {
  const memory = Buffer.alloc(size);
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    memory.set(part);
    yield memory.subarray(0, part.length);
  }
}

test("chunks of any size become pieces that begin at a page of the file", async () => {
  for (const size of [1000, 65536, 3 * lentSize]) {
    for (const position of [0, 512, 3 * directUnit - 1]) {
      const pieces = await gather(reusing(size), position);
      assert.ok(Buffer.concat(pieces.map((piece) => piece.bytes)).equals(bytes), `${size} at ${position}`);
      let at = position;
      for (const piece of pieces) {
        assert.equal(piece.aligned, at % directUnit === 0, `${size} at ${position}: the piece at ${at}`);
        at += piece.bytes.length;
      }
      assert.equal(pieces.length, position % directUnit === 0 ? 3 : 4);
    }
  }
});

test("lent pieces that fit are passed on as they are, others are copied and given back", async () => {
  const lend = (at: number, length: number) => {
    const buffer = takeBuffer();
    buffer.set(bytes.subarray(at, at + length));
    return buffer.subarray(0, length);
  };
  const fitting = [lend(0, lentSize), lend(lentSize, 100), lend(lentSize + 100, 5000)];
  const passed: Uint8Array[] = [];
  for await (const piece of inPages(stream(fitting), directUnit)) passed.push(piece);
  assert.equal(passed[0], fitting[0]);
  assert.equal(passed[1], fitting[1]);
  assert.ok(Buffer.concat(passed).equals(bytes.subarray(0, lentSize + 5100)));
  assert.notEqual(passed[2], fitting[2]);
});

async function* stream<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}

test("no bytes give no pieces", async () => {
  assert.deepEqual(await gather([], 512), []);
  assert.deepEqual(await gather([new Uint8Array()], 0), []);
});
