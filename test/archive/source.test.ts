/** Real files and real pipes: short reads, pipes that have nothing just now, ends that come early. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync } from "node:fs";
import { mkdtemp, open, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { openSource } from "../../src/archive/open-source.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile, openPipe } from "../../src/archive/source.ts";
import { verify } from "../../src/archive/verify.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import { run } from "../lab/process.ts";
import { writeBundle } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-source-"));
after(() => rm(folder, { recursive: true }));

/** More than a pipe holds (64 KiB), so that every read of it is short. */
const bytes = randomBytes(300_000);
const file = join(folder, "file");
await writeFile(file, bytes);

let count = 0;

/** A named pipe, open at both ends; the reading one is closed with the test. @param flags of the reading end */
async function openFifo(t: TestContext, flags: number): Promise<{ reader: number; writer: number }> {
  const path = join(folder, `fifo-${++count}`);
  await run("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  // There is a writer now, so an end that blocks can be opened, too.
  const blocking = openSync(path, constants.O_RDONLY);
  const [used, other] = flags & constants.O_NONBLOCK ? [reader, blocking] : [blocking, reader];
  closeSync(other);
  t.after(() => closeSync(used));
  return { reader: used, writer };
}

/** Writes in pieces of odd sizes, with pauses, from this process; then closes. */
async function trickle(writer: number, all: Buffer, pieces: number): Promise<void> {
  const size = Math.ceil(all.length / pieces);
  const handle = await open(`/proc/self/fd/${writer}`, "w");
  closeSync(writer);
  for (let at = 0; at < all.length; at += size) {
    await handle.write(all.subarray(at, at + size));
    await delay(8);
  }
  await handle.close();
}

const modes = { blocking: 0, nonblocking: constants.O_NONBLOCK };

for (const [mode, flags] of Object.entries(modes)) {
  test(`a ${mode} pipe with pauses and short reads gives all its bytes, and skips what is not asked for`, async (t) => {
    const { reader, writer } = await openFifo(t, flags);
    const writing = trickle(writer, bytes, 37);
    const source = openPipe(reader);
    assert.deepEqual([source.sequential, source.size], [true, undefined]);
    const buffer = Buffer.alloc(100_000);
    assert.equal(await source.readAt(0, buffer.subarray(0, 10)), 10);
    assert.deepEqual(buffer.subarray(0, 10), bytes.subarray(0, 10));
    assert.equal(await source.readAt(120_001, buffer), buffer.length);
    assert.deepEqual(buffer, bytes.subarray(120_001, 220_001));
    // At the end fewer, and then none.
    assert.equal(await source.readAt(250_000, buffer), 50_000);
    assert.deepEqual(buffer.subarray(0, 50_000), bytes.subarray(250_000));
    assert.equal(await source.readAt(300_000, buffer), 0);
    assert.equal(await source.readAt(400_000, buffer), 0);
    await writing;
  });

  test(`a whole bundle is verified through a ${mode} pipe`, async (t) => {
    const path = join(folder, `${mode}.tar`);
    const blobs = [Buffer.from("{}"), randomBytes(1_500_000), randomBytes(700)];
    const digest = await writeBundle(path, blobs);
    const { reader, writer } = await openFifo(t, flags);
    const whole = await readAll(path);
    const writing = trickle(writer, whole, 11);
    const bundle = await openBundle(openPipe(reader), digest);
    await verify(bundle, silentReporter);
    assert.equal(bundle.size, whole.length);
    await writing;
  });
}

async function readAll(path: string): Promise<Buffer> {
  const handle = await open(path, "r");
  const all = await handle.readFile();
  await handle.close();
  return all;
}

test("a pipe cannot go back: a bug, not an input", async () => {
  const descriptor = openSync(file, "r");
  const source = openPipe(descriptor);
  await source.readAt(0, Buffer.alloc(100));
  await assert.rejects(source.readAt(50, Buffer.alloc(1)), {
    name: "Error",
    message: /cannot go back from 100 to 50/,
  });
  closeSync(descriptor);
});

test("a pipe that ends inside a blob is truncated there", async (t) => {
  const path = join(folder, "cut.tar");
  const last = randomBytes(100_000);
  await writeBundle(path, [Buffer.from("{}"), last]);
  const whole = await readAll(path);
  const { reader, writer } = await openFifo(t, 0);
  const cut = whole.length - 50_000;
  const writing = trickle(writer, whole.subarray(0, cut), 3);
  const bundle = await openBundle(openPipe(reader, "a pipe"));
  await assert.rejects(verify(bundle, silentReporter), {
    kind: "integrity",
    message: new RegExp(`^read bundle "a pipe": .*ends at byte ${cut}, inside blob ${digestOf(last)}[^\n]*$`),
  });
  await writing;
});

test("a descriptor that cannot be read is a host error", async () => {
  const descriptor = openSync(folder, "r");
  await assert.rejects(openPipe(descriptor, "the folder").readAt(0, Buffer.alloc(10)), {
    kind: "host",
    message: /^read the folder: EISDIR/,
  });
  closeSync(descriptor);
});

test("a file is read at any position, also past its end, and through a link", async () => {
  const path = join(folder, "link");
  await symlink(file, path);
  const source = await openSource(path);
  assert.deepEqual([source.sequential, source.size, source.name], [false, bytes.length, path]);
  const buffer = Buffer.alloc(1000);
  for (const at of [200_000, 0, bytes.length - 1000]) {
    assert.equal(await source.readAt(at, buffer), 1000);
    assert.deepEqual(buffer, bytes.subarray(at, at + 1000));
  }
  assert.equal(await source.readAt(bytes.length - 7, buffer), 7);
  assert.equal(await source.readAt(bytes.length + 7, buffer), 0);
  await source.close();
  await assert.rejects(source.readAt(0, buffer), { kind: "host" });
});

test("a folder, a device and an absent file are no bundles", async () => {
  await assert.rejects(openFile(folder), { kind: "input", message: /open bundle ".*": it is / });
  await assert.rejects(openFile("/dev/zero"), {
    kind: "input",
    message: /"\/dev\/zero": it is not a regular/,
  });
  await assert.rejects(openSource(join(folder, "absent")), { kind: "input", message: /absent"/ });
});

test("- is standard input", async () => {
  const source = await openSource("-");
  assert.deepEqual([source.name, source.sequential], ["standard input", true]);
});
