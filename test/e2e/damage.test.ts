/**
 * Bundles that were damaged on the way. Each is a release that changes what the site serves: the install
 * must end with 4, name what is damaged, and leave the site as it was, the old registry still serving.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { copyFile, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Header } from "tar";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import type { Damage } from "../../src/archive/damage.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { badBlock, makeBadDisk } from "../lab/bad-sectors.ts";
import { hostPlatform } from "../lab/host-files.ts";
import type { RunResult } from "../lab/process.ts";
import { makeBusyboxImage } from "../lab/real-images.ts";
import { makeSeed } from "../lab/seed.ts";
import { type Site, startSite } from "../lab/site.ts";
import { pushNamed } from "../lab/upstream.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock, drydockFromPipe } from "./drydock.ts";
import { containerOf, type Tree, treeOf, trustFolder } from "./site-state.ts";

/** An entry of the archive, found without the code under test. */
interface Entry {
  name: string;
  headerAt: number;
  bodyAt: number;
  size: number;
  /** where the next header begins */
  end: number;
}

// Some forty installs: on a machine that is busy they take longer than other tests may.
describe("a damaged bundle", { timeout: 900_000 }, () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let second: BuiltBundle;
  let index: BundleIndex;
  let bytes: Buffer;
  let entries: Entry[];
  let damagedFile: string;
  let trust: string;
  let asBefore: { tree: Tree; container: string; pulled: Digest };

  before(async () => {
    const folder = await makeFolder("damage");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "damage", clients: false });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    const first = await makeRelease(1, "hello from the first release");
    const unpack = 'zstd -q -1 -c "$0" | zstd -q -dc';
    const installed = await drydockFromPipe(unpack, first.file, installArgs("-", first), { on: site });
    assert.equal(installed.code, 0, installed.stderr);
    trust = await trustFolder(site);
    asBefore = await state();

    const seed = await makeSeed(join(folder.path, "seed.tar.zst"));
    second = await makeRelease(2, "hello from the other release", {
      seeds: [{ file: seed.file, keep: "packed" }],
    });
    const inspected = await drydock(["inspect", second.file, "--json"]);
    index = JSON.parse(inspected.stdout).bundle;
    bytes = await readFile(second.file);
    entries = entriesOf(bytes);
    damagedFile = join(folder.path, "damaged.tar");
  });
  after(() => parts.disposeAsync());

  /** Its image team/app:1 and its file say something else in each release; both texts are equally long. */
  async function makeRelease(
    release: number,
    says: string,
    options: { seeds?: object[]; flags?: string[]; notes?: string | Buffer } = {},
  ): Promise<BuiltBundle> {
    const { seeds = [], flags = [], notes = says } = options;
    const { host } = connected.upstream;
    await pushNamed(host, "team/app:1", await makeBusyboxImage({ says }));
    await writeFile(join(connected.folder, "notes.txt"), notes);
    return connected.bundle(
      `release-${release}`,
      {
        ...{ name: "plant-8", release, addresses: [site.registryName, ...site.addresses] },
        ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
        registry: { image: `${host}/library/registry:2` },
        images: [`${host}/library/busybox:1.36`, `${host}/team/app:1`],
        ...{ seeds, files: ["notes.txt"] },
      },
      // A key that is opened with a code takes a quarter of a second, in each of the installs.
      { flags: ["--unencrypted-key", ...flags] },
    );
  }

  const installArgs = (file: string, bundle = second) => ["install", file, "--digest", bundle.digest];

  async function state() {
    const [tree, container, pulled] = await Promise.all([treeOf(site.siteDir), containerOf(site), pull()]);
    return { tree, container, pulled };
  }

  /** Pulls the image whole. @returns the digest of what came */
  async function pull(): Promise<Digest> {
    const [from, to] = [`docker://${site.addresses[0]}/team/app:1`, join(site.folder, "pulled")];
    await site.run("skopeo", ["copy", "--quiet", "--src-cert-dir", trust, from, `dir:${to}`]);
    return digestOf(await readFile(join(to, "manifest.json")));
  }

  /** What a failed install may leave: whole blobs, by their digests, that nothing refers to, for the next try. */
  const mayStay = () => {
    const release = `releases/(${second.digest}/registry/blobs/sha256|files)/[0-9a-f]{64}`;
    return new RegExp(`^(storage/docker/registry/v2/blobs/sha256/../[0-9a-f]{64}/data|${release})$`);
  };

  /** Whatever was changed shows here; what may stay is removed, so that the next try lacks it again. */
  async function assertAsItWas(): Promise<void> {
    const { tree, ...others } = await state();
    const added = Object.keys(tree).filter((path) => !(path in asBefore.tree));
    assert.deepEqual(
      added.filter((path) => !mayStay().test(path)),
      [],
    );
    for (const path of added) {
      await rm(join(site.siteDir, path));
      delete tree[path];
    }
    assert.deepEqual({ tree, ...others }, asBefore);
  }

  async function assertRefused(result: RunResult, culprit: string): Promise<void> {
    assert.equal(result.code, 4, `${result.stdout}${result.stderr}`);
    const error = result.stderr.slice(result.stderr.indexOf("Error:"));
    assert.ok(error.includes(culprit), `wanted the error to name ${culprit}: ${error}`);
    await assertAsItWas();
  }

  async function refuses(damaged: Buffer, culprit: string): Promise<void> {
    await writeFile(damagedFile, damaged);
    await assertRefused(await drydock(installArgs(damagedFile), { on: site }), culprit);
  }

  async function refusesFromPipe(damaged: Buffer, culprit: string): Promise<void> {
    await writeFile(damagedFile, damaged);
    const result = await drydockFromPipe('cat "$0"', damagedFile, installArgs("-"), { on: site });
    await assertRefused(result, culprit);
  }

  /** The bundle with one bit of the byte at `position` turned over. */
  function flipped(position: number): Buffer {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(position) ^ 1, position);
    return copy;
  }

  const entry = (name: string): Entry => {
    const found = entries.find((each) => each.name === name);
    assert.ok(found, name);
    return found;
  };
  const blob = (digest: string) => entry(`blobs/sha256/${digest.slice("sha256:".length)}`);
  const middle = ({ bodyAt, size }: Entry) => bodyAt + Math.floor(size / 2);

  /** The blobs that the site has from the first release. */
  const has = (digest: string) =>
    Object.keys(asBefore.tree).some((path) => {
      return (
        path.startsWith("storage/") &&
        path.includes(`/blobs/sha256/${digest.slice(7, 9)}/${digest.slice(7)}/`)
      );
    });

  /** A blob that the site lacks, not the last, whose body needs padding. */
  function lacking(): string {
    const found = index.blobs.find(({ digest, size, role }) => {
      return role === "image" && size % 512 !== 0 && !has(digest);
    });
    assert.ok(found);
    return found.digest;
  }

  it("is refused for a flipped byte in any blob that the site lacks", async () => {
    const missing = index.blobs.filter(({ digest, role }) => role === "registry" || !has(digest));
    assert.deepEqual(new Set(missing.map(({ role }) => role)), new Set(index.blobs.map(({ role }) => role)));
    for (const { digest } of missing) await refuses(flipped(middle(blob(digest))), digest);
  });

  it("is refused for one in a blob's first and last byte, its header and its padding", async () => {
    const digest = lacking();
    const { headerAt, bodyAt, size } = blob(digest);
    for (const position of [bodyAt, bodyAt + size - 1, headerAt + 20, bodyAt + size])
      await refuses(flipped(position), digest);
  });

  it("is refused for one in each file at the top, in body, header and padding", async () => {
    for (const name of ["bundle.json", "oci-layout", "index.json"])
      await refuses(flipped(middle(entry(name))), name);
    const { headerAt, bodyAt, size } = entry("README.txt");
    for (const position of [headerAt + 140, bodyAt + size]) await refuses(flipped(position), "README.txt");
    await refuses(flipped(entry("SHA256SUMS").bodyAt), second.digest);
  });

  it("is refused for one in the end-of-archive blocks", async () => {
    await refuses(flipped(bytes.length - 100), "the end of the archive");
  });

  it("is refused when it is truncated, at the top, in a header, in a body, at the end", async () => {
    const digest = lacking();
    const last = index.blobs.at(-1)?.digest ?? "";
    for (const [length, culprit] of [
      [entry("bundle.json").bodyAt + 10, "bundle.json"],
      [blob(digest).headerAt + 100, digest],
      [middle(blob(digest)), digest],
      [blob(last).bodyAt, last],
      [bytes.length - 1024, "end-of-archive"],
    ] as const)
      await refuses(bytes.subarray(0, length), culprit);
  });

  it("is refused when it holds an entry more", async () => {
    const extra = tarEntry("blobs/sha256/extra", Buffer.from("what nobody asked for"));
    const inside = blob(lacking()).headerAt;
    for (const at of [inside, bytes.length - 1024, entry("README.txt").headerAt])
      await refuses(inserted(extra, at), "blobs/sha256/extra");
    await refuses(Buffer.concat([bytes, extra]), "after the end of the archive");
  });

  it("is refused when an entry stands in it twice", async () => {
    const digest = lacking();
    const { headerAt, end } = blob(digest);
    await refuses(inserted(bytes.subarray(headerAt, end), end), `"blobs/sha256/${digest.slice(7)}"`);
    const json = entry("bundle.json");
    await refuses(inserted(bytes.subarray(json.headerAt, json.end), json.end), '"bundle.json"');
  });

  it("is refused in a pipe too, where its end is seen last", async () => {
    const digest = lacking();
    await refusesFromPipe(flipped(middle(blob(digest))), digest);
    await refusesFromPipe(bytes.subarray(0, bytes.length - 1024), "end-of-archive");
    const extra = tarEntry("blobs/sha256/extra", Buffer.from("what nobody asked for"));
    await refusesFromPipe(inserted(extra, bytes.length - 1024), "blobs/sha256/extra");
  });

  it("is refused when it is another than the digest says", async () => {
    const other = "0".repeat(64);
    const args = ["install", second.file, "--digest", other];
    const result = await drydock(args, { on: site });
    await assertRefused(result, other);
    assert.ok(result.stderr.includes(second.digest), "the digest that it has");
  });

  it("does no harm where the damage is in what the site has already", async () => {
    const present = index.blobs.filter(({ digest, role }) => role === "image" && has(digest));
    const damaged = Buffer.from(bytes);
    for (const { digest } of present)
      damaged.writeUInt8(damaged.readUInt8(middle(blob(digest))) ^ 1, middle(blob(digest)));
    await writeFile(damagedFile, damaged);
    assert.ok(present.length >= 4);

    const verified = await drydock(["verify", damagedFile]);
    assert.equal(verified.code, 4);
    for (const { digest } of present) assert.ok(verified.stderr.includes(digest));

    const installed = await drydock(installArgs(damagedFile), { on: site });
    assert.equal(installed.code, 0, installed.stderr);
    const { digest } = index.images.find(({ repository }) => repository === "team/app") ?? {};
    assert.equal(await pull(), digest);
    const notes = await readFile(join(site.siteDir, "files/notes.txt"), "utf8");
    assert.equal(notes, "hello from the other release");
  });

  it("is placed as far as it is good, from a stick with bad sectors, and completed from a good copy", async () => {
    const third = await makeRelease(3, "hello from the third release", { notes: randomBytes(100_000) });
    const archive = await readFile(third.file);
    const slots = entriesOf(archive);
    const { layer, notes } = await changedBlobs(third);
    const [bad, flip] = [notes, layer].map((digest) => {
      const found = slots.find(({ name }) => name.endsWith(digest.slice("sha256:".length)));
      assert.ok(found);
      return middle(found);
    }) as [number, number];
    const copy = join(connected.folder, "stick.tar");
    archive.writeUInt8(archive.readUInt8(flip) ^ 1, flip);
    await writeFile(copy, archive);
    const stick = await makeBadDisk(join(site.folder, "stick"), { [copy]: [{ from: bad, to: bad }] }, site);
    parts.defer(stick.stop);
    const before = await state();

    const file = join(stick.path, "stick.tar");
    const verified = await drydock(["verify", file, "--json"], { on: site });
    assert.equal(verified.code, 4, verified.stderr);
    const damage: Damage[] = JSON.parse(verified.stdout).error.data.damage;
    const of = (digest: string) => damage.find((one) => one.digest === digest);
    assert.equal(damage.length, 2);
    assert.equal(of(notes)?.reason, "unreadable");
    assert.deepEqual(of(notes)?.users, ["file notes.txt"]);
    const sector = bad - (bad % badBlock);
    assert.deepEqual(of(notes)?.lost, { from: sector, to: sector + badBlock - 1 });
    assert.equal(of(layer)?.reason, "other bytes");
    assert.deepEqual(of(layer)?.users, ["team/app:1"]);

    const result = await drydock(installArgs(file, third), { on: site });
    assert.equal(result.code, 4, result.stderr);
    for (const text of [layer, notes, "needed by team/app:1", "needed by file notes.txt", "same command"])
      assert.ok(result.stderr.includes(text), result.stderr);
    const { tree, ...served } = await state();
    assert.deepEqual(served, { container: before.container, pulled: before.pulled });
    const placed = Object.keys(tree).filter((path) => !(path in before.tree));
    const isPlaced = (digest: string) => placed.some((path) => path.includes(digest.slice(7)));
    assert.ok(placed.some((path) => path.startsWith("storage/")));
    assert.ok(!isPlaced(layer) && !isPlaced(notes));

    const completed = await drydock(installArgs(third.file, third), { on: site });
    assert.equal(completed.code, 0, completed.stderr);
    const now = await treeOf(site.siteDir);
    for (const path of placed) assert.equal(now[path], tree[path], `${path} was written again`);
    assert.notEqual(await pull(), before.pulled);
  });

  it("names the part to copy again, and goes on with a good copy of that part alone", async () => {
    const size = 2 * 1024 * 1024;
    const fourth = await makeRelease(4, "hello from the fourth release", { flags: ["--split", "2M"] });
    const { layer } = await changedBlobs(fourth);
    const { stdout } = await drydock(["inspect", fourth.file, "--json"]);
    const names = (number: number) => `${fourth.file}.${String(number).padStart(3, "0")}`;
    const count = Math.ceil(JSON.parse(stdout).size / size);
    const whole = Buffer.concat(
      await Promise.all(Array.from({ length: count }, (_, number) => readFile(names(number + 1)))),
    );
    const found = entriesOf(whole).find(({ name }) => name.endsWith(layer.slice("sha256:".length)));
    assert.ok(found);
    const at = middle(found);
    const part = names(Math.floor(at / size) + 1);
    const good = `${part}.good`;
    await copyFile(part, good);
    const bytesOfPart = await readFile(part);
    bytesOfPart.writeUInt8(bytesOfPart.readUInt8(at % size) ^ 1, at % size);
    await writeFile(part, bytesOfPart);

    const isNamed = async () => {
      for (const args of [["verify", fourth.file], installArgs(fourth.file, fourth)]) {
        const result = await drydock(args, { on: site });
        assert.equal(result.code, 4, result.stderr);
        const error = result.stderr.slice(result.stderr.indexOf("Error:"));
        const named = new Set(error.match(/[^"/]+\.tar\.\d{3}/g));
        assert.deepEqual(named, new Set([basename(part)]), error);
        assert.ok(error.includes(layer), error);
      }
    };
    await isNamed();
    // It is known what is missing even where the list was not copied, either.
    await rm(part);
    await rm(`${fourth.file}.parts.json`);
    await isNamed();
    await copyFile(good, part);
    const completed = await drydock(installArgs(fourth.file, fourth), { on: site });
    assert.equal(completed.code, 0, completed.stderr);
  });

  /** Of a later release, blobs that the site lacks: the largest of team/app, and the file's. */
  async function changedBlobs({ file }: BuiltBundle): Promise<{ layer: Digest; notes: Digest }> {
    const later: BundleIndex = JSON.parse((await drydock(["inspect", file, "--json"])).stdout).bundle;
    const { layers = [] } = later.repositories["team/app"] ?? {};
    const there = Object.keys(await treeOf(site.siteDir));
    const isThere = (digest: Digest) => there.some((path) => path.endsWith(`${digest.slice(7)}/data`));
    const [layer] = later.blobs
      .filter(({ digest }) => layers.includes(digest) && !isThere(digest))
      .sort((one, other) => other.size - one.size);
    const notes = later.files[0]?.digest;
    assert.ok(layer && notes);
    return { layer: layer.digest, notes };
  }

  function inserted(part: Buffer, at: number): Buffer {
    return Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
  }
});

function tarEntry(path: string, content: Buffer): Buffer {
  const header = Buffer.alloc(512);
  new Header({ path, size: content.length, mode: 0o644, mtime: new Date(0), type: "File" }).encode(header, 0);
  return Buffer.concat([header, content, Buffer.alloc(padding(content.length))]);
}

function entriesOf(archive: Buffer): Entry[] {
  const found: Entry[] = [];
  for (let at = 0; ; ) {
    const { path, size } = new Header(archive, at);
    if (!path || size === undefined) return found;
    const bodyAt = at + 512;
    const end = bodyAt + size + padding(size);
    found.push({ name: path, headerAt: at, bodyAt, size, end });
    at = end;
  }
}

function padding(size: number): number {
  return (512 - (size % 512)) % 512;
}
