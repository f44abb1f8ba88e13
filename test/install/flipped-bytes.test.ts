/** A byte is turned over at a thousand places of a bundle, one at a time: each is found, and nothing of it placed. */
import assert from "node:assert/strict";
import { randomBytes, randomInt } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Damage } from "../../src/archive/damage.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { verify } from "../../src/archive/verify.ts";
import { planSeed } from "../../src/bundle/seed-source.ts";
import { DrydockError } from "../../src/errors.ts";
import { place, planPlacement } from "../../src/install/place.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { memorySource } from "../archive/bundles.ts";
import { makeImage, makeLayer } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeStorage, packStorage } from "../lab/seeds.ts";
import {
  contentOf,
  filesBelow,
  filesContent,
  imageContent,
  registryContent,
  writeBundleOf,
} from "./bundles.ts";

const flips = 1000;

// In memory: it is about what gets a name, and a disk would take a second for each.
const folder = await mkdtemp(join(tmpdir(), "drydock-flipped-"));
await run("mount", ["-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]);
after(async () => {
  await run("umount", ["--lazy", folder]);
  await rm(folder, { recursive: true });
});

const image = (size: number) =>
  makeImage({ layers: [makeLayer([{ path: "noise", content: randomBytes(size) }])] });
const storage = await makeStorage(join(folder, "storage"), { "team/seeded:1": image(3000) });
const seed = await planSeed(
  {
    file: await packStorage(storage, join(folder, "seed.tar.gz"), { compression: "gzip" }),
    source: "seed.tar.gz",
    keep: "packed",
  },
  { output: join(folder, "site.tar"), reporter: silentReporter },
);
const bundle = await writeBundleOf(join(folder, "site.tar"), [
  contentOf("certificate", [randomBytes(900)]),
  registryContent(image(2000)),
  imageContent(image(9000), "team/app", "1"),
  imageContent(image(100), "team/other", "1"),
  filesContent({ "notes.txt": randomBytes(700) }),
  seed,
]);
const good = await readFile(bundle.path);

/** The error that it ends with. */
async function errorOf(work: Promise<unknown>, where: string): Promise<DrydockError> {
  const error: unknown = await work.then(
    () => undefined,
    (thrown) => thrown,
  );
  assert.ok(error instanceof DrydockError, `${where}: ${String(error)}`);
  assert.equal(error.kind, "integrity", `${where}: ${error.message}`);
  return error;
}

async function verifyAll(bytes: Buffer): Promise<void> {
  const opened = await openBundle(memorySource(bytes), undefined, { goOn: true });
  await verify(opened, silentReporter);
}

async function placeAll(bytes: Buffer, root: string): Promise<void> {
  const layout = siteLayout(root);
  const opened = await openBundle(memorySource(bytes), undefined, { goOn: true });
  const placement = await planPlacement(opened.index, layout, `sha256:${opened.digest}`);
  await place(opened, placement, layout, silentReporter.step(""));
}

/** Whatever has a blob's name has its digest, and `damaged` has none. @returns how many there are */
async function assertWhole(root: string, damaged: string | undefined, where: string): Promise<number> {
  const files = await filesBelow(root);
  for (const file of files) {
    const [, hex] = /([0-9a-f]{64})(?:\/data)?$/.exec(file) ?? [];
    assert.ok(hex !== undefined && `sha256:${hex}` !== damaged, `${where}: ${file}`);
    assert.equal(digestOf(await readFile(join(root, file))), `sha256:${hex}`, `${where}: ${file}`);
  }
  return files.length;
}

test("as it was made it is whole", async () => {
  await verifyAll(good);
  const root = join(folder, "whole");
  await mkdir(root);
  await placeAll(good, root);
  assert.ok((await filesBelow(root)).length >= bundle.index.blobs.length);
});

/** One flip, at a site of its own. @returns whether something else of the bundle was placed */
async function tryOne(root: string): Promise<boolean> {
  const at = randomInt(good.length);
  const bad = Buffer.from(good);
  bad.writeUInt8(bad.readUInt8(at) ^ (1 << randomInt(8)), at);
  const where = `byte ${at} is ${bad[at]} instead of ${good[at]}`;
  const hit = bundle.index.blobs.find(({ digest, size }) => {
    const { bodyAt } = bundle.slot(digest);
    return at >= bodyAt && at < bodyAt + size;
  });
  const error = await errorOf(verifyAll(bad), where);
  if (hit) {
    const named = (error.data?.damage as Damage[] | undefined)?.map(({ digest }) => digest);
    assert.deepEqual(named, [hit.digest], where);
  }
  await mkdir(root);
  await errorOf(placeAll(bad, root), where);
  const placed = await assertWhole(root, hit?.digest, where);
  await rm(root, { recursive: true });
  return hit !== undefined && placed > 0;
}

test(`a byte turned over at ${flips} places of ${good.length}, one at a time`, {
  timeout: 120_000,
}, async () => {
  const rounds = Array.from({ length: flips }).entries();
  let placedSome = 0;
  const work = async (_: unknown, worker: number) => {
    for (const _round of rounds) if (await tryOne(join(folder, `site-${worker}`))) placedSome += 1;
  };
  await Promise.all(Array.from({ length: 4 }, work));
  assert.ok(placedSome > flips / 4, "what is good was hardly ever placed");
});
