/** A part that is missing, short, long, swapped or damaged is named, with the list of the parts and without it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFile, copyFile, mkdir, mkdtemp, open, readdir, rename, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { partsOf, wantedSizes } from "../../src/archive/find-parts.ts";
import { openSource } from "../../src/archive/open-source.ts";
import { checkPartCount } from "../../src/archive/parts.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { verify } from "../../src/archive/verify.ts";
import { namingParts } from "../../src/archive/wrong-parts.ts";
import { DrydockError } from "../../src/errors.ts";
import { silentReporter } from "../../src/reporter.ts";
import { writeBundle } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-parts-"));
after(() => rm(folder, { recursive: true }));

const mebi = 1024 * 1024;
const good = join(folder, "good");
await mkdir(good);
// Of the parts' borders one lies within a blob, one near a border of blobs; the last part is smaller.
const sizes = [2, 700, 3 * mebi + 5, 300_000, 200_000, 5 * mebi + 1, 90_000, 3 * mebi];
const blobs = sizes.map((size) => randomBytes(size));
await writeBundle(join(good, "x.tar"), blobs, undefined, 3 * mebi);

const path = join(folder, "x.tar");
const part = (number: number) => `${path}.00${number}`;

/** Whole parts again, all of them. */
async function restore(): Promise<void> {
  for (const name of await readdir(folder)) if (name.startsWith("x.")) await rm(join(folder, name));
  for (const name of await readdir(good)) await copyFile(join(good, name), join(folder, name));
}

async function swap(one: number, other: number): Promise<void> {
  await rename(part(one), `${path}.aside`);
  await rename(part(other), part(one));
  await rename(`${path}.aside`, part(other));
}

/** As each command that reads all of it does; without `goOn` as one that reads the top alone. */
async function failure(named: string, goOn: boolean): Promise<DrydockError> {
  const error: unknown = await namingParts(named, async () => {
    const bundle = await openBundle(await openSource(named), undefined, { goOn });
    await verify(bundle, silentReporter).finally(() => bundle.close());
  }).catch((thrown) => thrown);
  assert.ok(error instanceof DrydockError, `${named}: ${error}`);
  assert.equal(error.kind, "integrity");
  return error;
}

const text = ({ message, hint }: DrydockError) => `${message}\n${hint}`;
const partsIn = (said: string) => [...new Set(said.match(/x\.tar\.00\d/g))].sort();

/** What is done to the parts; the parts that must be named, and no others; and what is said of them. */
const faults: [string, () => Promise<unknown>, number[], RegExp][] = [
  ["the first is missing", () => rm(part(1)), [1], /001": there is no such file/],
  ["a middle one is missing", () => rm(part(2)), [2], /002": there is no such file/],
  ["the last is missing", () => rm(part(4)), [4], /004": there is no such file/],
  ["two are missing", () => Promise.all([rm(part(2)), rm(part(4))]), [2, 4], /002": there is no such/],
  [
    "the first is short",
    () => truncate(part(1), 3 * mebi - 1000),
    [1],
    /it has 3144728 bytes, wanted 3145728/,
  ],
  ["a middle one is short", () => truncate(part(3), 17), [3], /it has 17 bytes, wanted 3145728/],
  ["the last is short", () => truncate(part(4), 2 * mebi), [4], /it has 2097152 bytes, wanted \d+/],
  ["one is longer", () => appendFile(part(2), "more"), [2], /it has 3145732 bytes, wanted 3145728/],
];

for (const withList of [true, false]) {
  for (const [name, damage, numbers, said] of faults) {
    test(`${name}, ${withList ? "with" : "without"} a list`, async () => {
      await restore();
      if (!withList) await rm(`${path}.parts.json`);
      await damage();
      const wanted = numbers.map((number) => `x.tar.00${number}`);
      // By the whole's name, and by that of a part, there or not.
      for (const named of [path, part(1), part(2), part(3)]) {
        for (const goOn of [true, false]) {
          const error = text(await failure(named, goOn));
          assert.match(error, said);
          assert.deepEqual(partsIn(error), wanted, `${named}: ${error}`);
        }
      }
    });
  }
}

test("swapped parts are named with what they hold; without a list, that they deviate", async () => {
  for (const [one, other] of [
    [1, 2],
    [2, 3],
    [3, 4],
  ] as const) {
    await restore();
    await swap(one, other);
    const error = await failure(path, true);
    assert.match(
      error.message,
      new RegExp(`part "x.tar.00${one}" holds what "x.tar.00${other}" should hold`),
    );
    assert.match(
      error.message,
      new RegExp(`part "x.tar.00${other}" holds what "x.tar.00${one}" should hold`),
    );
    assert.match(error.hint ?? "", /^Give .* their right names/);
    await rm(`${path}.parts.json`);
    const wanted = one === 1 ? ["x.tar.001"] : [`x.tar.00${one}`, `x.tar.00${other}`];
    assert.deepEqual(partsIn(text(await failure(path, true))), wanted);
  }
});

test("a part that stands in another one's place as well, and one with a byte that flipped", async () => {
  await restore();
  await copyFile(part(2), part(3));
  assert.match((await failure(path, true)).hint ?? "", /^Copy "x.tar.003" again\.$/);
  await restore();
  const handle = await open(part(3), "r+");
  await handle.write("another", 2 * mebi);
  await handle.close();
  assert.deepEqual(partsIn(text(await failure(path, true))), ["x.tar.003"]);
  // Without the list nobody can tell which of the parts that the blob lies in is to blame.
  await rm(`${path}.parts.json`);
  assert.deepEqual(partsIn(text(await failure(path, true))), ["x.tar.002", "x.tar.003"]);
});

test("of two parts without a list both are named where it is not known which is short", async () => {
  const two = join(folder, "two.tar");
  await writeBundle(two, blobs.slice(0, 3), undefined, 2 * mebi);
  await rm(`${two}.parts.json`);
  await truncate(`${two}.001`, 2 * mebi - 512);
  const error = text(await failure(two, true));
  assert.match(
    error,
    /open part ".*two\.tar\.002": it has \d+ bytes, wanted \d+, if "two\.tar\.001" is whole/,
  );
});

test("a list that is damaged is named, and that the parts can be read without it", async () => {
  await restore();
  await truncate(`${path}.parts.json`, 100);
  const error = await failure(path, true);
  assert.match(text(error), /x\.tar\.parts\.json".*\nCopy it again, or remove it/);
  await rm(`${path}.parts.json`);
  await verify(await openBundle(await openSource(path)), silentReporter);
});

test("a whole bundle may have a name that ends like a part's", async () => {
  const dated = join(folder, "plant.20261127");
  await writeBundle(dated, blobs.slice(0, 2));
  assert.equal(await partsOf(dated), undefined);
  assert.equal(await partsOf(join(folder, "plant")), undefined);
  await verify(await openBundle(await openSource(dated)), silentReporter);
  assert.equal(await partsOf(part(2)), path);
});

test("without a list the sizes of the parts that are there say what the others should hold", () => {
  const sizesOf = (found: (number | undefined)[], total?: number) =>
    wantedSizes(found, total).map(({ size }) => size);
  // Cut anywhere: as they are, if the sum is right.
  assert.deepEqual(sizesOf([5, 3, 9], 17), [5, 3, 9]);
  assert.deepEqual(sizesOf([10, undefined, 10, 4]), [10, 10, 10, 4]);
  assert.deepEqual(sizesOf([10, undefined, 10, 4], 34), [10, 10, 10, 4]);
  assert.deepEqual(sizesOf([10, 7, 10, 4], 34), [10, 10, 10, 4]);
  assert.deepEqual(sizesOf([7, 10, 4], 24), [10, 10, 4]);
  assert.deepEqual(sizesOf([10, 3], 14), [10, 4]);
  assert.deepEqual(sizesOf([10], 34), [10, 10, 10, 4]);
  // Of two the last is never the larger one; where it is the smaller, it is not known which is short.
  assert.deepEqual(sizesOf([7, 10], 24), [14, 10]);
  assert.deepEqual(sizesOf([12, 10], 24), [12, 12]);
  // More than the archive had.
  assert.deepEqual(sizesOf([10, 10, 10, 4], 15), [10, 10, 10, 4]);
  assert.deepEqual(sizesOf([0], 15), [0]);
});

test("more parts than a shell's pattern gives in order are refused", () => {
  checkPartCount(999 * mebi, mebi);
  assert.throws(() => checkPartCount(999 * mebi + 1, mebi), {
    kind: "usage",
    message: /1000 parts, at most 999/,
    hint: /--split 2M/,
  });
});
