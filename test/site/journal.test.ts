/** The journal of what runs, and the certificates that are kept. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { digestOf, hexOf } from "../../src/oci/digest.ts";
import {
  type Journal,
  readInterrupted,
  readJournal,
  removeJournal,
  writeJournal,
} from "../../src/site/journal.ts";
import {
  keepCertificates,
  readCertificates,
  removeOtherCertificates,
  showCertificates,
} from "../../src/site/kept-certificates.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { claimSite, writeMarker } from "../../src/site/marker.ts";
import { makeCurrent } from "./current.ts";
import { diskEvents } from "./disk-order.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-journal-"));
after(() => rm(folder, { recursive: true, force: true }));

let count = 0;
async function newSite(): Promise<SiteLayout> {
  count += 1;
  const layout = siteLayout(join(folder, `site-${count}`));
  await claimSite(layout);
  return layout;
}

const journal: Journal = {
  action: "install",
  bundleDigest: digestOf("a bundle"),
  name: "plant-7",
  release: 2,
  begunAt: "2026-01-01T00:00:00.000Z",
  tagsBefore: { "team/app": { "1": digestOf("one") } },
  tagsAfter: { "team/app": { "1": digestOf("two"), "2": digestOf("two") } },
  filesBefore: {},
  filesAfter: { "pump.tgz": digestOf("pump") },
  certificatesBefore: digestOf("old ones"),
  certificatesAfter: digestOf("new ones"),
};

test("it is on disk when writing it returns, read as it was written, and gone when it is removed", async () => {
  const layout = await newSite();
  assert.equal(await readJournal(layout), undefined);
  const events = await diskEvents(() => writeJournal(layout, journal));
  const renamed = events.findIndex(({ kind, path }) => kind === "rename" && path === layout.journal);
  assert.ok(renamed > 0);
  assert.ok(events.slice(0, renamed).some(({ kind }) => kind === "sync"));
  assert.ok(events.slice(renamed).some(({ kind, path }) => kind === "sync" && path === layout.root));
  assert.deepEqual(await readJournal(layout), journal);
  const removal = await diskEvents(() => removeJournal(layout));
  assert.ok(removal.some(({ kind, path }) => kind === "sync" && path === layout.root));
  assert.equal(await readJournal(layout), undefined);
  assert.deepEqual(await readdir(layout.root), ["drydock.json"]);
});

test("without a journal, removing it writes nothing", async () => {
  const layout = await newSite();
  assert.deepEqual(await diskEvents(() => removeJournal(layout)), []);
});

test("what is interrupted is what was not said to be complete, be it of the current release", async () => {
  const layout = await newSite();
  assert.equal(await readInterrupted(layout), undefined);
  await makeCurrent(layout, journal.bundleDigest, "2025-01-01T00:00:00.000Z");
  await writeJournal(layout, journal);
  assert.deepEqual(await readInterrupted(layout), journal);
  await makeCurrent(layout, journal.bundleDigest, journal.begunAt);
  assert.equal(await readInterrupted(layout), undefined);
  // An earlier drydock said which release alone.
  await writeMarker(layout, { current: journal.bundleDigest });
  assert.equal(await readInterrupted(layout), undefined);
});

test("a file that is no journal is an error that names it", async () => {
  const layout = await newSite();
  const wrong = { ...journal, tagsBefore: { "team/app": { "1": "../../etc/passwd" } } };
  for (const text of [
    "",
    "null",
    "{}",
    JSON.stringify(wrong),
    JSON.stringify({ ...journal, action: "dance" }),
    JSON.stringify({ ...journal, filesBefore: { "pump.tgz": "x" } }),
    JSON.stringify({ ...journal, certificatesAfter: "../../etc" }),
  ]) {
    await writeFile(layout.journal, text);
    await assert.rejects(readJournal(layout), { kind: "host", message: new RegExp(layout.journal) }, text);
  }
});

test("a set of certificates never changes, keys closed to others; certs/ becomes just what one holds", async () => {
  const layout = await newSite();
  await mkdir(layout.certs);
  await writeFile(layout.caCertificate, "the CA");
  await writeFile(layout.serverCertificate, "the certificate");
  await writeFile(layout.serverKey, "the key");
  const first = layout.certificateSet(await keepCertificates(layout, await readCertificates(layout)));
  assert.deepEqual((await readdir(first.certs)).sort(), ["ca.pem", "registry-key.pem", "registry.pem"]);
  await writeFile(layout.caKey, "the CA's key");
  await writeFile(layout.serverKey, "another key");
  const files = await readCertificates(layout);
  const digest = await keepCertificates(layout, files);
  const second = layout.certificateSet(digest);
  for (const key of [second.caKey, second.serverKey, first.serverKey])
    assert.equal((await stat(key)).mode & 0o777, 0o600);
  assert.deepEqual(await diskEvents(() => keepCertificates(layout, files)), []);
  assert.equal(await readFile(first.serverKey, "utf8"), "the key");

  assert.equal(await showCertificates(await readCertificates(first), layout), true);
  assert.deepEqual(await readCertificates(layout), await readCertificates(first));
  assert.equal((await readCertificates(layout)).caKey, undefined);
  assert.equal(await showCertificates(await readCertificates(first), layout), false);
  await showCertificates(files, layout);
  assert.equal((await stat(layout.caKey)).mode & 0o777, 0o600);
  const another = await keepCertificates(layout, { ...files, server: Buffer.from("the same CA's") });
  await removeOtherCertificates(layout, new Set([another]));
  assert.deepEqual(await readdir(layout.keptCertificates), [another.slice(7)]);
  const foreign = await keepCertificates(layout, { ...files, caKey: Buffer.from("nowhere else") });
  await removeOtherCertificates(layout, new Set([another]));
  assert.deepEqual((await readdir(layout.keptCertificates)).sort(), [another, foreign].map(hexOf).sort());
  await removeOtherCertificates(layout, new Set([another]), foreign);
  assert.deepEqual(await readdir(layout.keptCertificates), [another.slice(7)]);
});
