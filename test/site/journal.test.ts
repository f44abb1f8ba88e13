/** The journal of what runs, and the copies of certificates that a release keeps. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import {
  type Journal,
  readInterrupted,
  readJournal,
  removeJournal,
  writeJournal,
} from "../../src/site/journal.ts";
import { copyCertificates, keepCertificates, readCertificates } from "../../src/site/kept-certificates.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { claimSite, setCurrent } from "../../src/site/record.ts";
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

test("what is interrupted is what did not become the current release", async () => {
  const layout = await newSite();
  assert.equal(await readInterrupted(layout), undefined);
  await writeJournal(layout, journal);
  assert.deepEqual(await readInterrupted(layout), journal);
  await setCurrent(layout, journal.bundleDigest);
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
  ]) {
    await writeFile(layout.journal, text);
    await assert.rejects(readJournal(layout), { kind: "host", message: new RegExp(layout.journal) }, text);
  }
});

test("a release keeps copies of the certificates, keys closed to others, and gives them back", async () => {
  const layout = await newSite();
  const release = layout.release(journal.bundleDigest);
  await mkdir(layout.certs);
  await writeFile(layout.caCertificate, "the CA");
  await writeFile(layout.serverCertificate, "the certificate");
  await writeFile(layout.serverKey, "the key");
  await keepCertificates(layout, release);
  assert.deepEqual((await readdir(release.certs)).sort(), ["ca.pem", "registry-key.pem", "registry.pem"]);
  await writeFile(layout.caKey, "the CA's key");
  await keepCertificates(layout, release);
  for (const key of [release.caKey, release.serverKey]) assert.equal((await stat(key)).mode & 0o777, 0o600);
  assert.deepEqual(await diskEvents(() => keepCertificates(layout, release)), []);

  await writeFile(layout.serverCertificate, "another");
  await rm(layout.caKey);
  assert.equal(await copyCertificates(release, layout), true);
  assert.deepEqual(await readCertificates(layout), await readCertificates(release));
  assert.equal(await readFile(layout.caKey, "utf8"), "the CA's key");
  assert.equal((await stat(layout.caKey)).mode & 0o777, 0o600);
  assert.equal(await copyCertificates(release, layout), false);
});

test("a CA's key that the release does not have stays at the site", async () => {
  const layout = await newSite();
  const release = layout.release(journal.bundleDigest);
  await mkdir(layout.certs);
  await writeFile(layout.serverKey, "the key");
  await keepCertificates(layout, release);
  await writeFile(layout.caKey, "the CA's key");
  assert.equal(await copyCertificates(release, layout), false);
  assert.equal(await readFile(layout.caKey, "utf8"), "the CA's key");
});
