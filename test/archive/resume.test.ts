/** What an earlier try left is used and checked; what is damaged in it is fetched again. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fits, planArchive } from "../../src/archive/archive-plan.ts";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { journalOf, noteBeginning, readJournal } from "../../src/archive/journal.ts";
import { openSource } from "../../src/archive/open-source.ts";
import { partialOf } from "../../src/archive/output.ts";
import { parsePartList } from "../../src/archive/parts.ts";
import { openBundle } from "../../src/archive/reader.ts";
import {
  findAside,
  findEarlier,
  forgetBeginning,
  keptBytes,
  salvage,
  setAside,
} from "../../src/archive/salvage.ts";
import { verify } from "../../src/archive/verify.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import { wrongParts } from "../../src/archive/wrong-parts.ts";
import { DrydockError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import { run } from "../lab/process.ts";
import { makeIndex, once, writeBundle } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-resume-"));
after(() => rm(folder, { recursive: true }));

const mebi = 1024 * 1024;
const manifest = Buffer.from("{}");
const small = randomBytes(700);
const medium = randomBytes(3 * mebi + 5);
const large = randomBytes(20 * mebi + 1);
const blobs = [manifest, small, medium, large];
const index = makeIndex(blobs);
const whole = join(folder, "whole.tar");
await writeBundle(whole, blobs);

const planOf = (of: BundleIndex) => planArchive({ index: of, readme: "read me\n", images: [] });

async function begin(path: string, of = index, split?: number, force = false) {
  const plan = planOf(of);
  const journal = await readJournal(journalOf(path));
  let kept = journal;
  if (journal && !fits(journal, plan, split)) {
    await setAside(path, journal);
    kept = undefined;
  }
  let counted = 0;
  const advance = (bytes: number) => {
    counted += bytes;
  };
  const aside = await findAside(path);
  const options = { force, mode: 0o644, split, journal: kept, aside, advance };
  const writer = await ArchiveWriter.create(path, plan, options);
  await salvage(path, writer);
  return { writer, counted: () => counted };
}

async function* pieces(bytes: Buffer, from = 0, failAt = bytes.length): AsyncGenerator<Buffer> {
  for (let at = from; at < bytes.length; at += 65536) {
    if (at >= failAt) throw new Error("the line broke");
    yield bytes.subarray(at, at + 65536);
  }
}

test("whole blobs are kept, one that broke goes on where it broke, and the bytes are the same", async () => {
  const path = join(folder, "broken.tar");
  const first = await begin(path);
  for (const bytes of blobs.slice(0, 3)) await first.writer.write(digestOf(bytes), once(bytes), "upstream");
  await assert.rejects(
    first.writer.write(digestOf(large), pieces(large, 0, 17 * mebi), "upstream"),
    /the line broke/,
  );
  await first.writer.close();
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith("broken")),
    ["broken.tar.partial", "broken.tar.partial.journal"],
  );

  const second = await begin(path);
  for (const bytes of blobs.slice(0, 3)) assert.equal(second.writer.wants(digestOf(bytes)), false);
  const { bytes: have } = second.writer.begun(digestOf(large));
  assert.ok(have >= 8 * mebi && have <= 17 * mebi, `${have} bytes of the broken blob are there`);
  await second.writer.write(digestOf(large), pieces(large, have), "upstream", have);
  await second.writer.finish();
  assert.equal(
    second.counted(),
    blobs.reduce((sum, { length }) => sum + length, 0),
  );
  assert.ok((await readFile(path)).equals(await readFile(whole)));
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith("broken")),
    ["broken.tar"],
  );
});

test("a kept blob whose bytes have changed is wanted again", async () => {
  const path = join(folder, "changed.tar");
  const first = await begin(path);
  for (const bytes of blobs) await first.writer.write(digestOf(bytes), once(bytes), "upstream");
  await first.writer.close();
  const slot = planOf(index).slots[2];
  const file = await open(partialOf(path), "r+");
  await file.write(Buffer.from([large.at(0) === 1 ? 2 : 1, 1, 1]), 0, 3, (slot?.bodyAt ?? 0) + 100);
  await file.close();

  const second = await begin(path);
  assert.deepEqual(
    blobs.map((bytes) => second.writer.wants(digestOf(bytes))),
    [false, false, true, false],
  );
  await second.writer.write(digestOf(medium), once(medium), "upstream");
  await second.writer.finish();
  assert.ok((await readFile(path)).equals(await readFile(whole)));
});

test("a part whose beginning has changed is an integrity error, and begins anew after that", async () => {
  const path = join(folder, "part.tar");
  const first = await begin(path);
  await assert.rejects(first.writer.write(digestOf(large), pieces(large, 0, 12 * mebi), "upstream"));
  await first.writer.close();
  const file = await open(partialOf(path), "r+");
  const at = planOf(index).slots[3]?.bodyAt ?? 0;
  await file.write(Buffer.alloc(64), 0, 64, at + 5000);
  await file.close();
  const second = await begin(path);
  const { bytes: have } = second.writer.begun(digestOf(large));
  assert.ok(have > 0);
  await assert.rejects(second.writer.write(digestOf(large), pieces(large, have), "upstream", have), {
    kind: "integrity",
  });
  assert.equal(second.writer.begun(digestOf(large)).bytes, 0);
  for (const bytes of blobs) await second.writer.write(digestOf(bytes), once(bytes), "upstream");
  await second.writer.finish();
  assert.ok((await readFile(path)).equals(await readFile(whole)));
});

test("when the plan has changed, what still fits is taken from what was set aside", async () => {
  const path = join(folder, "replanned.tar");
  const first = await begin(path);
  for (const bytes of blobs) await first.writer.write(digestOf(bytes), once(bytes), "upstream");
  await first.writer.close();
  const added = randomBytes(5000);
  const other = makeIndex([manifest, added, small, large]);
  const second = await begin(path, other);
  const wanted = [manifest, added, small, large].map((bytes) => second.writer.wants(digestOf(bytes)));
  assert.deepEqual(wanted, [false, true, false, false]);
  await second.writer.write(digestOf(added), once(added), "upstream");
  await second.writer.finish();
  const expected = join(folder, "expected.tar");
  await writeBundle(expected, [manifest, added, small, large]);
  assert.ok((await readFile(path)).equals(await readFile(expected)));
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith("replanned")),
    ["replanned.tar"],
  );
});

test("when the plan has changed, a blob that was half there goes on in its new place", async () => {
  const path = join(folder, "half-moved.tar");
  const first = await begin(path);
  await assert.rejects(first.writer.write(digestOf(large), pieces(large, 0, 12 * mebi), "upstream"));
  await first.writer.close();
  const second = await begin(path, makeIndex([manifest, medium, large]), 9 * mebi);
  const { bytes: have, lead } = second.writer.begun(digestOf(large));
  assert.ok(have >= 8 * mebi, `${have} bytes are kept`);
  assert.ok(lead >= 0 && lead < 4096);
  await second.writer.write(digestOf(large), pieces(large, have), "upstream", have);
  for (const bytes of [manifest, medium]) await second.writer.write(digestOf(bytes), once(bytes), "upstream");
  await second.writer.finish();
  await verifyAll(path);
});

test("another blob's wrong bytes cost a blob that is half there nothing; its own do", async () => {
  const path = join(folder, "innocent.tar");
  const haveOf = async () => (await readJournal(journalOf(path)))?.entries.get(digestOf(large))?.have ?? 0;
  const first = await begin(path);
  const elsewhere = new DrydockError("integrity", "another blob has other bytes");
  async function* interrupted() {
    yield* pieces(large.subarray(0, 12 * mebi));
    throw elsewhere;
  }
  await assert.rejects(first.writer.write(digestOf(large), interrupted(), "upstream"));
  await first.writer.close();
  const kept = await haveOf();
  assert.ok(kept >= 8 * mebi, `${kept} bytes are kept`);
  const second = await begin(path);
  const wrong = Buffer.from(large);
  wrong.writeUInt8(wrong.readUInt8(kept) ^ 1, kept);
  await assert.rejects(second.writer.write(digestOf(large), pieces(wrong, kept), "upstream", kept), {
    kind: "integrity",
  });
  await second.writer.close();
  assert.equal(await haveOf(), 0);
});

test("a torn journal costs what its torn line said, no more", async () => {
  const path = join(folder, "torn.tar");
  const first = await begin(path);
  for (const bytes of blobs.slice(0, 2)) await first.writer.write(digestOf(bytes), once(bytes), "upstream");
  await first.writer.close();
  const file = await open(journalOf(path), "r+");
  await file.truncate((await file.stat()).size - 20);
  await file.close();
  const second = await begin(path);
  assert.deepEqual(
    blobs.slice(0, 2).map((bytes) => second.writer.wants(digestOf(bytes))),
    [false, true],
  );
  await second.writer.close();
});

test("parts joined are the bundle, and their list says what each must be", async () => {
  const path = join(folder, "parted.tar");
  const split = 5 * mebi + 3;
  const first = await begin(path, index, split);
  for (const bytes of blobs.slice(2)) await first.writer.write(digestOf(bytes), pieces(bytes), "upstream");
  await first.writer.close();
  const second = await begin(path, index, split);
  assert.equal(second.writer.wants(digestOf(large)), false);
  for (const bytes of blobs.slice(0, 2)) await second.writer.write(digestOf(bytes), once(bytes), "upstream");
  await second.writer.finish();
  const list = parsePartList(await readFile(`${path}.parts.json`, "utf8"), "the list");
  const parts = await Promise.all(list.parts.map(({ name }) => readFile(join(folder, name))));
  assert.deepEqual(
    list.parts.map(({ sha256 }) => sha256),
    parts.map((part) => createHash("sha256").update(part).digest("hex")),
  );
  assert.deepEqual(
    parts.slice(0, -1).map(({ length }) => length),
    parts.slice(0, -1).map(() => split),
  );
  assert.ok(Buffer.concat(parts).equals(await readFile(whole)));

  // Read where they lie, by the whole's name, by a part's, or by the list's.
  for (const name of [path, `${path}.001`, `${path}.003`, `${path}.parts.json`]) await verifyAll(name);
  const third = await readFile(`${path}.003`);
  const cases: [string, () => Promise<unknown>, RegExp][] = [
    [
      "short",
      () => writeFile(`${path}.003`, third.subarray(1)),
      /part ".*parted.tar.003": it has \d+ bytes, wanted/,
    ],
    ["missing", () => rm(`${path}.003`), /part ".*parted.tar.003": there is no such file/],
    [
      "swapped",
      () => writeFile(`${path}.003`, parts[1] ?? ""),
      /\(in "parted.tar.003"\)|\(in .* "parted.tar.003"/,
    ],
  ];
  for (const [name, damage, message] of cases) {
    await damage();
    await assert.rejects(verifyAll(path), { kind: "integrity", message }, name);
  }
  assert.deepEqual(await wrongParts(path), [{ part: "parted.tar.003", holds: "parted.tar.002" }]);
  await rm(`${path}.parts.json`);
  await writeFile(`${path}.003`, third);
  await verifyAll(path);
});

test("a kill while the parts get their names costs nothing", async () => {
  const path = join(folder, "named.tar");
  const first = await begin(path, index, 5 * mebi);
  for (const bytes of blobs) await first.writer.write(digestOf(bytes), pieces(bytes), "upstream");
  await first.writer.close();
  for (const number of ["001", "002"]) await rename(partialOf(`${path}.${number}`), `${path}.${number}`);
  assert.ok(await findEarlier(path));
  const second = await begin(path, index, 5 * mebi);
  for (const bytes of blobs) assert.equal(second.writer.wants(digestOf(bytes)), false);
  await second.writer.finish();
  await verifyAll(path);
});

test("a kill after the bundle has got its name leaves a journal that counts for nothing", async () => {
  const path = join(folder, "done.tar");
  const first = await begin(path);
  for (const bytes of blobs) await first.writer.write(digestOf(bytes), once(bytes), "upstream");
  await first.writer.close();
  await rename(partialOf(path), path);
  assert.equal(await findEarlier(path), undefined);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.startsWith("done")),
    ["done.tar"],
  );
});

test("a kill between the two renames that set a try aside costs nothing", async () => {
  const path = join(folder, "aside.tar");
  const first = await begin(path);
  for (const bytes of blobs) await first.writer.write(digestOf(bytes), once(bytes), "upstream");
  await first.writer.close();
  await rename(partialOf(path), partialOf(`${path}.old`));
  assert.ok(await findEarlier(path));
  const second = await begin(path, makeIndex([manifest, small, large]));
  for (const bytes of [manifest, small, large]) assert.equal(second.writer.wants(digestOf(bytes)), false);
  await second.writer.finish();
  await verifyAll(path);
});

test("a kill before the plan, or after a try was set aside, leaves the time of the first try", async () => {
  const path = join(folder, "time.tar");
  await noteBeginning(journalOf(path), "2001-02-03T04:05:06Z");
  assert.deepEqual(await findEarlier(path), { created: "2001-02-03T04:05:06Z" });
  assert.equal(await keptBytes(path), undefined);
  await forgetBeginning(path);
  assert.equal(await findEarlier(path), undefined);

  const first = await begin(path);
  await first.writer.write(digestOf(small), once(small), "upstream");
  await first.writer.close();
  const journal = await readJournal(journalOf(path));
  assert.ok(journal);
  await setAside(path, journal);
  assert.deepEqual(await findEarlier(path), { created: journal.created });
  assert.deepEqual(await keptBytes(path), { bytes: small.length, file: partialOf(path) });
  await forgetBeginning(path);
  assert.ok(await findEarlier(path));
});

test("what was set aside gives its space back as it is moved", async () => {
  const full = join(folder, "full");
  await mkdir(full);
  await run("mount", ["-t", "tmpfs", "-o", "size=250m", "tmpfs", full]);
  try {
    const path = join(full, "moved.tar");
    const parts = Array.from({ length: 16 }, () => randomBytes(10 * mebi));
    for (const split of [undefined, 30 * mebi]) {
      const first = await begin(path, makeIndex([manifest, ...parts]), split, true);
      for (const bytes of [manifest, ...parts])
        await first.writer.write(digestOf(bytes), once(bytes), "upstream");
      await first.writer.close();
      const changed = [manifest, small, ...parts];
      const second = await begin(path, makeIndex(changed), split, true);
      for (const bytes of [manifest, ...parts]) assert.equal(second.writer.wants(digestOf(bytes)), false);
      await second.writer.write(digestOf(small), once(small), "upstream");
      await second.writer.finish();
      await verifyAll(path);
      await rm(path, { force: true });
    }
  } finally {
    await run("umount", ["-l", full]);
  }
});

test("a set that replaces a larger one leaves none of its parts", async () => {
  const path = join(folder, "replaced.tar");
  for (const split of [3 * mebi, 9 * mebi, undefined]) {
    const { writer } = await begin(path, index, split, true);
    for (const bytes of blobs) await writer.write(digestOf(bytes), pieces(bytes), "upstream");
    await writer.finish();
    const names = (await readdir(folder)).filter((name) => name.startsWith("replaced")).sort();
    const parts = Math.ceil(planOf(index).size / (split ?? Number.POSITIVE_INFINITY));
    assert.equal(names.length, split === undefined ? 1 : parts + 1, names.join(" "));
    await verifyAll(path);
  }
});

async function verifyAll(path: string): Promise<void> {
  const bundle = await openBundle(await openSource(path));
  await verify(bundle, silentReporter).finally(() => bundle.close());
}
