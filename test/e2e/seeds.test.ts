/** Seeds through the built command: what inspect shows, what --allow-incomplete carries, and a bad line. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import type { Digest } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { makeImage, makeLayer } from "../lab/images.ts";
import { compress, entriesOf, makeStorage, readTree, type StorageTree, tarOf } from "../lab/seeds.ts";
import { type FaultyServer, startServer } from "../oci/faulty-server.ts";
import { assertRefused, type Desk, manifestFile, startDesk } from "./bad-input.ts";
import { built, drydock, drydockFromPipe, drydockWords } from "./drydock.ts";

const good = makeImage({ platform: hostPlatform, files: { "good.txt": "as it was in 2017\n" } });
const large = makeImage({
  platform: hostPlatform,
  layers: [makeLayer([{ path: "noise", content: randomBytes(12_000_000) }])],
});
const layer = large.blobs[1]?.digest as Digest;
let desk: Desk;
let tree: StorageTree;
let bytes: Buffer;

before(async () => {
  await built();
  desk = await startDesk("seeds");
  const images = { "legacy/good:1": good, "legacy/large:1": large, "legacy/large:latest": large };
  tree = await readTree(await makeStorage(join(desk.folder, "seed"), images));
  bytes = compress(tarOf(entriesOf(tree)), "gzip");
});
after(() => desk.stop());

const sha256Of = (data: Buffer) => createHash("sha256").update(data).digest("hex");

function broken(): Buffer {
  const damaged = new Map(tree);
  damaged.set(blobPath(layer), Buffer.from("something else"));
  return tarOf(entriesOf(damaged));
}

async function folderWith(name: string, files: Record<string, Buffer | string>): Promise<string> {
  const folder = join(desk.folder, name);
  await mkdir(folder);
  for (const [file, content] of Object.entries(files)) await writeFile(join(folder, file), content);
  return folder;
}

describe("drydock inspect SEED", () => {
  it("shows what a site would serve, from a file, from a pipe, and as JSON", async () => {
    const cwd = await folderWith("inspect", { "seed.tar.gz": bytes });
    const text = await drydock(["inspect", "seed.tar.gz"], { cwd });
    assert.equal(text.code, 0, text.stderr);
    assert.match(text.stdout, new RegExp(`^sha256 +${sha256Of(bytes)}$`, "m"));
    assert.match(
      text.stdout,
      /^a site would serve\n {2}legacy\/good:1\n {2}legacy\/large:1\n {2}legacy\/large:latest$/m,
    );
    const json = await drydock(["inspect", "seed.tar.gz", "--json"], { cwd });
    const { seed } = JSON.parse(json.stdout);
    assert.equal(seed.repositories["legacy/large"].tags.latest, large.digest);
    assert.equal(seed.repositories["legacy/large"].revisions[large.digest].layers[0].digest, layer);
    const pipe = await drydockFromPipe('gzip -dc "$0"', join(cwd, "seed.tar.gz"), ["inspect", "-", "--json"]);
    const piped = JSON.parse(pipe.stdout).seed;
    assert.deepEqual(piped.repositories, seed.repositories);
    assert.equal(piped.compression, "none");
  });

  it("shows all of a damaged one, and ends as bundle would", async () => {
    const holed = new Map(tree);
    holed.delete(blobPath(layer));
    const cwd = await folderWith("damaged", {
      "damaged.tar": broken(),
      "holed.tar": tarOf(entriesOf(holed)),
      "cut.tar.gz": bytes.subarray(0, -1000),
    });
    const damaged = await drydock(["inspect", "damaged.tar", "--json"], { cwd });
    assert.equal(damaged.code, 4);
    const { seed } = JSON.parse(damaged.stdout);
    assert.deepEqual(seed.serves, ["legacy/good:1"]);
    assert.equal(seed.damaged[0].digest, layer);
    const missing = await drydock(["inspect", "holed.tar"], { cwd });
    assert.equal(missing.code, 3);
    assert.match(
      missing.stdout,
      /^damaged or missing\n {2}legacy\/large@[0-9a-f]{12} \(tag 1, latest\) +blob /m,
    );
    const cut = await drydock(["inspect", "cut.tar.gz"], { cwd });
    assertRefused(cut, { exit: 4, says: ["truncated"] });
  });

  it("of something else says what it wanted", async () => {
    const other = tarOf([{ path: "var/log/syslog", content: Buffer.from("x") }]);
    const bundle = tarOf([{ path: "SHA256SUMS", content: Buffer.from("x") }]);
    const cwd = await folderWith("neither", {
      "other.tar": other,
      "text.txt": "no tar at all\n".repeat(100),
      "text.gz": compress(Buffer.from("no tar at all\n".repeat(100)), "gzip"),
      "bundle.tar.gz": compress(bundle, "gzip"),
    });
    const says: Record<string, [number, string]> = {
      "other.tar": [4, 'begins with entry "var/log/syslog", wanted entry "SHA256SUMS"'],
      "text.txt": [4, "begins with something that is no tar header"],
      "text.gz": [3, "it is not a tar archive"],
      "bundle.tar.gz": [3, "compressed with gzip"],
    };
    for (const [file, [exit, text]] of Object.entries(says)) {
      const result = await drydock(["inspect", file], { cwd });
      assertRefused(result, { exit, says: [file, text] });
    }
  });
});

describe("a damaged seed", () => {
  it("is carried with --allow-incomplete, without what is not whole; the index names that", async () => {
    const files = {
      "old.tar": broken(),
      ...manifestFile(desk.manifest, { seeds: [{ file: "old.tar" }] }),
    };
    const refused = await desk.bundle(files);
    assertRefused(refused, { exit: 4, says: ["old.tar", layer, "--allow-incomplete"] });
    const taken = await desk.bundle(files, { flags: ["--allow-incomplete"] });
    assert.equal(taken.code, 0, taken.stderr);
    assert.match(taken.stderr, /old\.tar is damaged/);
    const { stdout } = await drydock(["inspect", "site.tar", "--json"], { cwd: taken.folder });
    const { repositories, seeds } = JSON.parse(stdout).bundle;
    assert.deepEqual(Object.keys(repositories), ["legacy/good"]);
    assert.equal(seeds[0].incomplete, true);
    const named = JSON.stringify(seeds[0].leftOut);
    for (const text of [layer, `legacy/large@${large.digest} (tag 1, latest)`])
      assert.ok(named.includes(text));
    const verified = await drydock(["verify", "site.tar"], { cwd: taken.folder });
    assert.equal(verified.code, 0, verified.stderr);
    // A bundle that lacks something is no substitute for the seed where all of it is wanted.
    const reused = await desk.bundle(files, { flags: ["--reuse", join(taken.folder, "site.tar")] });
    assertRefused(reused, { exit: 4, says: ["old.tar", layer] });
  });
});

describe("a seed from a URL, over a bad line", () => {
  let server: FaultyServer;
  /** the Range of each request, and how many bytes were sent for it */
  let asked: { range: string | undefined; sent: number }[];
  /** how many bytes a request gets before the line is cut or silent; undefined: all */
  let line: { bytes: number; ends: "cut" | "hang" } | undefined;

  before(async () => {
    server = await startServer(async (request, response) => {
      const { range } = request.headers;
      const one = { range, sent: 0 };
      asked.push(one);
      const start = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
      const part = { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` };
      response.writeHead(start > 0 ? 206 : 200, {
        "content-length": bytes.length - start,
        ...(start > 0 ? part : {}),
      });
      const rest = bytes.subarray(start, line && start + line.bytes);
      one.sent = rest.length;
      if (line === undefined || start + rest.length === bytes.length) response.end(rest);
      else if (line.ends === "hang") response.write(rest);
      else response.write(rest, () => response.destroy());
    });
  });
  after(() => server.stop());

  const arguments_ = () => ["bundle", "manifest.yaml", "-o", "site.tar", "--plain-http", desk.proxy.host];
  const env = () => ({ HOME: desk.folder, XDG_DATA_HOME: join(desk.folder, "data") });
  const kept = () => `site.tar.seed-${sha256Of(bytes).slice(0, 16)}.partial`;
  async function start(name: string): Promise<string> {
    asked = [];
    const seeds = [{ url: `http://${server.host}/seed.tar.gz`, sha256: sha256Of(bytes) }];
    return await folderWith(name, { "manifest.yaml": stringify({ ...desk.manifest, seeds }) });
  }

  it("is got in pieces when the line is cut again and again", async () => {
    const cwd = await start("cut");
    line = { bytes: 3_000_000, ends: "cut" };
    const result = await drydock(arguments_(), { cwd, env: env() });
    assert.equal(result.code, 0, result.stderr);
    assert.ok(asked.length >= 4);
    assert.ok(asked.slice(1).every(({ range }) => range !== undefined));
    assert.deepEqual((await readdir(cwd)).sort(), ["manifest.yaml", "site.tar"]);
  });

  it("after kill -9, twice: goes on with what is there, and no byte of that is fetched again", async () => {
    const cwd = await start("killed");
    line = { bytes: 4_000_000, ends: "hang" };
    for (const wanted of [3_000_000, 7_000_000]) {
      const [program = "", ...words] = [...drydockWords, ...arguments_()];
      const child = spawn(program, words, { cwd, env: { ...process.env, ...env() }, stdio: "ignore" });
      const ended = once(child, "exit");
      const size = () =>
        stat(join(cwd, kept())).then(
          (one) => one.size,
          () => 0,
        );
      for (let tries = 0; tries < 600 && (await size()) < wanted; tries++) await sleep(50);
      assert.ok((await size()) >= wanted, "it downloads");
      child.kill("SIGKILL");
      await ended;
    }
    const there = (await stat(join(cwd, kept()))).size;
    assert.equal((await stat(join(cwd, kept()))).mode & 0o777, 0o600);
    line = undefined;
    const result = await drydock(arguments_(), { cwd, env: env() });
    assert.equal(result.code, 0, result.stderr);
    assert.equal(asked.length, 3);
    assert.equal(asked[2]?.range, `bytes=${there}-`);
    assert.equal(asked[2]?.sent, bytes.length - there);
    assert.deepEqual((await readdir(cwd)).sort(), ["manifest.yaml", "site.tar"]);
    const verified = await drydock(["verify", "site.tar"], { cwd });
    assert.equal(verified.code, 0, verified.stderr);
  });

  it("a lost line ends it with what is kept; --restart begins anew", async () => {
    const cwd = await start("lost");
    line = { bytes: 2_000, ends: "cut" };
    const lost = await drydock(arguments_(), { cwd, env: env() });
    assert.equal(lost.code, 7, lost.stderr);
    assert.ok((await readFile(join(cwd, kept()))).length > 0);
    line = undefined;
    asked = [];
    const anew = await drydock([...arguments_(), "--restart"], { cwd, env: env() });
    assert.equal(anew.code, 0, anew.stderr);
    assert.deepEqual(asked, [{ range: undefined, sent: bytes.length }]);
  });
});
