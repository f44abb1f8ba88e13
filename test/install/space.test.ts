/** How much room an install takes, held against what it really made: over real bundles, placed and linked. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileList, filesOf, setFiles } from "../../src/install/files.ts";
import { link } from "../../src/install/link.ts";
import { place, planPlacement } from "../../src/install/place.ts";
import { type SpaceNeeded, spaceNeeded } from "../../src/install/space.ts";
import { silentReporter } from "../../src/reporter.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { makeImage } from "../lab/images.ts";
import {
  filesContent,
  imageContent,
  openWatched,
  registryContent,
  type WrittenBundle,
  writeBundleOf,
} from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-space-"));
after(() => rm(folder, { recursive: true }));

const app = makeImage({ files: { a: "app" } });
const tool = makeImage({ files: { b: "tool" } });
const registry = makeImage({ files: { c: "registry" } });

let count = 0;
async function newBundle(images: Record<string, typeof app>): Promise<WrittenBundle> {
  return await writeBundleOf(join(folder, `bundle-${++count}.tar`), [
    registryContent(registry),
    ...Object.entries(images).map(([tag, image]) => imageContent(image, "team/app", tag)),
    filesContent({ "charts/a.tgz": randomBytes(5000) }),
  ]);
}

async function needed(bundle: WrittenBundle, layout: SiteLayout): Promise<SpaceNeeded[]> {
  const { missing, files } = await planPlacement(bundle.index, layout, bundle.digest);
  return await spaceNeeded(bundle.index, layout, missing.values(), files);
}

async function install(bundle: WrittenBundle, layout: SiteLayout): Promise<void> {
  const opened = await openWatched(bundle);
  const placement = await planPlacement(bundle.index, layout, bundle.digest);
  await place(opened, placement, layout, silentReporter.step(""));
  await link(bundle.index, layout);
  await setFiles(fileList(filesOf(bundle.index)), layout);
  await opened.close();
}

/** Files and folders below and at a path, and the bytes of their blocks; a folder's are one block. */
async function inUse(path: string): Promise<{ inodes: number; bytes: number }> {
  const names = await readdir(path, { recursive: true }).catch(() => undefined);
  if (names === undefined) return { inodes: 0, bytes: 0 };
  let bytes = 0;
  for (const name of ["", ...names]) {
    const found = await stat(join(path, name));
    bytes += found.isDirectory() ? 4096 : Math.ceil(found.size / 4096) * 4096;
  }
  return { inodes: names.length + 1, bytes };
}

const of = (spaces: SpaceNeeded[], path: string) => {
  const { inodes, bytes } = spaces.find((space) => space.path === path) ?? { inodes: -1, bytes: -1 };
  return { inodes, bytes };
};

test("blobs, links and folders in an empty site, exactly; then what a second bundle adds, then nothing", async () => {
  const layout = siteLayout(join(folder, "site"));
  const first = await newBundle({ "1": app });
  const empty = await needed(first, layout);
  await install(first, layout);
  assert.deepEqual(of(empty, layout.storage), await inUse(layout.storage));
  assert.deepEqual(of(empty, layout.releases), await inUse(layout.releases));
  // The chart has a second name here.
  assert.deepEqual(of(empty, layout.files), { inodes: 2, bytes: 2 * 4096 });
  assert.deepEqual(of(empty, layout.root), { inodes: 1, bytes: 4096 });
  const second = await newBundle({ "1": tool, "2": app });
  const before = await inUse(layout.storage);
  const more = await needed(second, layout);
  await install(second, layout);
  const after_ = await inUse(layout.storage);
  assert.deepEqual(of(more, layout.storage), {
    inodes: after_.inodes - before.inodes,
    bytes: after_.bytes - before.bytes,
  });
  for (const path of [layout.storage, layout.releases, layout.files])
    assert.deepEqual(of(await needed(second, layout), path), { inodes: 0, bytes: 0 }, path);
});

test("where files/ is another file system, what is shown there takes its room once more", async () => {
  const layout = siteLayout(join(folder, "elsewhere"));
  const other = await mkdtemp("/dev/shm/drydock-files-");
  after(() => rm(other, { recursive: true }));
  await mkdir(layout.root);
  await symlink(other, layout.files);
  const bundle = await newBundle({ "1": app });
  const spaces = await needed(bundle, layout);
  await install(bundle, layout);
  const charts = await inUse(join(other, "charts"));
  assert.equal(charts.bytes, 3 * 4096);
  assert.deepEqual(of(spaces, layout.files), charts);
  assert.deepEqual(of(spaces, layout.releases), await inUse(layout.releases));
});

test("a blob of another size in its place is written again; what an earlier try left counts as free", async () => {
  const layout = siteLayout(join(folder, "spoiled"));
  const bundle = await newBundle({ "1": app });
  await install(bundle, layout);
  const { path } = (await readdir(layout.storage, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.name === "data")
    .map((entry) => ({ path: join(entry.parentPath, entry.name) }))[0] ?? { path: "" };
  await writeFile(path, "");
  await mkdir(layout.incoming, { recursive: true });
  await writeFile(join(layout.incoming, "x"), Buffer.alloc(100_000));
  const spaces = await needed(bundle, layout);
  const again = of(spaces, layout.storage);
  assert.equal(again.inodes, 0);
  assert.ok(again.bytes >= 4096 && again.bytes % 4096 === 0, String(again.bytes));
  const left = of(spaces, layout.incoming);
  assert.equal(left.inodes, -1);
  assert.ok(left.bytes <= -100_000 && left.bytes > -110_000, String(left.bytes));
});
