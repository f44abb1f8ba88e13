/** Placing real bundles at real sites: what is written, what is read, and what is left when it fails. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import type { Damage } from "../../src/archive/damage.ts";
import type { Content } from "../../src/bundle/content.ts";
import { planFiles } from "../../src/bundle/file-source.ts";
import { planSeed } from "../../src/bundle/seed-source.ts";
import { DrydockError } from "../../src/errors.ts";
import { fileList, filesOf, setFiles } from "../../src/install/files.ts";
import { place, planPlacement } from "../../src/install/place.ts";
import { spaceNeeded } from "../../src/install/space.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import type { Compression } from "../../src/oci/storage-tarball.ts";
import { type Step, silentReporter } from "../../src/reporter.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { makeImage, makeLayer, type TestImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { compress, entriesOf, makeStorage, packStorage, readTree, tarOf } from "../lab/seeds.ts";
import {
  contentOf,
  filesBelow,
  filesContent,
  imageContent,
  openWatched,
  packagesContent,
  registryContent,
  snapshot,
  type WatchedBundle,
  type WrittenBundle,
  writeBundleOf,
} from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-place-"));
const mounts: string[] = [];
after(async () => {
  for (const mount of mounts) await run("umount", ["--lazy", mount]);
  await rm(folder, { recursive: true });
});

// Layers of several chunks, of one, and of less.
const noise = (size: number) => makeLayer([{ path: "noise", content: randomBytes(size) }]);
const app = makeImage({ layers: [noise(2_500_000), noise(70_000)], files: { "app.txt": "app\n" } });
const other = makeImage({ layers: [noise(100_000)] });
const registry = makeImage({ files: { "bin/registry": "not run here\n" } });

const silentStep = silentReporter.step("");
const homes = { count: 0 };

async function newSite(): Promise<SiteLayout> {
  homes.count += 1;
  const root = join(folder, `site-${homes.count}`);
  await mkdir(root);
  return siteLayout(root);
}

function newBundle(contents: Content[]): Promise<WrittenBundle> {
  homes.count += 1;
  return writeBundleOf(join(folder, `bundle-${homes.count}.tar`), contents);
}

/** Plans and places. @returns the bundle that was read, closed */
async function placeAll(
  bundle: WrittenBundle,
  layout: SiteLayout,
  step = silentStep,
): Promise<WatchedBundle> {
  const opened = await openWatched(bundle);
  try {
    const placement = await planPlacement(bundle.index, layout, bundle.digest);
    await place(opened, placement, layout, step);
    return opened;
  } finally {
    await opened.close();
  }
}

const stored = (layout: SiteLayout, digest: Digest) => join(layout.storage, blobPath(digest));
const digestsOf = ({ digest, blobs }: TestImage) => [digest, ...blobs.map((blob) => blob.digest)];
const layerOf = ({ blobs }: TestImage, number: number): Digest => {
  const blob = blobs[number + 1];
  assert.ok(blob);
  return blob.digest;
};

/** As the step "link" does it. */
async function show({ index }: WrittenBundle, layout: SiteLayout): Promise<void> {
  await setFiles(fileList(filesOf(index)), layout);
}

async function assertStored(layout: SiteLayout, image: TestImage): Promise<void> {
  for (const digest of digestsOf(image))
    assert.equal(digestOf(await readFile(stored(layout, digest))), digest);
}

/** What must hold after every failure: no part of a file under a final name, and nothing half-done elsewhere. */
async function assertOnlyWhole(layout: SiteLayout): Promise<string[]> {
  await assert.rejects(stat(layout.incoming), { code: "ENOENT" });
  const files = await filesBelow(layout.root);
  for (const file of files) {
    const [, hex] = /([0-9a-f]{64})(?:\/data)?$/.exec(file) ?? [];
    assert.ok(hex, `${file} is no blob`);
    assert.equal(digestOf(await readFile(join(layout.root, file))), `sha256:${hex}`, file);
  }
  return files;
}

/** Changes one byte in the middle of a blob. */
async function damage({ path, slot }: WrittenBundle, digest: Digest): Promise<void> {
  const { bodyAt, size } = slot(digest);
  await flip(path, bodyAt + Math.floor(size / 2));
}

async function flip(path: string, at: number): Promise<void> {
  const file = await open(path, "r+");
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, at);
  await file.close();
}

async function tmpfs(path: string, size: string): Promise<void> {
  await mkdir(path, { recursive: true });
  await run("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path]);
  mounts.push(path);
}

test("a first install places every blob, and counts every byte", async () => {
  const layout = await newSite();
  const bundle = await newBundle([registryContent(registry), imageContent(app, "team/app", "1")]);
  const counted = { total: 0, advanced: 0 };
  const step: Step = {
    ...silentStep,
    total: (bytes) => {
      counted.total = bytes;
    },
    advance: (bytes) => {
      counted.advanced += bytes;
    },
  };
  const placement = await planPlacement(bundle.index, layout, bundle.digest);
  const bytes = bundle.index.blobs.reduce((sum, { size }) => sum + size, 0);
  assert.deepEqual(placement.needed, { blobs: bundle.index.blobs.length, bytes });
  await placeAll(bundle, layout, step);
  await assertStored(layout, app);
  const release = layout.release(bundle.digest);
  for (const digest of digestsOf(registry)) {
    assert.equal(digestOf(await readFile(release.registryBlob(digest))), digest);
    await assert.rejects(stat(stored(layout, digest)), { code: "ENOENT" });
  }
  assert.deepEqual(counted, { total: bytes, advanced: bytes });
  await assertOnlyWhole(layout);
});

test("packages go to the release's folder, under their digests, one that two sets have once", async () => {
  const layout = await newSite();
  const [docker, shared] = [randomBytes(70_000), randomBytes(20)];
  const bundle = await newBundle([
    packagesContent({ "docker.io_1_amd64.deb": docker, "shared_all.deb": shared }),
    packagesContent({ "shared_all.deb": shared }),
  ]);
  const placement = await planPlacement(bundle.index, layout, bundle.digest);
  assert.deepEqual(placement.needed, { blobs: 2, bytes: 70_020 });
  const needed = await spaceNeeded(bundle.index, layout, placement.missing.values(), []);
  const inReleases = needed.find(({ path }) => path === layout.releases);
  assert.deepEqual([inReleases?.bytes, inReleases?.inodes], [(18 + 1 + 3) * 4096, 5]);
  await placeAll(bundle, layout);
  const release = layout.release(bundle.digest);
  assert.deepEqual(await readFile(release.packageFile(digestOf(docker))), docker);
  assert.deepEqual(await readFile(release.packageFile(digestOf(shared))), shared);
  assert.equal((await filesBelow(join(release.folder, "packages"))).length, 2);
  const again = await placeAll(bundle, layout);
  for (const { digest } of bundle.index.blobs) assert.ok(!again.wasRead(digest), `${digest} was read`);
  await assertOnlyWhole(layout);
});

test("everything there: nothing is read, nothing in the site changes", async () => {
  const layout = await newSite();
  const bundle = await newBundle([
    registryContent(registry),
    imageContent(app, "team/app", "1"),
    filesContent({ "notes.txt": Buffer.from("notes\n") }),
  ]);
  await placeAll(bundle, layout);
  const before = await snapshot(layout.root);
  const placement = await planPlacement(bundle.index, layout, bundle.digest);
  assert.equal(placement.missing.size, 0);
  assert.deepEqual(placement.needed, { blobs: 0, bytes: 0 });
  const again = await placeAll(bundle, layout);
  for (const { digest } of bundle.index.blobs) assert.ok(!again.wasRead(digest), `${digest} was read`);
  assert.deepEqual(await snapshot(layout.root), before);
});

test("one missing: only that is read and written", async () => {
  const layout = await newSite();
  const bundle = await newBundle([imageContent(app, "team/app", "1")]);
  await placeAll(bundle, layout);
  const gone = layerOf(app, 1);
  await rm(stored(layout, gone));
  const before = await snapshot(layout.root);
  const again = await placeAll(bundle, layout);
  for (const { digest } of bundle.index.blobs) assert.equal(again.wasRead(digest), digest === gone);
  await assertStored(layout, app);
  const after = await snapshot(layout.root);
  const changed = [...after].filter(([path, what]) => before.get(path) !== what).map(([path]) => path);
  const file = `storage/${blobPath(gone)}`;
  assert.deepEqual(changed, ["storage", dirname(file), file]);
});

test("a blob of another size is taken for missing, and replaced", async () => {
  const layout = await newSite();
  const bundle = await newBundle([imageContent(app, "team/app", "1")]);
  await placeAll(bundle, layout);
  await writeFile(stored(layout, layerOf(app, 0)), "cut");
  await placeAll(bundle, layout);
  await assertStored(layout, app);
});

async function damageIn(bundle: WrittenBundle, layout: SiteLayout): Promise<DrydockError> {
  const error: unknown = await placeAll(bundle, layout).then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.ok(error instanceof DrydockError, String(error));
  assert.equal(error.kind, "integrity");
  return error;
}

const digestsIn = ({ data }: DrydockError) => ((data?.damage ?? []) as Damage[]).map(({ digest }) => digest);

test("of a damaged bundle what is good is placed, what is not is named, and a good copy completes it", async () => {
  const layout = await newSite();
  const contents = [
    registryContent(registry),
    imageContent(app, "team/app", "1"),
    imageContent(other, "team/other", "1"),
    filesContent({ "notes.txt": Buffer.from("notes\n") }),
  ];
  const bundle = await newBundle(contents);
  const bad = new Set([layerOf(app, 0), layerOf(other, 0), layerOf(registry, 0)]);
  for (const digest of bad) await damage(bundle, digest);
  const error = await damageIn(bundle, layout);
  assert.deepEqual(new Set(digestsIn(error)), bad);
  for (const name of [...bad, "needed by team/app:1", "team/other:1", "the registry's own image"])
    assert.ok(error.message.includes(name), error.message);
  assert.match(error.hint ?? "", /^Copy the bundle again.*\nWhat is good is at the site.*same command/);
  const files = await assertOnlyWhole(layout);
  const isNamed = (digest: Digest) => files.some((file) => file.includes(digest.slice("sha256:".length)));
  for (const { digest } of bundle.index.blobs) assert.equal(isNamed(digest), !bad.has(digest), digest);
  assert.deepEqual(await filesBelow(layout.files), [], "no file shows by being placed");

  // The same stick again, and then a good one: nothing that is there is read a second time.
  assert.deepEqual(digestsIn(await damageIn(bundle, layout)), digestsIn(error));
  const good = await placeAll(await newBundle(contents), layout);
  for (const { digest } of bundle.index.blobs) assert.equal(good.wasRead(digest), bad.has(digest), digest);
  await assertStored(layout, app);
  await show(bundle, layout);
  assert.deepEqual(await filesBelow(layout.files), ["notes.txt"]);
});

test("of a bundle that is cut the blobs before the cut are placed", async () => {
  const layout = await newSite();
  const contents = [imageContent(app, "team/app", "1"), imageContent(other, "team/other", "1")];
  const bundle = await newBundle(contents);
  const missing = bundle.index.blobs.slice(-3).map(({ digest }) => digest);
  const [cut] = missing;
  assert.ok(cut);
  await truncate(bundle.path, bundle.slot(cut).bodyAt + 1);
  assert.deepEqual(digestsIn(await damageIn(bundle, layout)), missing);
  const good = await placeAll(await newBundle(contents), layout);
  for (const { digest } of bundle.index.blobs) assert.equal(good.wasRead(digest), missing.includes(digest));
});

test("another header stops it at once: that is no damage", async () => {
  const layout = await newSite();
  const bundle = await newBundle([
    imageContent(app, "team/app", "1"),
    imageContent(other, "team/other", "1"),
  ]);
  const [first, last] = [bundle.index.blobs[0]?.digest, bundle.index.blobs.at(-1)?.digest];
  assert.ok(first && last);
  await damage(bundle, first);
  await flip(bundle.path, bundle.slot(last).headerAt + 20);
  const error = await damageIn(bundle, layout);
  assert.match(error.message, new RegExp(`wanted blob ${last}`));
  assert.deepEqual(digestsIn(error), [first]);
  assert.doesNotMatch(error.hint ?? "", /What is good/);
  await assertOnlyWhole(layout);
});

test("a damaged blob that the site has is not looked at", async () => {
  const layout = await newSite();
  const bundle = await newBundle([imageContent(app, "team/app", "1")]);
  await placeAll(bundle, layout);
  await damage(bundle, layerOf(app, 0));
  await placeAll(bundle, layout);
});

async function seedFile(name: string, compression: Compression, images: Record<string, TestImage>) {
  const storage = await makeStorage(join(folder, `${name}-${compression}`), images);
  return packStorage(storage, join(folder, `${name}-${compression}.tar`), { compression, prefix: "./" });
}

function packedSeed(file: string): Promise<Content> {
  const request = { file, source: file, keep: "packed" } as const;
  return planSeed(request, { output: join(folder, "site.tar"), reporter: silentReporter });
}

for (const compression of ["none", "gzip", "zstd"] as const) {
  test(`a seed carried packed (${compression}) is unpacked, and read no second time`, async () => {
    const layout = await newSite();
    const seed = await packedSeed(await seedFile("whole", compression, { "team/app:1": app }));
    const bundle = await newBundle([registryContent(registry), seed]);
    await placeAll(bundle, layout);
    await assertStored(layout, app);
    const packed: Digest = `sha256:${seed.seed?.sha256}`;
    assert.ok(!(await assertOnlyWhole(layout)).some((file) => file.includes(packed.slice(7))));
    const again = await placeAll(bundle, layout);
    assert.ok(!again.wasRead(packed));
    await rm(stored(layout, layerOf(app, 0)));
    const before = await snapshot(dirname(stored(layout, layerOf(app, 1))));
    await placeAll(bundle, layout);
    await assertStored(layout, app);
    assert.deepEqual(await snapshot(dirname(stored(layout, layerOf(app, 1)))), before);
  });

  test(`a packed seed (${compression}) with a flipped byte anywhere ends as an integrity error`, async () => {
    const file = await seedFile("flipped", compression, { "team/other:1": other });
    const seed = await packedSeed(file);
    const digest: Digest = `sha256:${seed.seed?.sha256}`;
    const { size } = await stat(file);
    // The first header, the gzip header's time, the middle, the last bytes.
    for (const at of [0, 5, 200, Math.floor(size / 2), size - 1]) {
      const layout = await newSite();
      const bundle = await newBundle([seed]);
      await flip(bundle.path, bundle.slot(digest).bodyAt + at);
      await assert.rejects(placeAll(bundle, layout), { kind: "integrity" }, `byte ${at}`);
      await assertOnlyWhole(layout);
    }
  });

  test(`a damaged packed seed (${compression}) is named, and what came out whole is placed`, async () => {
    const layout = await newSite();
    const file = await seedFile("partly", compression, { "team/app:1": app, "team/other:1": other });
    const seed = await packedSeed(file);
    const contents = [seed, imageContent(makeImage({ files: { x: "y" } }), "team/x", "1")];
    const bundle = await newBundle(contents);
    const packed: Digest = `sha256:${seed.seed?.sha256}`;
    const { bodyAt, size } = bundle.slot(packed);
    await flip(bundle.path, bodyAt + Math.floor(size * 0.9));
    const error = await damageIn(bundle, layout);
    assert.deepEqual(digestsIn(error), [packed]);
    assert.match(error.message, /needed by seed partly-.*tar, team\/app:1 and team\/other:1/);
    const kept = (await assertOnlyWhole(layout)).length;
    assert.ok(kept > 0, `${kept} blobs are kept`);
    const before = await snapshot(layout.storage);
    await placeAll(await newBundle(contents), layout);
    await assertStored(layout, app);
    await assertStored(layout, other);
    const after = await snapshot(layout.storage);
    for (const [path, what] of before) if (path.endsWith("/data")) assert.equal(after.get(path), what);
  });

  test(`a damaged blob inside a packed seed (${compression}) whose own digest is right is named`, async () => {
    const layout = await newSite();
    const storage = await makeStorage(join(folder, `inner-${compression}`), { "team/app:1": app });
    const good = await packedSeed(
      await packStorage(storage, join(folder, `inner-${compression}.tar`), { compression }),
    );
    const tree = await readTree(storage);
    const bad = layerOf(app, 0);
    const bytes = Buffer.from(tree.get(blobPath(bad)) ?? "");
    bytes[1_000_000] = (bytes[1_000_000] ?? 0) ^ 1;
    tree.set(blobPath(bad), bytes);
    const packed = compress(tarOf(entriesOf(tree)), compression);
    const bundle = await newBundle([repacked(good, packed)]);
    await assert.rejects(placeAll(bundle, layout), {
      kind: "integrity",
      message: new RegExp(`read seed ".*": blob ${bad} is damaged`),
    });
    const files = await assertOnlyWhole(layout);
    assert.ok(!files.some((file) => file.includes(bad.slice(7))));
  });
}

for (const compression of ["none", "gzip", "zstd"] as const) {
  test(`a seed (${compression}) much larger than the reader's buffers comes out whole`, async () => {
    const layout = await newSite();
    const large = makeImage({ layers: [noise(9_000_000), noise(5_000_000)] });
    const seed = await packedSeed(await seedFile("large", compression, { "team/large:1": large }));
    await placeAll(await newBundle([seed]), layout);
    await assertStored(layout, large);
  });
}

/** What a planned seed says of its content, over other bytes. */
function repacked(content: Content, packed: Buffer): Content {
  const { seed } = content;
  assert.ok(seed?.packed);
  return contentOf("seed", [packed], {
    repositories: content.repositories,
    seed: { ...seed, sha256: digestOf(packed).slice(7), size: packed.length },
  });
}

test("a packed seed that lacks a blob which the index says it holds is refused", async () => {
  const layout = await newSite();
  const storage = await makeStorage(join(folder, "lacking"), { "team/app:1": app });
  const good = await packedSeed(await packStorage(storage, join(folder, "lacking.tar")));
  const tree = await readTree(storage);
  tree.delete(blobPath(layerOf(app, 1)));
  const bundle = await newBundle([repacked(good, tarOf(entriesOf(tree)))]);
  await assert.rejects(placeAll(bundle, layout), {
    kind: "integrity",
    message: new RegExp(`blob ${layerOf(app, 1)} is in none of its seeds`),
  });
});

test("a blob needed by the storage and by the registry's own image is put in both places", async () => {
  const layout = await newSite();
  const bundle = await newBundle([
    registryContent(registry),
    imageContent(registry, "library/registry", "2"),
    imageContent(app, "team/app", "1"),
  ]);
  await placeAll(bundle, layout);
  await assertStored(layout, registry);
  for (const digest of digestsOf(registry)) {
    const path = layout.release(bundle.digest).registryBlob(digest);
    assert.equal(digestOf(await readFile(path)), digest);
    assert.notEqual((await stat(path)).ino, (await stat(stored(layout, digest))).ino);
  }
  await assertOnlyWhole(layout);
});

test("files get their names; two names of one content, and one that a blob has, too", async () => {
  const layout = await newSite();
  const chart = randomBytes(1_200_000);
  const config = app.blobs[0]?.bytes ?? Buffer.alloc(0);
  const bundle = await newBundle([
    imageContent(app, "team/app", "1"),
    filesContent({
      "charts/a.tgz": chart,
      "charts/b.tgz": chart,
      "config.json": config,
      empty: Buffer.alloc(0),
    }),
  ]);
  await placeAll(bundle, layout);
  assert.deepEqual(await filesBelow(layout.files), []);
  await show(bundle, layout);
  assert.deepEqual(await filesBelow(layout.files), ["charts/a.tgz", "charts/b.tgz", "config.json", "empty"]);
  assert.deepEqual(await readFile(join(layout.files, "charts/a.tgz")), chart);
  assert.deepEqual(await readFile(join(layout.files, "charts/b.tgz")), chart);
  assert.deepEqual(await readFile(join(layout.files, "config.json")), config);
  await assertStored(layout, app);
});

test("a file that the bundle carries as something else besides is placed: a certificate, a packed seed", async () => {
  const layout = await newSite();
  const file = await seedFile("carried", "gzip", { "team/app:1": app });
  const pem = Buffer.from("a certificate, as far as the archive knows\n");
  const path = join(folder, "ca.pem");
  await writeFile(path, pem);
  const bundle = await newBundle([
    contentOf("certificate", [pem]),
    await packedSeed(file),
    await planFiles([
      { name: "ca.pem", path },
      { name: "seed.tar.gz", path: file },
    ]),
  ]);
  await placeAll(bundle, layout);
  await show(bundle, layout);
  await assertStored(layout, app);
  assert.deepEqual(await readFile(join(layout.files, "ca.pem")), pem);
  assert.deepEqual(await readFile(join(layout.files, "seed.tar.gz")), await readFile(file));
});

test("what an earlier try left under temporary names is removed, also where nothing is missing", async () => {
  const layout = await newSite();
  const bundle = await newBundle([imageContent(app, "team/app", "1")]);
  for (const _ of ["everything missing", "nothing missing"]) {
    await mkdir(join(layout.incoming, "folder"), { recursive: true });
    // The very name that will be used, and another.
    await writeFile(join(layout.incoming, layerOf(app, 0).slice(7)), "half of it");
    await writeFile(join(layout.incoming, "folder", "something"), "x");
    await placeAll(bundle, layout);
    await assertStored(layout, app);
    await assertOnlyWhole(layout);
  }
});

test("a folder where a blob should be is a host error naming it, and stays", async () => {
  const layout = await newSite();
  const bundle = await newBundle([imageContent(app, "team/app", "1")]);
  const path = stored(layout, layerOf(app, 0));
  await mkdir(path, { recursive: true });
  await assert.rejects(placeAll(bundle, layout), { kind: "host", message: new RegExp(`"${path}"`) });
  assert.ok((await stat(path)).isDirectory());
  await assertOnlyWhole(layout);
});

test("a full disk is a host error with a hint; only whole blobs have names, and the next try goes on", async () => {
  const layout = await newSite();
  await tmpfs(layout.root, "2m");
  const bundle = await newBundle([
    imageContent(other, "team/other", "1"),
    imageContent(app, "team/app", "1"),
  ]);
  await assert.rejects(placeAll(bundle, layout), (error: Error & { kind?: string; hint?: string }) => {
    assert.equal(error.kind, "host");
    assert.match(error.message, /ENOSPC/);
    assert.match(error.hint ?? "", /full: free some space/);
    return true;
  });
  const kept = await assertOnlyWhole(layout);
  assert.ok(kept.length > 0, "the blobs that fit are not kept");
  await run("mount", ["-o", "remount,size=50m", layout.root]);
  const again = await placeAll(bundle, layout);
  await assertStored(layout, app);
  for (const { digest } of bundle.index.blobs) {
    assert.equal(again.wasRead(digest), !kept.some((file) => file.includes(digest.slice(7))));
  }
});

test("the storage may be a file system of its own", async () => {
  const layout = await newSite();
  await tmpfs(layout.storage, "20m");
  const bundle = await newBundle([
    registryContent(registry),
    imageContent(app, "team/app", "1"),
    filesContent({ "a/b.txt": Buffer.from("b\n") }),
  ]);
  await placeAll(bundle, layout);
  await show(bundle, layout);
  await assertStored(layout, app);
  for (const digest of digestsOf(registry)) {
    assert.equal(digestOf(await readFile(layout.release(bundle.digest).registryBlob(digest))), digest);
  }
  assert.equal(await readFile(join(layout.files, "a/b.txt"), "utf8"), "b\n");
  assert.deepEqual(
    (await filesBelow(layout.root)).filter((file) => /incoming/.test(file)),
    [],
  );
});
