/** What a site remembers. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { DrydockError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { writeDurably } from "../../src/site/durable.ts";
import { siteLayout } from "../../src/site/layout.ts";
import {
  claimSite,
  currentDigest,
  currentRelease,
  findSite,
  isClaimed,
  leaveData,
  listReleases,
  type ReleaseRecord,
  readRelease,
  rememberSite,
  setCurrent,
  writeRelease,
} from "../../src/site/record.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-record-"));
after(() => rm(folder, { recursive: true, force: true }));

function record(name: string, sequence: number): ReleaseRecord {
  return {
    bundleDigest: digestOf(name),
    name,
    release: 1,
    sequence,
    // The clock was set back in between: the order does not come from it.
    installedAt: sequence === 1 ? "2027-01-01T00:00:00Z" : "2026-01-01T00:00:00Z",
    tagsBefore: {},
    tagsAfter: { alpine: { "3.20": digestOf("alpine") } },
    placed: { blobs: 3, bytes: 1234 },
    settings: { addresses: ["registry.plant7.lan"], port: 443, access: "read-only" },
    chosen: {},
    registryImage: digestOf("registry"),
  };
}

test("a site is claimed once, with the folders above it", async () => {
  const layout = siteLayout(join(folder, "a/b/site"));
  assert.equal(await isClaimed(layout), false);
  await claimSite(layout);
  await claimSite(layout);
  assert.equal(await isClaimed(layout), true);
  assert.deepEqual(await readdir(layout.root), ["drydock.json"]);
});

test("a site that drydock has left is none, until it is claimed again", async () => {
  const layout = siteLayout(join(folder, "left"));
  await claimSite(layout);
  await leaveData(layout);
  const written = await readFile(layout.marker, "utf8");
  await leaveData(layout, new Date(0));
  assert.equal(await readFile(layout.marker, "utf8"), written);
  assert.equal(await isClaimed(layout), false);
  await claimSite(layout);
  assert.equal(await isClaimed(layout), true);
  await writeFile(layout.marker, "");
  await leaveData(layout);
  assert.equal(await isClaimed(layout), false);
});

test("releases are listed in the order of their installs; the current one is the one that was said to be", async () => {
  const layout = siteLayout(join(folder, "releases"));
  assert.equal(await currentRelease(layout), undefined);
  const newer = record("newer", 2);
  const older = record("older", 1);
  await claimSite(layout);
  await writeRelease(layout, newer);
  await writeRelease(layout, older);
  await mkdir(layout.release(digestOf("unfinished")).registryBlobs, { recursive: true });
  assert.equal(await currentRelease(layout), undefined);
  for (const one of [older, newer, older]) {
    await setCurrent(layout, one.bundleDigest);
    assert.deepEqual(await currentRelease(layout), one);
  }
  assert.deepEqual(await listReleases(layout), [older, newer]);
  assert.deepEqual(await readRelease(layout, older.bundleDigest), older);
  assert.equal(await readRelease(layout, digestOf("unfinished")), undefined);
});

test("saying again what is current writes nothing; none can be current; what is no digest is an error", async () => {
  const layout = siteLayout(join(folder, "current"));
  await claimSite(layout);
  await setCurrent(layout, digestOf("x"));
  const { ino } = await stat(layout.marker);
  await setCurrent(layout, digestOf("x"));
  assert.equal((await stat(layout.marker)).ino, ino);
  assert.deepEqual(JSON.parse(await readFile(layout.marker, "utf8")), {
    formatVersion: 1,
    current: digestOf("x"),
  });
  await setCurrent(layout, undefined);
  assert.equal(await currentDigest(layout), undefined);
  assert.equal(await isClaimed(layout), true);
  await writeFile(layout.marker, '{"formatVersion": 1, "current": "yesterday\'s"}');
  await assert.rejects(currentDigest(layout), DrydockError);
});

test("a record that is damaged is an error, not a release that isn't there", async () => {
  const layout = siteLayout(join(folder, "damaged"));
  await claimSite(layout);
  await writeRelease(layout, record("x", 1));
  await setCurrent(layout, digestOf("x"));
  for (const text of [
    '{"bundleDigest":',
    "{}",
    JSON.stringify({ ...record("x", 1), tagsBefore: { a: { b: "1" } } }),
  ]) {
    await writeFile(layout.release(digestOf("x")).record, text);
    await assert.rejects(currentRelease(layout), DrydockError, text);
  }
});

test("the host remembers where its site is", async () => {
  const config = join(folder, "etc/drydock");
  assert.equal((await findSite(undefined, config)).root, "/srv/docker-registry");
  await rememberSite(siteLayout("/data/site"), config);
  assert.equal((await findSite(undefined, config)).root, "/data/site");
  assert.equal((await findSite("/other", config)).root, "/other");
  await writeFile(join(config, "site.json"), "[]");
  await assert.rejects(findSite(undefined, config), DrydockError);
});

test("a file is written whole, with its mode whatever the umask, or not at all", async () => {
  const path = join(folder, "key.pem");
  const before = process.umask(0o077);
  try {
    await writeDurably(path, "one", { mode: 0o644 });
    assert.equal((await stat(path)).mode & 0o777, 0o644);
  } finally {
    process.umask(before);
  }
  await writeDurably(path, "two", { mode: 0o600 });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await mkdir(join(folder, "taken/by-a-folder"), { recursive: true });
  await assert.rejects(writeDurably(join(folder, "taken/by-a-folder"), "x"), DrydockError);
  assert.deepEqual(await readdir(join(folder, "taken")), ["by-a-folder"], "no temporary file is left");
});
