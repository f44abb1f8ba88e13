/** The connected side's whole pipeline, against a real registry; and what it leaves behind when it fails. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import { verify } from "../../src/archive/verify.ts";
import { type BundleOptions, bundle } from "../../src/bundle/bundle.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { silentReporter } from "../../src/reporter.ts";
import { makeImage, makeLayer, pushImage } from "../lab/images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { makeStorage, packStorage } from "../lab/seeds.ts";
import { startServer } from "../oci/faulty-server.ts";

const registryImage = makeImage({ files: { "bin/registry": "not run here" } });
const app = makeImage({ files: { "app.txt": "app\n" } });
const seeded = makeImage({ files: { "seeded.txt": "seeded\n" } });
const noise = makeLayer([{ path: "noise", content: randomBytes(2_000_000) }]);
const damaged = makeImage({ layers: [noise] });

let folder: string;
let upstream: TestRegistry;
let seeds: Server;
let seedUrl: string;
let seed: Buffer;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-bundle-"));
  upstream = await startRegistry({ folder });
  await pushImage(upstream.host, "library/registry", "2", registryImage);
  await pushImage(upstream.host, "team/app", "1", app);
  await pushImage(upstream.host, "team/damaged", "1", damaged);
  await damageLayer();
  const storage = await makeStorage(join(folder, "seed"), { "team/seeded:1": seeded });
  seed = await readFile(await packStorage(storage, join(folder, "seed.tar.gz"), { compression: "gzip" }));
  seeds = createServer((_, response) => response.end(seed)).listen(0, "127.0.0.1");
  await once(seeds, "listening");
  const address = seeds.address();
  seedUrl = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}/seed.tar.gz`;
});
after(async () => {
  seeds?.closeAllConnections();
  seeds?.close();
  await upstream.stop();
  await rm(folder, { recursive: true });
});

/** Other bytes of the same length, where the registry keeps the layer: it serves them without a look. */
async function damageLayer(): Promise<void> {
  const [, layer] = damaged.blobs;
  assert.ok(layer);
  const bytes = Buffer.from(layer.bytes);
  bytes.fill(0x55, 1_000_000, 1_000_010);
  await writeFile(join(upstream.storage, blobPath(layer.digest)), bytes);
}

/** A new folder with a manifest in it. @returns the folder */
async function manifest(lines: string[]): Promise<string> {
  const home = await mkdtemp(join(folder, "home-"));
  const head = [
    "name: plant-7",
    "addresses: [registry.plant7.lan, 10.0.0.10]",
    `registry: {image: ${upstream.host}/library/registry:2}`,
  ];
  await writeFile(join(home, "m.yaml"), [...head, ...lines, ""].join("\n"));
  return home;
}

function options(home: string, changes: Partial<BundleOptions> = {}): BundleOptions {
  return {
    output: join(home, "out.tar"),
    force: false,
    restart: false,
    reuse: [],
    plainHttp: new Set([upstream.host]),
    mirrors: new Map(),
    keyStore: join(folder, "keys"),
    protection: { kind: "code" },
    ...changes,
  };
}

const build = (home: string, changes: Partial<BundleOptions> = {}) =>
  bundle(join(home, "m.yaml"), options(home, changes), silentReporter);

test("image, seed and file become one archive that verifies, and is what was said", async () => {
  const home = await manifest([
    `images: [${upstream.host}/team/app:1]`,
    `seeds: [{url: "${seedUrl}", sha256: ${digestOf(seed).slice(7)}}]`,
    "files: [carried.txt]",
  ]);
  await writeFile(join(home, "carried.txt"), "carried\n");
  const result = await build(home);
  assert.deepEqual((await readdir(home)).sort(), ["carried.txt", "m.yaml", "out.tar"]);
  const opened = await openBundle(await openFile(result.path), result.digest);
  await verify(opened, silentReporter);
  await opened.close();
  assert.equal(result.size, (await stat(result.path)).size);
  assert.equal((await stat(result.path)).mode & 0o777, 0o644);
  assert.deepEqual(opened.index, result.index);
  const { repositories, files, registry, blobs, certificates } = result.index;
  assert.equal(repositories["team/app"]?.tags["1"], app.digest);
  assert.equal(repositories["team/seeded"]?.tags["1"], seeded.digest);
  assert.equal(repositories["library/registry"], undefined);
  assert.deepEqual(registry.images, { "linux/amd64": registryImage.digest });
  assert.deepEqual(files, [{ name: "carried.txt", digest: digestOf("carried\n") }]);
  assert.deepEqual(
    blobs.slice(0, 3).map(({ role }) => role),
    ["certificate", "certificate", "key"],
  );
  assert.equal(certificates.keyEncrypted, true);
  assert.ok(result.code);
  const whole = await readFile(result.path, "latin1");
  assert.ok(!whole.includes(result.code), "the code stands in the archive");
});

test("same content, same SOURCE_DATE_EPOCH, same certificates: the same bytes; readable by the owner alone", async (t) => {
  const before = process.env.SOURCE_DATE_EPOCH;
  t.after(() => {
    if (before === undefined) delete process.env.SOURCE_DATE_EPOCH;
    else process.env.SOURCE_DATE_EPOCH = before;
  });
  process.env.SOURCE_DATE_EPOCH = "1767323045";
  const home = await manifest([`images: [${upstream.host}/team/app:1]`]);
  const protection = { kind: "none" } as const;
  const first = await build(home, { protection });
  const second = await build(home, { protection, output: join(home, "again.tar") });
  assert.equal(second.digest, first.digest);
  assert.ok((await readFile(second.path)).equals(await readFile(first.path)));
  assert.equal(first.code, undefined);
  assert.equal((await stat(first.path)).mode & 0o777, 0o600);
  process.env.SOURCE_DATE_EPOCH = "1767323046";
  const third = await build(home, { protection, output: join(home, "third.tar") });
  assert.notEqual(third.digest, first.digest);
});

test("an output that exists fails before anything is asked for; --force replaces it", async () => {
  const watcher = await startServer((_, response) => response.writeHead(500).end());
  const home = await manifest([`images: [${watcher.host}/team/app:1]`]);
  await writeFile(join(home, "out.tar"), "precious");
  const plainHttp = new Set([upstream.host, watcher.host]);
  const keyStore = join(home, "keys");
  try {
    await assert.rejects(build(home, { plainHttp, keyStore }), { kind: "usage", message: /it exists/ });
    assert.deepEqual(watcher.asked, []);
    assert.equal(await readFile(join(home, "out.tar"), "utf8"), "precious");
    assert.deepEqual((await readdir(home)).sort(), ["m.yaml", "out.tar"]);
  } finally {
    await watcher.stop();
  }
  const other = await manifest([`images: [${upstream.host}/team/app:1]`]);
  await writeFile(join(other, "out.tar"), "old");
  const { digest, path } = await build(other, { force: true });
  await (await openBundle(await openFile(path), digest)).close();
});

/** It says when the first try began. */
const journal = "out.tar.partial.journal";

/** Where the seed is kept until the bundle is finished. */
const savedSeed = () => `out.tar.seed-${digestOf(seed).slice(7, 23)}.partial`;

test("a source that fails leaves no archive, and what was fetched; what was there stays", async () => {
  const home = await manifest([
    `images: [${upstream.host}/team/damaged:1, ${upstream.host}/team/app:1]`,
    `seeds: [{url: "${seedUrl}", sha256: ${digestOf(seed).slice(7)}, keep: unpacked}]`,
  ]);
  await writeFile(join(home, "out.tar"), "the last good one");
  await assert.rejects(build(home, { force: true }), {
    kind: "integrity",
    message: new RegExp(String(damaged.blobs[1]?.digest)),
  });
  const kept = ["out.tar.partial", "out.tar.partial.journal", savedSeed()];
  assert.deepEqual((await readdir(home)).sort(), ["m.yaml", "out.tar", ...kept]);
  assert.equal(await readFile(join(home, "out.tar"), "utf8"), "the last good one");
});

test("a plan that fails keeps a downloaded seed; --restart, or the finished bundle, removes it", async () => {
  const home = await manifest([
    `seeds: [{url: "${seedUrl}", sha256: ${digestOf(seed).slice(7)}}, {file: broken.tar}]`,
  ]);
  await writeFile(join(home, "broken.tar"), "no tar at all");
  await assert.rejects(build(home), { kind: "input", message: /broken\.tar/ });
  assert.deepEqual((await readdir(home)).sort(), ["broken.tar", "m.yaml", journal, savedSeed()]);
  await assert.rejects(build(home, { restart: true }), { kind: "input", message: /broken\.tar/ });
  await writeFile(join(home, "out.tar.seed-0123456789abcdef.partial"), "of an earlier manifest");
  await writeFile(
    join(home, "m.yaml"),
    (await readFile(join(home, "m.yaml"), "utf8")).replace(", {file: broken.tar}", ""),
  );
  await build(home);
  assert.deepEqual((await readdir(home)).sort(), ["broken.tar", "m.yaml", "out.tar"]);
});

test("the first failure stops a slow source, too", { timeout: 30_000 }, async () => {
  const slow = makeImage({ layers: [makeLayer([{ path: "slow", content: randomBytes(10_000) }])] });
  let trickling = 0;
  const trickle = await startServer((request, response) => {
    const { url = "" } = request;
    const small = [slow.blobs[0], { digest: slow.digest, bytes: slow.manifest }];
    const found = small.find((one) => one !== undefined && url.endsWith(one.digest));
    if (url.endsWith("/manifests/1")) {
      response.setHeader("content-type", slow.mediaType).end(slow.manifest);
    } else if (found) response.end(found.bytes);
    else {
      // The layer: a byte in a while, and never all of it.
      trickling++;
      response.setHeader("content-length", String(slow.blobs[1]?.bytes.length));
      const timer = setInterval(() => response.write("x"), 100);
      response.on("close", () => clearInterval(timer));
    }
  });
  const home = await manifest([`images: [${trickle.host}/team/slow:1, ${upstream.host}/team/damaged:1]`]);
  try {
    const plainHttp = new Set([upstream.host, trickle.host]);
    await assert.rejects(build(home, { plainHttp }), {
      kind: "integrity",
      message: new RegExp(String(damaged.blobs[1]?.digest)),
    });
    assert.equal(trickling, 1);
    assert.deepEqual((await readdir(home)).sort(), ["m.yaml", "out.tar.partial", "out.tar.partial.journal"]);
  } finally {
    await trickle.stop();
  }
});

test("two sources that set one tag differently are refused before the archive is begun", async () => {
  const home = await manifest([
    `images: [{reference: ${upstream.host}/team/app:1, as: team/seeded:1}]`,
    `seeds: [{url: "${seedUrl}", sha256: ${digestOf(seed).slice(7)}}]`,
  ]);
  await assert.rejects(build(home), { kind: "input", message: /"team\/seeded:1"/ });
  assert.deepEqual((await readdir(home)).sort(), ["m.yaml", journal, savedSeed()]);
});
