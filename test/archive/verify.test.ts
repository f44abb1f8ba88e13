/** Everything that is damaged is named, not only the first of it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { headerOf, layOut } from "../../src/archive/layout.ts";
import { type Bundle, openBundle } from "../../src/archive/reader.ts";
import type { ByteSource } from "../../src/archive/source.ts";
import { verify } from "../../src/archive/verify.ts";
import { planArchive } from "../../src/archive/writer.ts";
import { DrydockError } from "../../src/errors.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { type Step, silentReporter } from "../../src/reporter.ts";
import { makeIndex, memorySource } from "./bundles.ts";

const mega = 1024 * 1024;
const blobs = [
  Buffer.from("{}"),
  ...[0, 700, 2 * mega + 7, mega, 5, 3 * mega + 100].map((size) => randomBytes(size)),
];
const index = makeIndex(blobs);
const plan = planArchive({ index, readme: "read me\n", images: [] });
const { slots } = layOut(index.blobs, plan.top.length);
const good = Buffer.alloc(plan.size);
plan.top.copy(good);
for (const [number, { digest, size, headerAt, bodyAt }] of slots.entries()) {
  headerOf(`blobs/sha256/${digest.slice(7)}`, size, plan.mtime).copy(good, headerAt);
  blobs[number]?.copy(good, bodyAt);
}

const slotOf = (number: number) => slots[number] as (typeof slots)[number];

/** The archive with one byte changed in each of these places. */
function flipped(...places: number[]): Buffer {
  const bad = Buffer.from(good);
  for (const at of places) bad[at] = (bad[at] ?? 0) ^ 0x10;
  return bad;
}

/** The same bytes as from a file, and as from a pipe. */
function sources(bytes: Buffer): ByteSource[] {
  return [memorySource(bytes), { ...memorySource(bytes), size: undefined, sequential: true }];
}

async function failure(bundle: Bundle): Promise<DrydockError> {
  const error: unknown = await verify(bundle, silentReporter).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.ok(error instanceof DrydockError, String(error));
  return error;
}

const named = (text: string): Digest[] =>
  slots.map(({ digest }) => digest).filter((digest) => text.includes(digest));

test("a whole bundle passes, and every byte is counted", async () => {
  for (const source of sources(good)) {
    const counted = { total: 0, advanced: 0 };
    const step: Step = {
      ...silentReporter.step(""),
      total: (bytes) => {
        counted.total = bytes;
      },
      advance: (bytes) => {
        counted.advanced += bytes;
      },
    };
    await verify(await openBundle(source), { ...silentReporter, step: () => step });
    const size = blobs.reduce((sum, { length }) => sum + length, 0);
    assert.deepEqual(counted, { total: size, advanced: size });
  }
});

test("every damaged blob is named, each once: the first, the last, those between", async () => {
  for (const numbers of [[0], [3], [6], [2, 3], [0, 2, 3, 4, 5, 6]]) {
    const bad = flipped(...numbers.map((number) => slotOf(number).bodyAt + 1));
    for (const source of sources(bad)) {
      const error = await failure(await openBundle(source));
      assert.equal(error.kind, "integrity");
      assert.equal(error.message.split("\n").length, numbers.length);
      assert.deepEqual(
        named(error.message),
        numbers.map((number) => slotOf(number).digest),
      );
      assert.ok(error.hint);
    }
  }
});

test("damaged blobs before a deviation of the archive are named with it", async () => {
  const bad = flipped(slotOf(2).bodyAt, slotOf(5).headerAt);
  for (const source of sources(bad)) {
    const error = await failure(await openBundle(source));
    assert.equal(error.kind, "integrity");
    assert.ok(error.message.includes(slotOf(2).digest), error.message);
    assert.match(error.message, new RegExp(`at byte ${slotOf(5).headerAt}`));
  }
});

test("bytes after the end are found, with what is damaged before", async () => {
  const bad = Buffer.concat([flipped(slotOf(3).bodyAt), Buffer.alloc(10)]);
  const [, pipe] = sources(bad);
  assert.ok(pipe);
  const error = await failure(await openBundle(pipe));
  assert.ok(error.message.includes(slotOf(3).digest));
  assert.match(error.message, /bytes after the end/);
});

test("a pipe that is cut inside a blob: where it ends is said, and once", async () => {
  const end = slotOf(3).bodyAt + mega + 50;
  const [, pipe] = sources(flipped(slotOf(2).bodyAt).subarray(0, end));
  assert.ok(pipe);
  const error = await failure(await openBundle(pipe));
  const [first = "", second = "", ...rest] = error.message.split("\n");
  assert.ok(first.includes(slotOf(2).digest));
  assert.match(second, new RegExp(`truncated: it ends at byte ${end}, inside blob ${slotOf(3).digest}`));
  assert.deepEqual(rest, []);
});

test("a disk that cannot be read ends it at once, as what it is", async () => {
  const source = memorySource(flipped(slotOf(2).bodyAt));
  const broken: ByteSource = {
    ...source,
    readAt: async (position, buffer) => {
      if (position <= slotOf(4).bodyAt && position + buffer.length > slotOf(4).bodyAt)
        throw new DrydockError("host", "read error");
      return source.readAt(position, buffer);
    },
  };
  const error = await failure(await openBundle(broken));
  assert.deepEqual([error.kind, error.message], ["host", "read error"]);
});
