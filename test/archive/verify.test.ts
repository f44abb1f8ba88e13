/** Everything that is damaged is named, not only the first of it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { planArchive } from "../../src/archive/archive-plan.ts";
import type { Damage } from "../../src/archive/damage.ts";
import { headerOf, layOut } from "../../src/archive/layout.ts";
import { openBundle } from "../../src/archive/reader.ts";
import type { ByteSource } from "../../src/archive/source.ts";
import { verify } from "../../src/archive/verify.ts";
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

async function failure(source: ByteSource): Promise<DrydockError> {
  const bundle = await openBundle(source, undefined, { goOn: true });
  const error: unknown = await verify(bundle, silentReporter).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.ok(error instanceof DrydockError, String(error));
  return error;
}

const named = (text: string): Digest[] =>
  slots.map(({ digest }) => digest).filter((digest) => text.includes(digest));

const damageOf = ({ data }: DrydockError) => (data?.damage ?? []) as Damage[];

/** Where a blob's bytes are, both ends inclusive. */
const rangeOf = (number: number) => {
  const { bodyAt, size } = slotOf(number);
  return { from: bodyAt, to: bodyAt + size - 1 };
};

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
      const error = await failure(source);
      assert.equal(error.kind, "integrity");
      const digests = numbers.map((number) => slotOf(number).digest);
      assert.deepEqual(named(error.message), digests);
      assert.match(error.message, new RegExp(`${numbers.length} of its 7 blobs`));
      assert.deepEqual(
        damageOf(error),
        numbers.map((number, at) => ({
          digest: digests[at],
          ...rangeOf(number),
          reason: "other bytes",
          users: ["team/app:1"],
        })),
      );
      for (const number of numbers) assert.ok(error.message.includes(`${rangeOf(number).from} to`));
      assert.match(error.hint ?? "", /^Copy the bundle again.*\n.*drydock install/);
    }
  }
});

test("a bundle that is opened without going on ends with the first", async () => {
  const bundle = await openBundle(memorySource(flipped(slotOf(3).bodyAt, slotOf(5).bodyAt)));
  await assert.rejects(verify(bundle, silentReporter), {
    message: new RegExp(`^read bundle "memory": blob ${slotOf(3).digest} .* is damaged`),
  });
});

test("damage before and behind a header that is another one is named with it", async () => {
  const places = [slotOf(2).bodyAt, slotOf(4).headerAt, slotOf(5).bodyAt];
  for (const source of sources(flipped(...places))) {
    const error = await failure(source);
    assert.equal(error.kind, "integrity");
    assert.deepEqual(
      damageOf(error).map(({ digest }) => digest),
      [slotOf(2).digest, slotOf(5).digest],
    );
    assert.match(error.message, new RegExp(`at byte ${slotOf(4).headerAt}: wanted blob ${slotOf(4).digest}`));
    assert.doesNotMatch(error.hint ?? "", /install/);
  }
});

test("bytes after the end are found, with what is damaged before", async () => {
  const bad = Buffer.concat([flipped(slotOf(3).bodyAt), Buffer.alloc(10)]);
  const [, pipe] = sources(bad);
  assert.ok(pipe);
  const error = await failure(pipe);
  assert.ok(error.message.includes(slotOf(3).digest));
  assert.match(error.message, /bytes after the end/);
});

test("a file that is cut: what is missing is named, and what is before the cut is checked", async () => {
  const end = slotOf(3).bodyAt + mega + 50;
  const error = await failure(memorySource(flipped(slotOf(2).bodyAt).subarray(0, end)));
  const found = damageOf(error);
  assert.deepEqual(
    found.map(({ digest, reason }) => ({ digest, reason })),
    [2, 3, 4, 5, 6].map((number) => ({
      digest: slotOf(number).digest,
      reason: number === 2 ? "other bytes" : "cut off",
    })),
  );
  // What is lost takes in a header, and the zeros after a blob.
  const ends = slots.slice(4).map(({ headerAt }) => headerAt - 1);
  assert.deepEqual(
    found.slice(1, 4).map(({ lost }) => lost),
    [end, slotOf(4).headerAt, slotOf(5).headerAt].map((from, at) => ({ from, to: ends[at] })),
  );
  assert.match(error.message, /are not there/);
});

test("a file that only lacks its last blocks has no blob to name", async () => {
  const error = await failure(memorySource(good.subarray(0, good.length - 1000)));
  assert.deepEqual(named(error.message), []);
  assert.match(error.message, /its end is damaged\nthe bundle is cut: .*\nthe end-of-archive blocks/);
});

test("a pipe that is cut inside a blob: where it ends is said, and once", async () => {
  const end = slotOf(3).bodyAt + mega + 50;
  const [, pipe] = sources(flipped(slotOf(2).bodyAt).subarray(0, end));
  assert.ok(pipe);
  const error = await failure(pipe);
  assert.deepEqual(
    damageOf(error).map(({ digest }) => digest),
    [slotOf(2).digest],
  );
  const last = error.message.split("\n").at(-1) ?? "";
  assert.match(last, new RegExp(`truncated: it ends at byte ${end}, inside blob ${slotOf(3).digest}`));
});

/** A read-fault fake: the reads that ask for a byte from `from` to `to` fail, so many times. */
function readFault(
  error: DrydockError,
  from: number,
  to = from,
  times = Number.POSITIVE_INFINITY,
): ByteSource {
  const source = memorySource(flipped(slotOf(2).bodyAt));
  let left = times;
  return {
    ...source,
    name: "read-fault fake",
    readAt: async (position, buffer) => {
      if (position > to || position + buffer.length <= from || left === 0)
        return source.readAt(position, buffer);
      left -= 1;
      throw error;
    },
  };
}
const eio = new DrydockError("host", "read error", {
  cause: Object.assign(new Error("EIO"), { code: "EIO" }),
});

test("a read error is no end; a pipe's is", async () => {
  const source = readFault(eio, slotOf(4).bodyAt, slotOf(5).bodyAt + 9);
  const [, four, five, ...rest] = damageOf(await failure(source));
  assert.deepEqual(rest, []);
  assert.deepEqual([four?.digest, five?.digest], [slotOf(4).digest, slotOf(5).digest]);
  assert.deepEqual([four?.reason, five?.reason], ["unreadable", "unreadable"]);
  // To the byte if that is where a piece of 4096 begins; here the header's is asked for first.
  assert.equal(five?.lost?.from, slotOf(5).headerAt);
  const pipe = { ...source, sequential: true, size: undefined };
  assert.deepEqual((await failure(pipe)).message, "read error");
});

test("what can be read the second time is no damage", async () => {
  const source = readFault(eio, slotOf(5).bodyAt, slotOf(5).bodyAt, 1);
  assert.deepEqual(
    damageOf(await failure(source)).map(({ digest }) => digest),
    [slotOf(2).digest],
  );
});

test("an error that is not the disk's ends it at once, as what it is", async () => {
  const error = await failure(readFault(new DrydockError("host", "closed"), slotOf(4).bodyAt));
  assert.deepEqual([error.kind, error.message], ["host", "closed"]);
});

test("of very many the text has the digests, and the data all", async () => {
  const many = Array.from({ length: 60 }, (_, number) => Buffer.from(`blob ${number}`));
  const manyIndex = makeIndex(many);
  const { top, size } = planArchive({ index: manyIndex, readme: "", images: [] });
  const bytes = Buffer.alloc(size);
  top.copy(bytes);
  // Only the top was copied to the stick; what follows it was never written.
  const error = await failure(memorySource(bytes.subarray(0, top.length + 100)));
  assert.equal(damageOf(error).length, 60);
  for (const { digest } of manyIndex.blobs) assert.ok(error.message.includes(digest));
  assert.ok(error.message.split("\n").length < 25 * 3 + 60);
});
