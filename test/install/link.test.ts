/** Links and tags over a placed bundle; a real registry then serves it. */
import assert from "node:assert/strict";
import { link as hardLink, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import { link, readTags } from "../../src/install/link.ts";
import { place, planPlacement } from "../../src/install/place.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import {
  layerLinkPath,
  revisionLinkPath,
  tagCurrentLinkPath,
  tagIndexLinkPath,
} from "../../src/oci/storage.ts";
import { silentReporter } from "../../src/reporter.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { makeImage, type TestImage } from "../lab/images.ts";
import { startRegistry } from "../lab/registry.ts";
import { makeStorage, readTree } from "../lab/seeds.ts";
import { filesBelow, imageContent, snapshot, type WrittenBundle, writeBundleOf } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-link-"));
after(() => rm(folder, { recursive: true }));

const older = makeImage({ files: { "app.txt": "1\n" } });
const newer = makeImage({ files: { "app.txt": "2\n" } });
const hello = makeImage({ files: { "hello.txt": "hello\n" } });

let count = 0;
async function newSite(): Promise<SiteLayout> {
  count += 1;
  const layout = siteLayout(join(folder, `site-${count}`));
  await mkdir(layout.root);
  return layout;
}

function bundleOf(image: TestImage): Promise<WrittenBundle> {
  count += 1;
  return writeBundleOf(join(folder, `bundle-${count}.tar`), [
    imageContent(image, "team/app", "latest"),
    imageContent(image, "team/app", "1"),
    imageContent(hello, "library/hello", "latest"),
  ]);
}

async function placeAll(bundle: WrittenBundle, layout: SiteLayout): Promise<void> {
  const opened = await openBundle(await openFile(bundle.path));
  const placement = await planPlacement(bundle.index, layout, bundle.digest);
  await place(opened, placement, layout, silentReporter.step(""));
  await opened.close();
}

async function install(image: TestImage, layout: SiteLayout): Promise<WrittenBundle> {
  const bundle = await bundleOf(image);
  await placeAll(bundle, layout);
  await link(bundle.index, layout);
  return bundle;
}

const current = (layout: SiteLayout, tag = "latest") =>
  join(layout.storage, tagCurrentLinkPath("team/app", tag));

test("the tree is what a registry makes of the same pushes, to the byte, and what the totals say", async () => {
  const layout = await newSite();
  const bundle = await bundleOf(older);
  await placeAll(bundle, layout);
  assert.deepEqual(await link(bundle.index, layout), { links: 3 + 3 + 2 + 1, tags: 3 });
  const { totals } = bundle.index;
  const files = await filesBelow(layout.storage);
  const folders = new Set<string>();
  for (const file of files) for (let at = dirname(file); at !== "."; at = dirname(at)) folders.add(at);
  assert.equal(totals.inodes, files.length + folders.size);
  assert.equal(totals.blobs, files.filter((file) => file.endsWith("/data")).length);

  const pushed = await makeStorage(join(folder, "pushed"), {
    "team/app:latest": older,
    "team/app:1": older,
    "library/hello:latest": hello,
  });
  assert.deepEqual(await readTree(layout.storage), await readTree(pushed));
});

test("a registry that runs over the storage serves each tag and blob", async () => {
  const layout = await newSite();
  const registry = await startRegistry({ folder, storage: layout.storage, readOnly: true });
  try {
    for (const image of [older, newer]) {
      await install(image, layout);
      for (const tag of ["latest", "1"]) {
        const url = `http://${registry.host}/v2/team/app/manifests/${tag}`;
        const response = await fetch(url, { headers: { accept: image.mediaType } });
        assert.equal(digestOf(Buffer.from(await response.arrayBuffer())), image.digest);
      }
      for (const { digest } of image.blobs) {
        const response = await fetch(`http://${registry.host}/v2/team/app/blobs/${digest}`);
        assert.equal(digestOf(Buffer.from(await response.arrayBuffer())), digest);
      }
    }
  } finally {
    await registry.stop();
  }
});

test("a second run writes nothing", async () => {
  const layout = await newSite();
  const bundle = await install(older, layout);
  const before = await snapshot(layout.root);
  assert.deepEqual(await link(bundle.index, layout), { links: 0, tags: 0 });
  assert.deepEqual(await snapshot(layout.root), before);
});

test("a tag moves by rename: whoever has the old link open sees all of the old", async () => {
  const layout = await newSite();
  await install(older, layout);
  const kept = join(layout.root, "the old file");
  await hardLink(current(layout), kept);
  const bundle = await bundleOf(newer);
  await placeAll(bundle, layout);
  assert.equal((await link(bundle.index, layout)).tags, 2);
  assert.equal(await readFile(current(layout), "utf8"), newer.digest);
  assert.equal(await readFile(kept, "utf8"), older.digest);
  assert.deepEqual(
    (await filesBelow(dirname(current(layout)))).sort(),
    ["link"],
    "a temporary file is left beside the tag",
  );
});

test("a tag's index holds what it names and what it named", async () => {
  const layout = await newSite();
  await install(older, layout);
  await install(newer, layout);
  for (const { digest } of [older, newer]) {
    const path = join(layout.storage, tagIndexLinkPath("team/app", "latest", digest));
    assert.equal(await readFile(path, "utf8"), digest);
  }
});

test("where a link cannot be written, no tag moves", async () => {
  const layout = await newSite();
  await install(older, layout);
  const bundle = await bundleOf(newer);
  await placeAll(bundle, layout);
  // A file where the folder of one of the last links must be.
  const blocked = dirname(join(layout.storage, tagIndexLinkPath("team/app", "latest", newer.digest)));
  await writeFile(blocked, "in the way");
  await assert.rejects(link(bundle.index, layout), { kind: "host", message: new RegExp(blocked) });
  for (const tag of ["latest", "1"]) assert.equal(await readFile(current(layout, tag), "utf8"), older.digest);
  await rm(blocked);
  assert.equal((await link(bundle.index, layout)).tags, 2);
});

test("a link that cannot be read is an error, not a missing one", async () => {
  const layout = await newSite();
  const bundle = await bundleOf(older);
  await placeAll(bundle, layout);
  const path = join(layout.storage, revisionLinkPath("team/app", older.digest));
  await mkdir(path, { recursive: true });
  await assert.rejects(link(bundle.index, layout), { kind: "host", message: new RegExp(path) });
  await assert.rejects(stat(current(layout)), { code: "ENOENT" });
});

test("links that a crash has cut or emptied are mended, tags too", async () => {
  const layout = await newSite();
  const bundle = await install(older, layout);
  const [config] = older.blobs;
  assert.ok(config);
  const torn: Record<string, Digest> = {
    [layerLinkPath("team/app", config.digest)]: config.digest,
    [revisionLinkPath("team/app", older.digest)]: older.digest,
    [tagCurrentLinkPath("team/app", "1")]: older.digest,
  };
  for (const [number, path] of Object.keys(torn).entries())
    await writeFile(join(layout.storage, path), older.digest.slice(0, number * 20));
  assert.deepEqual(await link(bundle.index, layout), { links: 2, tags: 1 });
  for (const [path, digest] of Object.entries(torn))
    assert.equal(await readFile(join(layout.storage, path), "utf8"), digest);
});

test("readTags says what the bundle's tags name now: absent where there is none, or none that can be read", async () => {
  const layout = await newSite();
  const bundle = await bundleOf(newer);
  assert.deepEqual(await readTags(bundle.index, layout), {});
  await install(older, layout);
  assert.deepEqual(await readTags(bundle.index, layout), {
    "team/app": { latest: older.digest, "1": older.digest },
    "library/hello": { latest: hello.digest },
  });
  await writeFile(current(layout, "1"), older.digest.slice(0, 30));
  await rm(dirname(join(layout.storage, tagCurrentLinkPath("library/hello", "latest"))), { recursive: true });
  assert.deepEqual(await readTags(bundle.index, layout), { "team/app": { latest: older.digest } });
});
