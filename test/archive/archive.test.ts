/** The writer and the reader against each other, against stock tools, and against every kind of damage. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { planArchive } from "../../src/archive/archive-plan.ts";
import { blobName, headerOf } from "../../src/archive/layout.ts";
import { type Bundle, openBundle } from "../../src/archive/reader.ts";
import { openFile, openPipe } from "../../src/archive/source.ts";
import { ArchiveWriter } from "../../src/archive/writer.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { makeIndex, memorySource, once, writeBundle } from "./bundles.ts";

// Sizes around the block and the chunk: empty, one short of a block, a block, several chunks and a rest.
const blobs = [
  Buffer.from("{}"),
  ...[0, 511, 512, 513, 3 * 1024 * 1024 + 7].map((size) => randomBytes(size)),
];
let folder: string;
let path: string;
let digest: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-archive-"));
  path = join(folder, "site.tar");
  digest = await writeBundle(path, blobs);
});
after(() => rm(folder, { recursive: true }));

async function readAll(bundle: Bundle, concurrency = 1): Promise<Map<Digest, Buffer>> {
  const read = new Map<Digest, Buffer>();
  await bundle.forEachBlob({
    wants: () => true,
    concurrency,
    use: async (blob) => {
      const chunks: Buffer[] = [];
      for await (const chunk of blob.read()) chunks.push(Buffer.from(chunk));
      read.set(blob.digest, Buffer.concat(chunks));
    },
  });
  return read;
}

const expected = new Map(blobs.map((bytes) => [digestOf(bytes), bytes]));

test("what was written is read again, one after the other and side by side", async () => {
  for (const concurrency of [1, 4]) {
    const bundle = await openBundle(await openFile(path), `sha256:${digest}`);
    assert.deepEqual(await readAll(bundle, concurrency), expected);
    assert.equal(bundle.size, (await stat(path)).size);
    await bundle.close();
  }
});

test("a pipe is read like a file", async () => {
  const descriptor = openSync(path, "r");
  const bundle = await openBundle(openPipe(descriptor));
  assert.deepEqual(await readAll(bundle, 4), expected);
  closeSync(descriptor);
});

test("blobs that nobody wants are passed over, in a file and in a pipe", async () => {
  const last = digestOf(blobs.at(-1) as Buffer);
  const descriptor = openSync(path, "r");
  for (const source of [await openFile(path), openPipe(descriptor)]) {
    const bundle = await openBundle(source);
    const seen: Digest[] = [];
    await bundle.forEachBlob({
      wants: (blob) => blob.digest === last,
      use: async (blob) => {
        seen.push(blob.digest);
        for await (const _ of blob.read());
      },
    });
    assert.deepEqual(seen, [last]);
    await bundle.close();
  }
  closeSync(descriptor);
});

test("one blob is read at its offset", async () => {
  const bundle = await openBundle(await openFile(path));
  for (const [name, bytes] of expected) {
    const chunks = await Array.fromAsync(bundle.blob(name), (chunk: Buffer) => Buffer.from(chunk));
    assert.deepEqual(Buffer.concat(chunks), bytes);
  }
  await bundle.close();
});

test("tar and sha256sum agree with it", () => {
  const out = join(folder, "unpacked");
  execFileSync("sh", [
    "-ec",
    'mkdir "$1" && tar xf "$2" -C "$1" && cd "$1" && sha256sum -c --strict SHA256SUMS',
    "sh",
    out,
    path,
  ]);
  const sums = execFileSync("sh", ["-c", 'tar xOf "$1" SHA256SUMS | sha256sum', "sh", path], {
    encoding: "utf8",
  });
  assert.equal(sums.slice(0, 64), digest);
  const listed = execFileSync("sh", ["-ec", 'cd "$1"/blobs/sha256 && sha256sum *', "sh", out], {
    encoding: "utf8",
  });
  for (const line of listed.trimEnd().split("\n")) assert.equal(line.slice(0, 64), line.slice(66));
});

test("GNU tar reads the size of a blob of more than 8 GiB", async () => {
  const size = 9 * 1024 ** 3 + 1;
  const huge = join(folder, "huge.tar");
  await writeFile(huge, headerOf(blobName(digestOf("x")), size, 0));
  await truncate(huge, 1536 + size + 511 + 1024);
  const listed = execFileSync("tar", ["tvf", huge], { encoding: "utf8" });
  assert.match(listed, new RegExp(` ${size} .* blobs/sha256/[0-9a-f]{64}\n$`));
});

test("the same plan gives the same bytes", async () => {
  const again = join(folder, "again.tar");
  assert.equal(await writeBundle(again, blobs), digest);
  assert.ok((await readFile(again)).equals(await readFile(path)));
});

test("another digest than the one asked for is refused", async () => {
  await assert.rejects(async () => openBundle(await openFile(path), "0".repeat(64)), {
    kind: "integrity",
    message: /its digest is [0-9a-f]{64}, wanted 0{64}/,
  });
});

test("every flipped byte is found", async () => {
  const small = join(folder, "small.tar");
  await writeBundle(small, [Buffer.from("{}"), randomBytes(700), randomBytes(20)]);
  const good = await readFile(small);
  await readAll(await openBundle(memorySource(good)));
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good);
    bad[at] = (bad[at] ?? 0) ^ 0x01;
    await assert.rejects(
      async () => readAll(await openBundle(memorySource(bad), undefined)),
      (error: Error & { kind?: string }) => error.kind === "integrity",
      `the flipped byte ${at} was not found`,
    );
  }
});

test("every truncation is found, with the blob's name where one is cut", async () => {
  const good = await readFile(path);
  for (const size of [0, 100, 512, 5000, good.length - 1024 * 1024, good.length - 1024, good.length - 1]) {
    await assert.rejects(async () => readAll(await openBundle(memorySource(good.subarray(0, size)))), {
      kind: "integrity",
      message: /truncated/,
    });
  }
  await assert.rejects(async () => openBundle(memorySource(good.subarray(0, good.length - 1024 * 1024))), {
    message: new RegExp(`inside blob ${digestOf(blobs.at(-1) as Buffer)} \\(needed by team/app\\)`),
  });
});

/** An entry as it stands in the archive: header, body, padding. */
const entry = (name: string, body: Buffer, mtime = 1767323045) =>
  Buffer.concat([headerOf(name, body.length, mtime), body, Buffer.alloc((512 - (body.length % 512)) % 512)]);

test("entries that the index does not list are refused, wherever they stand", async () => {
  const good = await readFile(path);
  const plan = planArchive({ index: makeIndex(blobs), readme: "read me\n", images: [] });
  const body = good.subarray(0, good.length - 1024);
  const third = plan.slots[2]?.headerAt ?? 0;
  const fourth = plan.slots[3]?.headerAt ?? 0;
  const cases = {
    "an extra entry at the end": [
      Buffer.concat([body, entry("evil.sh", Buffer.from("x")), Buffer.alloc(1024)]),
      /entry "evil.sh"/,
    ],
    "an extra entry between blobs": [
      Buffer.concat([good.subarray(0, third), entry("evil.sh", Buffer.from("x")), good.subarray(third)]),
      /entry "evil.sh"/,
    ],
    "an extra entry at the top": [
      Buffer.concat([entry("evil.sh", Buffer.from("x")), good]),
      /entry "evil.sh"/,
    ],
    "a doubled entry": [
      Buffer.concat([good.subarray(0, fourth), good.subarray(third, fourth), good.subarray(fourth)]),
      /which stood there before/,
    ],
    "a doubled SHA256SUMS": [Buffer.concat([good.subarray(0, 1024), good]), /entry "SHA256SUMS"/],
    "an entry left out": [Buffer.concat([good.subarray(0, third), good.subarray(fourth)]), /out of order/],
    "bytes after the end": [Buffer.concat([good, Buffer.alloc(512)]), /nothing more/],
    "another archive behind it": [Buffer.concat([good, good]), /nothing more/],
  } as const;
  for (const [name, [bytes, message]] of Object.entries(cases)) {
    await assert.rejects(
      async () => readAll(await openBundle(memorySource(bytes))),
      { kind: "integrity", message },
      name,
    );
    const unsized = { ...memorySource(bytes), size: undefined };
    await assert.rejects(
      async () => readAll(await openBundle(unsized)),
      { kind: "integrity", message },
      `${name}, from a pipe`,
    );
  }
});

test("a signature after SHA256SUMS is passed over and named", async () => {
  const good = await readFile(path);
  const sumsEnd = 512 + Math.ceil(parseInt(good.toString("latin1", 124, 135), 8) / 512) * 512;
  const signed = Buffer.concat([
    good.subarray(0, sumsEnd),
    entry("signatures/ab12.sig", Buffer.from("sig")),
    good.subarray(sumsEnd),
  ]);
  const bundle = await openBundle(memorySource(signed), digest);
  assert.deepEqual(bundle.signatures, ["signatures/ab12.sig"]);
  assert.deepEqual(await readAll(bundle), expected);
});

test("an index of another format version is refused as such", async () => {
  const index = { ...makeIndex([Buffer.from("{}")]), formatVersion: 2 as 1 };
  const newer = join(folder, "newer.tar");
  await writeBundle(newer, [Buffer.from("{}")], index);
  await assert.rejects(async () => openBundle(await openFile(newer)), {
    kind: "input",
    message: /format version 2 is unknown/,
  });
});

test("an index with a name that is no repository, or a digest that is not carried, is refused", async () => {
  const one = [Buffer.from("{}")];
  const good = makeIndex(one);
  const missing = digestOf("missing");
  const cases = {
    "a path for a repository": {
      ...good,
      repositories: { "../../etc": { tags: {}, revisions: [], layers: [] } },
    },
    "a path for a file": { ...good, files: [{ name: "a/../../b", digest: digestOf("{}") }] },
    "an absent layer": { ...good, repositories: { app: { tags: {}, revisions: [], layers: [missing] } } },
    "a tag on no revision": {
      ...good,
      repositories: { app: { tags: { "1": digestOf("{}") }, revisions: [], layers: [] } },
    },
    "an unknown key": { ...good, extra: true },
  };
  for (const [name, index] of Object.entries(cases)) {
    const bad = join(folder, `${name}.tar`);
    await writeBundle(bad, one, index);
    await assert.rejects(async () => openBundle(await openFile(bad)), { kind: "integrity" }, name);
  }
});

test("wrong bytes, too few and too many never make a bundle", async () => {
  const bytes = randomBytes(2000);
  const plan = planArchive({ index: makeIndex([bytes]), readme: "", images: [] });
  const wrong = {
    "other bytes": randomBytes(2000),
    "too few": bytes.subarray(1),
    "too many": Buffer.concat([bytes, bytes]),
  };
  for (const [name, sent] of Object.entries(wrong)) {
    const out = join(folder, `${name}.tar`);
    const writer = await ArchiveWriter.create(out, plan, {
      force: false,
      mode: 0o644,
      advance: () => {},
    });
    await assert.rejects(writer.write(digestOf(bytes), once(sent), "upstream"), {
      kind: "integrity",
      message: /read upstream: blob sha256/,
    });
    await assert.rejects(writer.finish());
    await writer.close();
  }
});

test("an output that exists is only replaced by force", async () => {
  const plan = planArchive({ index: makeIndex(blobs), readme: "", images: [] });
  const options = { force: false, mode: 0o644, advance: () => {} };
  await assert.rejects(ArchiveWriter.create(path, plan, options), {
    kind: "usage",
    message: /it exists/,
  });
  const writer = await ArchiveWriter.create(path, plan, { ...options, force: true });
  await writer.close();
  assert.ok((await stat(path)).isFile());
});
