/** The writer when sources and disks fail, and when many sources write side by side. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { planArchive } from "../../src/archive/archive-plan.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import { verify } from "../../src/archive/verify.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import { run } from "../lab/process.ts";
import { makeIndex, once } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-writer-"));
const mounts: string[] = [];
after(async () => {
  for (const mount of mounts) await run("umount", ["--lazy", mount]);
  await rm(folder, { recursive: true });
});

const mega = 1024 * 1024;
const blobs = [0, 1, 511, mega - 512, mega, 3 * mega + 11].map((size) => randomBytes(size));
const manifest = Buffer.from("{}");
const all = [manifest, ...blobs];
const plan = planArchive({ index: makeIndex(all), readme: "", images: [] });
const options = { force: false, mode: 0o644, advance: () => {} };

let count = 0;
async function home(): Promise<string> {
  const path = join(folder, String(++count));
  await mkdir(path);
  return path;
}

async function tmpfs(size: string): Promise<string> {
  const path = await home();
  await run("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  mounts.push(path);
  return path;
}

/** In pieces of this size, with a pause now and then, so that several blobs are under way at once. */
async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0, number = 0; at < bytes.length; at += size, number++) {
    if (number % 50 === 0) await delay(1);
    yield bytes.subarray(at, at + size);
  }
}

test("blobs that arrive side by side, in pieces of any size, each fill their own slot", async () => {
  for (const size of [1, 1000, 65_536, 10 * mega]) {
    const path = join(await home(), "out.tar");
    let advanced = 0;
    const writer = await ArchiveWriter.create(path, plan, {
      ...options,
      advance: (bytes) => {
        advanced += bytes;
      },
    });
    // A byte at a time is slow: then only the small ones.
    const whole = size === 1 ? mega : size;
    const writes = all.map((bytes) => {
      const source = pieces(bytes, bytes.length > 1000 ? Math.max(whole, 1000) : size);
      return writer.write(digestOf(bytes), source, "the test");
    });
    await Promise.all(writes.reverse());
    await writer.finish();
    assert.equal(
      advanced,
      all.reduce((sum, { length }) => sum + length, 0),
    );
    const bundle = await openBundle(await openFile(path), plan.digest);
    await verify(bundle, silentReporter);
    await bundle.close();
  }
});

test("a blob that was begun is not wanted again, and a second write does nothing", async () => {
  const writer = await ArchiveWriter.create(join(await home(), "out.tar"), plan, options);
  const digest = digestOf(blobs[5] ?? "");
  assert.ok(writer.wants(digest));
  const first = writer.write(digest, pieces(blobs[5] ?? Buffer.alloc(0), 1000), "first");
  assert.ok(!writer.wants(digest));
  await writer.write(digest, once(Buffer.from("something else")), "second");
  await first;
  await writer.write(digestOf("not in the plan"), once(Buffer.from("x")), "third");
  assert.ok(!writer.wants(digestOf("not in the plan")));
  await writer.close();
});

test("a source that throws: its own error, no finish, what is there kept, nothing unhandled", async (t) => {
  const unhandled: unknown[] = [];
  const listen = (error: unknown) => unhandled.push(error);
  process.on("unhandledRejection", listen);
  t.after(() => process.off("unhandledRejection", listen));
  const at = await home();
  const writer = await ArchiveWriter.create(join(at, "out.tar"), plan, options);
  const last = blobs[5] ?? Buffer.alloc(0);
  async function* breaking() {
    yield last.subarray(0, 2 * mega);
    throw new Error("the cable was pulled");
  }
  await assert.rejects(writer.write(digestOf(last), breaking(), "x"), { message: "the cable was pulled" });
  for (const bytes of all.slice(0, -1)) await writer.write(digestOf(bytes), once(bytes), "x");
  await assert.rejects(writer.finish(), { message: /1 blobs of the plan were never written/ });
  const kept = ["out.tar.partial", "out.tar.partial.journal"];
  assert.deepEqual(await readdir(at), kept);
  await writer.close();
  await delay(20);
  assert.deepEqual(await readdir(at), kept);
  assert.deepEqual(unhandled, []);
});

test("until it is finished it is the owner's alone, under another name", async () => {
  const at = await home();
  const path = join(at, "out.tar");
  await writeFile(path, "the last good one");
  const writer = await ArchiveWriter.create(path, plan, { ...options, force: true });
  assert.equal((await stat(`${path}.partial`)).mode & 0o777, 0o600);
  for (const bytes of all) await writer.write(digestOf(bytes), once(bytes), "x");
  assert.equal(await readFile(path, "utf8"), "the last good one");
  await writer.finish();
  assert.deepEqual(await readdir(at), ["out.tar"]);
  assert.equal((await stat(path)).mode & 0o777, 0o644);
  assert.equal((await stat(path)).size, plan.size);
});

test("too little space is known before the first byte", async () => {
  const at = await tmpfs("1m");
  await assert.rejects(ArchiveWriter.create(join(at, "out.tar"), plan, options), {
    kind: "preflight",
    message: new RegExp(`needs ${plan.size.toLocaleString("en")} bytes`),
  });
  assert.deepEqual(await readdir(at), []);
});

test("a disk that fills up midway is a host error that says how much is needed, however slow the source", async () => {
  const at = await tmpfs("8m");
  const writer = await ArchiveWriter.create(join(at, "out.tar"), plan, options);
  await writeFile(join(at, "somebody else's"), randomBytes(6 * mega));
  const last = blobs[5] ?? Buffer.alloc(0);
  // While it waits, the write before fails: nobody may be told of it in any other way.
  async function* slow() {
    for (let from = 0; from < last.length; from += mega) {
      yield last.subarray(from, from + mega);
      await delay(100);
    }
  }
  await assert.rejects(writer.write(digestOf(last), slow(), "x"), {
    kind: "host",
    message: /the disk is full/,
    hint: /The bundle needs [\d,]+ bytes there/,
  });
  async function* breaking() {
    yield blobs[4]?.subarray(0, mega) ?? Buffer.alloc(0);
    await delay(100);
    throw new Error("the cable was pulled");
  }
  const both = writer.write(digestOf(blobs[4] ?? ""), breaking(), "x");
  await assert.rejects(both, /the disk is full|the cable was pulled/);
  await writer.close();
  assert.deepEqual((await readdir(at)).sort(), [
    "out.tar.partial",
    "out.tar.partial.journal",
    "somebody else's",
  ]);
});
