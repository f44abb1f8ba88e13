/** What a power cut may leave at a site: nothing has a name before it is on disk, and no tag before what it names. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { tagLinks } from "../../src/archive/contents.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import { fileList, filesOf, setFiles } from "../../src/install/files.ts";
import { link } from "../../src/install/link.ts";
import { place, planPlacement } from "../../src/install/place.ts";
import { silentReporter } from "../../src/reporter.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { makeImage, makeLayer } from "../lab/images.ts";
import { type DiskEvent, diskEvents } from "../site/disk-order.ts";
import { filesContent, imageContent, registryContent, writeBundleOf } from "./bundles.ts";

let folder: string;
let placed: DiskEvent[];
let linked: DiskEvent[];
let tagPaths: string[];
let shown: DiskEvent[];
let shownPaths: string[];
let finals: string[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-order-"));
  const layout = siteLayout(join(folder, "site"));
  const image = makeImage({ layers: [makeLayer([{ path: "noise", content: randomBytes(1_500_000) }])] });
  const bundle = await writeBundleOf(join(folder, "bundle.tar"), [
    registryContent(image),
    imageContent(image, "team/app", "1"),
    imageContent(makeImage(), "library/hello", "latest"),
    filesContent({ "charts/a.tgz": randomBytes(1000), "b.txt": Buffer.from("b") }),
  ]);
  const opened = await openBundle(await openFile(bundle.path));
  const placement = await planPlacement(bundle.index, layout, bundle.digest);
  finals = placement.missing
    .values()
    .flatMap(({ paths }) => paths)
    .toArray();
  placed = await diskEvents(() => place(opened, placement, layout, silentReporter.step("")));
  linked = await diskEvents(() => link(bundle.index, layout));
  shownPaths = bundle.index.files.map(({ name }) => join(layout.files, name));
  shown = await diskEvents(() => setFiles(fileList(filesOf(bundle.index)), layout));
  tagPaths = [...tagLinks(bundle.index)].map(({ path }) => join(layout.storage, path));
  await opened.close();
});
after(() => rm(folder, { recursive: true }));

/** Where the events are that fit; -1 if there are none. */
const first = (events: DiskEvent[], fits: (event: DiskEvent) => boolean) => events.findIndex(fits);
const last = (events: DiskEvent[], fits: (event: DiskEvent) => boolean) => events.findLastIndex(fits);
const synced = (path: string) => (event: DiskEvent) => event.kind === "sync" && event.path === path;

test("a blob or file has its name after it is synced, and its folder is synced after that", () => {
  assert.ok(finals.length > 5);
  for (const path of finals) {
    const at = first(placed, (event) => event.kind === "rename" && event.path === path);
    const renamed = placed[at];
    assert.ok(renamed?.kind === "rename", `${path} was not renamed into place`);
    const write = last(placed, (event) => event.kind === "write" && event.path === renamed.from);
    const sync = last(placed, synced(renamed.from));
    assert.ok(write < sync, `${path}: its bytes were written after they were synced`);
    assert.ok(sync !== -1 && sync < at, `${path} was renamed before it was synced`);
    assert.ok(last(placed, synced(dirname(path))) > at, `the folder of ${path} is not synced`);
  }
});

test("a file gets the name that people see by one rename, and the folders on the way are synced after it", () => {
  assert.equal(shownPaths.length, 2);
  for (const path of shownPaths) {
    const at = first(shown, (event) => event.kind === "rename" && event.path === path);
    assert.ok(at !== -1, `${path} was not renamed into place`);
    for (let above = dirname(path); above !== join(folder, "site"); above = dirname(above))
      assert.ok(last(shown, synced(above)) > at, `${above} is not synced`);
    assert.ok(!shown.some((event) => event.kind === "write"), "nothing is written once more");
  }
});

test("every new folder on the way is synced in the one above it", () => {
  const root = join(folder, "site");
  for (const path of finals) {
    for (let above = dirname(dirname(path)); above.startsWith(root); above = dirname(above)) {
      assert.ok(first(placed, synced(above)) !== -1, `${above} is not synced`);
    }
  }
});

test("links are synced with their folders before the first tag moves, and each tag's own after", () => {
  const firstTag = first(linked, (event) => event.kind === "rename" && tagPaths.includes(event.path));
  assert.ok(firstTag > 0);
  const written = linked.filter(({ kind, path }) => kind === "write" && path.endsWith("/link"));
  assert.ok(written.length > 5);
  for (const { path } of written) {
    const sync = first(linked, synced(path));
    assert.ok(sync !== -1 && sync < firstTag, `${path} is not synced before the tags`);
    const folderSync = last(linked.slice(0, firstTag), synced(dirname(path)));
    assert.ok(folderSync > first(linked, (event) => event.kind === "write" && event.path === path), path);
  }
  for (const path of tagPaths) {
    const at = first(linked, (event) => event.kind === "rename" && event.path === path);
    const renamed = linked[at];
    assert.ok(renamed?.kind === "rename");
    const sync = first(linked, synced(renamed.from));
    assert.ok(sync !== -1 && sync < at, `${path} was renamed before it was synced`);
    assert.ok(last(linked, synced(dirname(path))) > at, `the folder of ${path} is not synced`);
  }
});
