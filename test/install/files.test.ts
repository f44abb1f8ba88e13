/** What files/ shows: second names of what is kept, given and taken back, also across file systems. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import {
  differingFiles,
  type FileValue,
  keepShown,
  removeOtherFiles,
  setFiles,
} from "../../src/install/files.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import type { Files } from "../../src/site/record.ts";
import { run } from "../lab/process.ts";
import { filesBelow } from "./bundles.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-files-"));
after(() => rm(folder, { recursive: true }));

let count = 0;
function newSite(): SiteLayout {
  count += 1;
  return siteLayout(join(folder, `site-${count}`));
}

/** As the step "place" does it. */
async function keep(layout: SiteLayout, text: string): Promise<Digest> {
  const digest = digestOf(text);
  await mkdir(layout.keptFiles, { recursive: true });
  await writeFile(layout.keptFile(digest), text);
  return digest;
}

async function put(layout: SiteLayout, name: string, text: string): Promise<void> {
  await mkdir(dirname(join(layout.files, name)), { recursive: true });
  await writeFile(join(layout.files, name), text);
}

const shown = (layout: SiteLayout, name: string) => readFile(join(layout.files, name), "utf8");

test("names get what is kept, and get back what they had, be it nobody's; empty folders go", async () => {
  const layout = newSite();
  const [one, two] = [await keep(layout, "one"), await keep(layout, "two")];
  await put(layout, "theirs.txt", "theirs");
  await put(layout, "charts/theirs.txt", "more of theirs");
  const wanted: FileValue[] = [
    { name: "pump.tgz", digest: one },
    { name: "charts/deep/valve.tgz", digest: two },
    { name: "theirs.txt", digest: two },
  ];
  const before: Files = await keepShown(wanted, layout);
  assert.deepEqual({ ...before }, { "theirs.txt": digestOf("theirs") });
  assert.deepEqual(await differingFiles(wanted, layout), wanted);
  await setFiles(wanted, layout);
  assert.deepEqual(await differingFiles(wanted, layout), []);
  assert.deepEqual(
    [
      await shown(layout, "pump.tgz"),
      await shown(layout, "charts/deep/valve.tgz"),
      await shown(layout, "theirs.txt"),
    ],
    ["one", "two", "two"],
  );
  assert.equal((await stat(join(layout.files, "pump.tgz"))).ino, (await stat(layout.keptFile(one))).ino);
  const [, { ino }] = [await setFiles(wanted, layout), await stat(join(layout.files, "theirs.txt"))];
  assert.equal(
    (await stat(layout.keptFile(two))).ino,
    ino,
    "nothing is written where all is as it should be",
  );

  const back = wanted.map(({ name }) => ({ name, digest: before[name] }));
  await setFiles(back, layout);
  assert.deepEqual(await filesBelow(layout.files), ["charts/theirs.txt", "theirs.txt"]);
  assert.equal(await shown(layout, "theirs.txt"), "theirs");
  await setFiles(back, layout);
});

test("what is written into a shown file is found by its size, or by reading, and put right", async () => {
  const layout = newSite();
  const digest = await keep(layout, "as it was carried");
  const wanted = [{ name: "a.txt", digest }];
  await setFiles(wanted, layout);
  await rm(join(layout.files, "a.txt"));
  await put(layout, "a.txt", "as somebody wrote");
  assert.deepEqual(await differingFiles(wanted, layout), wanted);
  await setFiles(wanted, layout);
  assert.equal(await shown(layout, "a.txt"), "as it was carried");
});

test("a symbolic link that has a name keeps what it leads to", async () => {
  const layout = newSite();
  const digest = await keep(layout, "new");
  await mkdir(layout.files, { recursive: true });
  await writeFile(join(folder, "elsewhere"), "elsewhere");
  await symlink(join(folder, "elsewhere"), join(layout.files, "a.txt"));
  const before = await keepShown([{ name: "a.txt", digest }], layout);
  await setFiles([{ name: "a.txt", digest }], layout);
  assert.equal(await readFile(join(folder, "elsewhere"), "utf8"), "elsewhere");
  await setFiles([{ name: "a.txt", digest: before["a.txt"] }], layout);
  assert.equal(await shown(layout, "a.txt"), "elsewhere");
});

test("files/ may be a file system of its own: copies, whole", async () => {
  const layout = newSite();
  const digest = await keep(layout, "one");
  await mkdir(layout.files, { recursive: true });
  await run("mount", ["-t", "tmpfs", "-o", "size=1m", "none", layout.files]);
  try {
    await put(layout, "a.txt", "theirs");
    const wanted = [{ name: "a.txt", digest }];
    const before = await keepShown(wanted, layout);
    await setFiles(wanted, layout);
    assert.deepEqual([await shown(layout, "a.txt"), await filesBelow(layout.files)], ["one", ["a.txt"]]);
    assert.deepEqual(await differingFiles(wanted, layout), []);
    await setFiles([{ name: "a.txt", digest: before["a.txt"] }], layout);
    assert.equal(await shown(layout, "a.txt"), "theirs");
    await writeFile(join(layout.files, "a.txt"), Buffer.alloc(900_000));
    const large = await keep(layout, "x".repeat(900_000));
    await assert.rejects(setFiles([{ name: "a.txt", digest: large }], layout), {
      kind: "host",
      message: /^write ".*a\.txt": ENOSPC/,
    });
    assert.deepEqual(await filesBelow(layout.files), ["a.txt"]);
  } finally {
    await run("umount", [layout.files]);
  }
});

test("of the kept ones those go that nothing needs", async () => {
  const layout = newSite();
  const [one] = [await keep(layout, "one"), await keep(layout, "two")];
  await removeOtherFiles(layout, new Set([one]));
  assert.deepEqual(await filesBelow(layout.keptFiles), [one.slice(7)]);
  await removeOtherFiles(newSite(), new Set());
});
