/** A stick that does not give back all that was written on it: real read errors of a real file system. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { planArchive } from "../../src/archive/archive-plan.ts";
import type { Damage } from "../../src/archive/damage.ts";
import { layOut, type Slot } from "../../src/archive/layout.ts";
import { openSource } from "../../src/archive/open-source.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { verify } from "../../src/archive/verify.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import { DrydockError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import { type BadDisk, badBlock, makeBadDisk } from "../lab/bad-sectors.ts";
import { makeIndex, once } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-bad-sectors-"));
const disks: BadDisk[] = [];
after(async () => {
  for (const disk of disks) await disk.stop();
  await rm(folder, { recursive: true });
});

const mega = 1024 * 1024;
const blobs = [
  Buffer.from("{}"),
  ...[3 * mega + 11, 300, mega, 2 * mega + 5].map((size) => randomBytes(size)),
];
const index = makeIndex(blobs);
const plan = planArchive({ index, readme: "read me\n", images: [] });
const { slots } = layOut(index.blobs, plan.top.length);
const slot = (number: number): Slot => {
  const found = slots[number];
  assert.ok(found);
  return found;
};

async function write(name: string, split?: number): Promise<string> {
  const path = join(folder, name);
  const writer = await ArchiveWriter.create(path, plan, { force: false, mode: 0o644, advance() {}, split });
  for (const bytes of blobs) await writer.write(digestOf(bytes), once(bytes), "the test");
  await writer.finish();
  return path;
}

async function badDisk(name: string, files: Parameters<typeof makeBadDisk>[1]): Promise<BadDisk> {
  const disk = await makeBadDisk(join(folder, name), files);
  disks.push(disk);
  return disk;
}

async function failure(path: string): Promise<DrydockError> {
  const bundle = await openBundle(await openSource(path), undefined, { goOn: true });
  const error: unknown = await verify(bundle, silentReporter).then(
    () => undefined,
    (thrown) => thrown,
  );
  await bundle.close();
  assert.ok(error instanceof DrydockError, String(error));
  return error;
}

const damageOf = (error: DrydockError) => error.data?.damage as Damage[];

/** Widened to the disk's blocks. */
const sectors = (from: number, to: number) => ({
  from: from - (from % badBlock),
  to: to - (to % badBlock) + badBlock - 1,
});

const file = await write("site.tar");
// The second blob has two bad places within one mebibyte, the fourth one that begins before its header.
const first = { from: slot(1).bodyAt + mega + 5000, to: slot(1).bodyAt + mega + 9000 };
const second = { from: slot(1).bodyAt + mega + 100_000, to: slot(1).bodyAt + mega + 100_001 };
const header = { from: slot(3).headerAt, to: slot(3).headerAt + 511 };

test("the disk gives EIO there, and the right bytes elsewhere", async () => {
  const { path } = await badDisk("itself", { [file]: [first] });
  const handle = await open(join(path, "site.tar"));
  const at = sectors(first.from, first.to);
  const buffer = Buffer.alloc(badBlock);
  for (let bad = at.from; bad < at.to; bad += badBlock)
    await assert.rejects(handle.read(buffer, 0, badBlock, bad), { code: "EIO" });
  const whole = await readFile(file);
  for (const good of [0, at.from - badBlock, at.to + 1]) {
    await handle.read(buffer, 0, badBlock, good);
    assert.deepEqual(buffer, whole.subarray(good, good + badBlock));
  }
  await handle.close();
});

test("verify reads on past unreadable sectors, and names them and the blobs they stand in", async () => {
  const { path } = await badDisk("one", { [file]: [first, second, header] });
  const error = await failure(join(path, "site.tar"));
  assert.equal(error.kind, "integrity");
  const damage = damageOf(error);
  // A sector that the header begins in may hold the end of the blob before it.
  const { from } = sectors(header.from, header.to);
  const hit = from < slot(3).headerAt ? [slot(1), slot(2), slot(3)] : [slot(1), slot(3)];
  assert.deepEqual(
    damage.map(({ digest, reason, users }) => ({ digest, reason, users })),
    hit.map(({ digest }) => ({ digest, reason: "unreadable", users: ["team/app:1"] })),
  );
  const [big, last] = [damage[0], damage.at(-1)];
  assert.deepEqual(big?.lost, {
    from: sectors(first.from, first.to).from,
    to: sectors(second.from, second.to).to,
  });
  assert.deepEqual(
    { from: big.from, to: big.to },
    { from: slot(1).bodyAt, to: slot(1).bodyAt + slot(1).size - 1 },
  );
  assert.deepEqual(last?.lost, header);
  assert.match(error.message, /cannot be read/);
  assert.match(error.hint ?? "", /Do not trust the stick/);
});

test("of a bundle in parts, the part is named, and where in it", async () => {
  const whole = await write("parted.tar", 2 * mega);
  const part = `${whole}.002`;
  const bad = { from: mega, to: mega + 10 };
  const names = [1, 2, 3, 4].map((number) => `${whole}.00${number}`);
  const files = Object.fromEntries(names.map((name) => [name, name === part ? [bad] : []]));
  const { path } = await badDisk("parts", { ...files, [`${whole}.parts.json`]: [] });
  const [damage, ...rest] = damageOf(await failure(join(path, "parted.tar")));
  assert.deepEqual(rest, []);
  assert.equal(damage?.digest, slot(1).digest);
  const lost = sectors(bad.from, bad.to);
  assert.deepEqual(damage.parts, [{ part: "parted.tar.002", ...lost }]);
  assert.deepEqual(damage.lost, { from: 2 * mega + lost.from, to: 2 * mega + lost.to });
});

test("of a blob in two parts, the part that is at fault is named; one that is missing is as well", async () => {
  const whole = await write("spread.tar", 2 * mega);
  const part = `${whole}.002`;
  const bytes = await readFile(part);
  // The second blob begins in the first part and ends in this one.
  bytes.writeUInt8(bytes.readUInt8(1000) ^ 1, 1000);
  await writeFile(part, bytes);
  const last = `${whole}.004`;
  await rm(last);
  const error = await failure(whole);
  assert.match(error.message, /open part ".*spread\.tar\.004": there is no such file/);
  const [flipped, cut, ...rest] = damageOf(error);
  assert.deepEqual(rest, []);
  assert.deepEqual([flipped?.digest, flipped?.reason], [slot(1).digest, "other bytes"]);
  assert.deepEqual(
    flipped?.parts?.map((one) => one.part),
    ["spread.tar.002"],
  );
  assert.deepEqual([cut?.digest, cut?.reason], [slot(4).digest, "cut off"]);
  assert.deepEqual(
    cut?.parts?.map((one) => one.part),
    ["spread.tar.004"],
  );
  assert.match(error.hint ?? "", /^Copy "spread\.tar\.002" and "spread\.tar\.004" again/);
  await assert.rejects(async () => openBundle(await openSource(whole)), { message: /there is no such file/ });
});

test("a stick that is pulled out ends it as what it is, not as damage", async () => {
  const disk = await badDisk("pulled", { [file]: [] });
  const bundle = await openBundle(await openSource(join(disk.path, "site.tar")), undefined, { goOn: true });
  await disk.pullOut();
  await assert.rejects(verify(bundle, silentReporter), {
    kind: "host",
    message: /EIO.*nothing else of it can be read/,
    hint: /pulled out/,
  });
  await bundle.close();
});
