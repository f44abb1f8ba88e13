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
  isClaimed,
  leaveData,
  readMarker,
  writeMarker,
} from "../../src/site/marker.ts";
import {
  completeAction,
  currentRelease,
  findSite,
  listReleases,
  type ReleaseRecord,
  readRelease,
  rememberSite,
  writeRelease,
} from "../../src/site/record.ts";
import { makeCurrent } from "./current.ts";
import { diskEvents } from "./disk-order.ts";

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
    filesBefore: {},
    filesAfter: { "pump.tgz": digestOf("pump") },
    certificates: digestOf("certificates"),
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
  assert.deepEqual(await listReleases(layout), [], "none of them is complete");
  for (const one of [older, newer, older]) {
    await makeCurrent(layout, one.bundleDigest);
    assert.deepEqual(await currentRelease(layout), one);
  }
  assert.deepEqual(await listReleases(layout), [older, newer]);
  assert.deepEqual(await readRelease(layout, older.bundleDigest), older);
  assert.equal(await readRelease(layout, digestOf("unfinished")), undefined);
});

test("an action is complete at once: which is current, which are rolled back, and the certificates", async () => {
  const layout = siteLayout(join(folder, "complete"));
  const [one, two] = [record("one", 1), record("two", 2)];
  await claimSite(layout);
  for (const each of [one, two]) {
    await writeRelease(layout, each);
    await makeCurrent(layout, each.bundleDigest);
  }
  const certificates = digestOf("others");
  const back = { certificates, begunAt: "2026-01-01T00:00:00Z" };
  const [current, undone] = [one.bundleDigest, [two.bundleDigest]];
  const events = await diskEvents(() => completeAction(layout, { ...back, current, undone }));
  assert.deepEqual(
    events.filter(({ kind }) => kind === "rename").map(({ path }) => path),
    [layout.marker],
  );
  assert.equal((await readMarker(layout)).certificates, certificates);
  assert.deepEqual(await currentRelease(layout), one);
  const { rolledBackAt, ...rest } = (await readRelease(layout, two.bundleDigest)) ?? {};
  assert.ok(Date.parse(rolledBackAt ?? "") > 0);
  assert.deepEqual(rest, two);
  // Its record is written anew, by a prune say, and it is still rolled back.
  await writeRelease(layout, { ...two, rolledBackAt: "2020-01-01T00:00:00Z" });
  assert.equal((await readRelease(layout, two.bundleDigest))?.rolledBackAt, rolledBackAt);
  await completeAction(layout, { ...back, current: two.bundleDigest, redone: [two.bundleDigest] });
  assert.deepEqual(await listReleases(layout), [one, two]);
});

test("what an earlier drydock has written is understood, and goes on", async () => {
  const layout = siteLayout(join(folder, "earlier"));
  const { filesBefore, filesAfter, certificates, ...one } = record("one", 1);
  const two = { ...record("two", 2), rolledBackAt: "2026-01-02T00:00:00Z" };
  await claimSite(layout);
  await writeRelease(layout, one);
  await mkdir(layout.release(two.bundleDigest).folder);
  await writeFile(layout.release(two.bundleDigest).record, JSON.stringify(two));
  await writeMarker(layout, { current: one.bundleDigest });
  assert.deepEqual(await listReleases(layout), [one, two]);
  await makeCurrent(layout, one.bundleDigest);
  assert.deepEqual(await listReleases(layout), [one, two]);
  await makeCurrent(layout, two.bundleDigest);
  assert.equal((await currentRelease(layout))?.rolledBackAt, undefined);
});

test("a marker that holds no digest is an error", async () => {
  const layout = siteLayout(join(folder, "current"));
  await claimSite(layout);
  assert.equal(await currentDigest(layout), undefined);
  for (const key of ["current", "certificates"]) {
    await writeFile(layout.marker, JSON.stringify({ formatVersion: 1, [key]: "yesterday's" }));
    await assert.rejects(currentDigest(layout), DrydockError);
  }
});

test("a record that is damaged is an error, not a release that isn't there", async () => {
  const layout = siteLayout(join(folder, "damaged"));
  await claimSite(layout);
  await writeRelease(layout, record("x", 1));
  await makeCurrent(layout, digestOf("x"));
  for (const text of [
    '{"bundleDigest":',
    "{}",
    JSON.stringify({ ...record("x", 1), tagsBefore: { a: { b: "1" } } }),
    JSON.stringify({ ...record("x", 1), filesAfter: { a: "1" } }),
    JSON.stringify({ ...record("x", 1), certificates: "1" }),
  ]) {
    await writeFile(layout.release(digestOf("x")).record, text);
    await assert.rejects(
      currentRelease(layout),
      { kind: "host", hint: /`drydock uninstall`.*--adopt/ },
      text,
    );
  }
});

test("the host remembers where its site is", async () => {
  const config = join(folder, "etc/drydock");
  assert.equal((await findSite(undefined, config)).root, "/srv/docker-registry");
  await rememberSite(siteLayout("/data/site"), config);
  assert.equal((await findSite(undefined, config)).root, "/data/site");
  assert.equal((await findSite("/other", config)).root, "/other");
  for (const file of ["/etc/passwd", "/etc/passwd/site"])
    await assert.rejects(findSite(file, config), { kind: "input", message: /that is a file, or below one/ });
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
