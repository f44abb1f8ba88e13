/** FORMAT.md, proven: a reader that was written from it alone reads what our writer writes, and agrees with our reader. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { planArchive } from "../../src/archive/archive-plan.ts";
import type { BundleBlob, BundleIndex, BundleRepository } from "../../src/archive/bundle-index.ts";
import { contentLinks, storedBlobs, tagLinks, totalsOf } from "../../src/archive/contents.ts";
import { headerOf, layOut } from "../../src/archive/layout.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { DrydockError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { makeIndex, memorySource, writeBundle } from "./bundles.ts";
import { readSecond, secondHeader, secondStorage, secondTotals } from "./second-reader.ts";

/** One blob of each role, in the order that the format wants, of sizes around the block's. */
const parts: [BundleBlob["role"], Buffer][] = [
  ["certificate", Buffer.from("a CA's certificate\n")],
  ["certificate", Buffer.from("a server's certificate\n")],
  ["key", Buffer.from("a key\n")],
  ["registry", Buffer.from('{"the registry":"its image manifest"}')],
  ["image", Buffer.from('{"an":"image manifest"}')],
  ["image", Buffer.alloc(0)],
  ["image", randomBytes(512)],
  ["image", randomBytes(70_001)],
  ["seed", gzipSync(randomBytes(3000))],
  ["file", Buffer.from("a file\n")],
  ["package", Buffer.from("!<arch>\na package")],
];
const bytes = parts.map(([, one]) => one);
const [ca, server, key, registry, manifest, config, layer, shared, seed, file, deb] = bytes.map(digestOf);

let folder: string;
let archive: Buffer;
let digest: string;

function fullIndex(): BundleIndex {
  const inSeed = [digestOf("an image manifest in the seed"), digestOf("its layer")] as const;
  const blobs = parts.map(([role, one]) => ({ digest: digestOf(one), size: one.length, role }));
  const repositories: Record<string, BundleRepository> = {
    "old/app": { tags: { "2017": inSeed[0] }, revisions: [inSeed[0]], layers: [inSeed[1]] },
    "team/app": {
      tags: { "1": some(manifest), latest: some(manifest) },
      revisions: [some(manifest)],
      layers: [some(config), some(layer), some(shared)].sort(),
    },
  };
  const seeds: BundleIndex["seeds"] = [
    {
      sha256: some(seed).slice("sha256:".length),
      repositories: {},
      leftOut: [],
      size: bytes[8]?.length ?? 0,
      source: "seed.tar.gz",
      packed: {
        compression: "gzip",
        blobs: [
          { digest: inSeed[0], size: 29 },
          { digest: inSeed[1], size: 9 },
        ],
      },
    },
  ];
  return {
    ...makeIndex([Buffer.from("{}")]),
    registry: {
      reference: "docker.io/library/registry:2",
      images: { "linux/amd64": some(registry) },
      port: 443,
      access: "push",
    },
    totals: totalsOf({ blobs, seeds, repositories }),
    certificates: {
      from: "bundle",
      ca: some(ca),
      server: some(server),
      key: some(key),
      keyEncrypted: false,
    },
    blobs,
    repositories,
    seeds,
    files: [{ name: "notes/read me.txt", digest: some(file) }],
    packages: [
      {
        match: { id: "debian", version: "12", architecture: "amd64" },
        files: [{ name: "docker.io_20.10.24+dfsg1-1_amd64.deb", digest: some(deb) }],
      },
    ],
    images: [
      {
        source: "app:1",
        repository: "team/app",
        digest: some(manifest),
        platforms: ["linux/amd64"],
        tag: "1",
      },
    ],
    leftOut: [{ what: "1 blob", why: "nobody needs it" }],
  };
}

function some<T>(value: T | undefined): T {
  assert.ok(value !== undefined);
  return value;
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-second-"));
  digest = await writeBundle(join(folder, "site.tar"), bytes, fullIndex());
  archive = await readFile(join(folder, "site.tar"));
});
after(() => rm(folder, { recursive: true }));

/** All of it through our own reader. */
async function readOurs(from: Buffer, expected?: string) {
  const bundle = await openBundle(memorySource(from), expected);
  const blobs = new Map<string, Buffer>(bundle.certificates);
  await bundle.forEachBlob({
    wants: () => true,
    use: async (blob) => {
      blobs.set(
        blob.digest,
        Buffer.concat(await Array.fromAsync(blob.read(), (chunk: Buffer) => Buffer.from(chunk))),
      );
    },
  });
  return { ...bundle, blobs };
}

test("both readers find the same in a bundle", async () => {
  const ours = await readOurs(archive, digest);
  const second = readSecond(archive, digest);
  assert.equal(second.digest, ours.digest);
  assert.deepEqual(second.index, ours.index);
  assert.deepEqual(second.blobs, ours.blobs);
  assert.deepEqual(second.blobs, new Map(bytes.map((one) => [digestOf(one), one])));
  const { top } = planArchive({ index: ours.index, readme: "read me\n", images: [] });
  const { slots } = layOut(ours.index.blobs, top.length);
  assert.deepEqual(second.offsets, new Map(slots.map((slot) => [slot.digest, slot.bodyAt])));
});

test("both know the same storage from the index alone, and count the same", async () => {
  const { index } = await readOurs(archive);
  const { index: second } = readSecond(archive);
  const { blobs, links } = secondStorage(second);
  assert.deepEqual(blobs, new Map([...storedBlobs(index)].map(([name, size]) => [blobPath(name), size])));
  assert.deepEqual(
    links,
    new Map([...contentLinks(index), ...tagLinks(index)].map((link) => [link.path, link.digest])),
  );
  assert.equal(blobs.size, 6);
  assert.deepEqual(secondTotals(second), index.totals);
});

test("headers are the same for all sizes and times", () => {
  const name = `blobs/sha256/${"ab".repeat(32)}`;
  const gib = 1024 ** 3;
  for (const size of [0, 1, 511, gib - 1, gib, 8 * gib - 1, 8 * gib, 10 ** 10 - 1, 10 ** 10, 10 ** 15]) {
    for (const time of [0, 2 ** 30 - 1, 2 ** 30, 1767323045, 2 ** 33 - 1]) {
      assert.deepEqual(
        secondHeader(name, size, time),
        headerOf(name, size, time),
        `${size} bytes at ${time}`,
      );
    }
  }
  assert.deepEqual(secondHeader("drydock-linux-x64", 9, 9), headerOf("drydock-linux-x64", 9, 9));
});

test("the header that FORMAT.md shows is the one that is written", async () => {
  const text = await readFile(join(import.meta.dirname, "../../FORMAT.md"), "utf8");
  const shown = Buffer.alloc(512);
  const rows = [...text.matchAll(/^([0-9a-f]{8}): ((?:[0-9a-f]{4} ?){8})$/gm)];
  for (const [, at = "", hex = ""] of rows)
    shown.set(Buffer.from(hex.replaceAll(" ", ""), "hex"), Number.parseInt(at, 16));
  assert.deepEqual(shown, headerOf("SHA256SUMS", 309, 1767323045));
});

test("both pass over signatures, and take installers", async () => {
  const sumsEnd = 512 + 512 * Math.ceil(Number.parseInt(archive.toString("latin1", 124, 134), 8) / 512);
  const signed = Buffer.concat([
    archive.subarray(0, sumsEnd),
    entry("signatures/ab_1-2.sig", Buffer.from("a signature\n")),
    archive.subarray(sumsEnd),
  ]);
  const withInstaller = rewriteTop((files) => files.splice(2, 0, ["drydock-linux-x64", randomBytes(2000)]));
  for (const [changed, names] of [
    [signed, ["signatures/ab_1-2.sig"]],
    [withInstaller, []],
  ] as const) {
    const ours = await readOurs(changed);
    const second = readSecond(changed);
    assert.deepEqual(second.signatures, names);
    assert.deepEqual(ours.signatures, names);
    assert.equal(second.digest, ours.digest);
    assert.deepEqual(second.blobs, ours.blobs);
  }
  assert.equal(readSecond(signed).digest, digest);
});

const time = 1767323045;
const entry = (name: string, body: Buffer) =>
  Buffer.concat([headerOf(name, body.length, time), body, Buffer.alloc((512 - (body.length % 512)) % 512)]);

/** The archive with other files at its top, SHA256SUMS made anew. */
function rewriteTop(change: (files: [string, Buffer][]) => void): Buffer {
  const { index, offsets } = readSecond(archive);
  const end = Math.min(...offsets.values()) - 512;
  const text = (name: string) => {
    const at = archive.indexOf(Buffer.from(`${name}\0`)) + 512;
    return archive.subarray(at, at + Number.parseInt(archive.toString("latin1", at - 388, at - 377), 8));
  };
  const files: [string, Buffer][] = [
    ["bundle.json", Buffer.from(JSON.stringify(index))],
    ["README.txt", text("README.txt")],
    ["oci-layout", text("oci-layout")],
    ["index.json", text("index.json")],
  ];
  change(files);
  const sums = files.map(([name, body]) => `${createHash("sha256").update(body).digest("hex")}  ${name}\n`);
  const top = [
    entry("SHA256SUMS", Buffer.from(sums.join(""))),
    ...files.map(([name, body]) => entry(name, body)),
  ];
  return Buffer.concat([...top, archive.subarray(end)]);
}

/** The archive with a changed index, its digest right. */
const withIndex = (change: (index: Record<string, unknown>) => unknown) =>
  rewriteTop((files) => {
    const index = JSON.parse(some(files[0])[1].toString("utf8"));
    change(index);
    files[0] = ["bundle.json", Buffer.from(JSON.stringify(index))];
  });

/** The archive with changed packages. */
const withPackages = (change: object) =>
  withIndex((index) => Object.assign(index, { packages: [{ ...some(fullIndex().packages[0]), ...change }] }));

test("an index that is only written otherwise is read by both", async () => {
  const compact = withIndex(() => {});
  assert.deepEqual(readSecond(compact).index, (await readOurs(compact)).index);
});

test("both refuse what is hostile", async () => {
  const { offsets } = readSecond(archive);
  const at = (place: number) => some([...offsets.values()][place]) - 512;
  const put = (place: number, ...inserted: Buffer[]) =>
    Buffer.concat([archive.subarray(0, place), ...inserted, archive.subarray(place)]);
  const without = (from: number, to: number) =>
    Buffer.concat([archive.subarray(0, from), archive.subarray(to)]);
  const flipped = (place: number) => {
    const changed = Buffer.from(archive);
    changed[place] = some(changed[place]) ^ 1;
    return changed;
  };
  const evil = entry("evil.sh", Buffer.from("x"));
  const cases: Record<string, Buffer> = {
    "nothing at all": Buffer.alloc(0),
    "an archive that is cut": archive.subarray(0, at(7) + 4096),
    "no end-of-archive blocks": archive.subarray(0, -1024),
    "one end-of-archive block": archive.subarray(0, -512),
    "a block too many": Buffer.concat([archive, Buffer.alloc(512)]),
    "an entry that is not listed, first": put(0, evil),
    "an entry that is not listed, at the top": put(at(0), evil),
    "an entry that is not listed, between blobs": put(at(6), evil),
    "an entry that is not listed, last": put(archive.length - 1024, evil),
    "an entry that is missing": without(at(6), at(7)),
    "an entry that is doubled": put(at(7), archive.subarray(at(6), at(7))),
    "entries that changed places": Buffer.concat([
      archive.subarray(0, at(5)),
      archive.subarray(at(6), at(7)),
      archive.subarray(at(5), at(6)),
      archive.subarray(at(7)),
    ]),
    "a flipped byte of a blob": flipped(at(7) + 512 + 40_000),
    "a flipped byte of padding": flipped(at(8) - 1),
    "a flipped byte of a header's checksum": flipped(at(6) + 150),
    "another owner in a header": flipped(at(6) + 113),
    "a flipped byte of SHA256SUMS": flipped(512),
    "a flipped byte of bundle.json": flipped(archive.indexOf("leftOut")),
    "another name in SHA256SUMS": rewriteTop((files) => files.push(["evil.sh", Buffer.from("x")])),
    "two files changed at the top": rewriteTop((files) => files.reverse()),
    "an unknown key": withIndex((index) => Object.assign(index, { more: 1 })),
    "a missing key": withIndex((index) => delete index.totals),
    "another version": withIndex((index) => Object.assign(index, { formatVersion: 2 })),
    "a path for a repository": withIndex((index) =>
      Object.assign(index, { repositories: { "../x": { tags: {}, revisions: [], layers: [] } } }),
    ),
    "a path for a tag": withIndex((index) =>
      Object.assign(index, {
        repositories: { x: { tags: { "../x": manifest }, revisions: [manifest], layers: [] } },
      }),
    ),
    "a file that leads out": withIndex((index) =>
      Object.assign(index, { files: [{ name: "a/../../b", digest: file }] }),
    ),
    "a file that leads out behind a line end": withIndex((index) =>
      Object.assign(index, { files: [{ name: "a\n/../../b", digest: file }] }),
    ),
    "two files of one name": withIndex((index) =>
      Object.assign(index, {
        files: [
          { name: "b", digest: file },
          { name: "b", digest: file },
        ],
      }),
    ),
    "another time in the headers than in the index": withIndex((index) =>
      Object.assign(index, { created: "2026-01-02T03:04:06Z" }),
    ),
    "a signature that stands twice": put(
      1024,
      ...[1, 2].map(() => entry("signatures/a.sig", Buffer.from("s"))),
    ),
    "a file that is not carried": withIndex((index) =>
      Object.assign(index, { files: [{ name: "b", digest: digestOf("not there") }] }),
    ),
    "a package that is not carried": withPackages({
      files: [{ name: "a.deb", digest: digestOf("not there") }],
    }),
    "a package that leads out": withPackages({ files: [{ name: "../a.deb", digest: deb }] }),
    "a package that is an option": withPackages({ files: [{ name: "-o.deb", digest: deb }] }),
    "packages of two kinds": withPackages({
      files: ["a.deb", "b.rpm"].map((name) => ({ name, digest: deb })),
    }),
    "a set of no package": withPackages({ files: [] }),
    "two packages of one name": withPackages({
      files: ["a.deb", "a.deb"].map((name) => ({ name, digest: deb })),
    }),
    "packages for nobody": withPackages({ match: { id: "debian" } }),
    "packages for a processor that nobody has": withPackages({ match: { architecture: "x86_64" } }),
    "a layer that is not carried": withIndex((index) =>
      Object.assign(index, {
        repositories: { x: { tags: {}, revisions: [], layers: [digestOf("not there")] } },
      }),
    ),
    "a tag that names no revision": withIndex((index) =>
      Object.assign(index, { repositories: { x: { tags: { "1": manifest }, revisions: [], layers: [] } } }),
    ),
    "certificates that are not there": withIndex((index) =>
      Object.assign(index, { certificates: { from: "bundle" } }),
    ),
  };
  for (const [name, changed] of Object.entries(cases)) {
    assert.throws(() => readSecond(changed), /not a bundle of version 1/, `the second reader takes ${name}`);
    await assert.rejects(
      readOurs(changed),
      (error) => error instanceof DrydockError && ["integrity", "input"].includes(error.kind),
      `our reader takes ${name}`,
    );
  }
  assert.throws(() => readSecond(archive, "0".repeat(64)), /its digest is/);
  await assert.rejects(readOurs(archive, "0".repeat(64)), /its digest is/);
});
