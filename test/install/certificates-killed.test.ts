/**
 * An install that is killed between two files of certs/: what is left there may not fit together. The same
 * command makes it good, with the certificates that it had made; and what was before it can be put back whole,
 * so that no other bundle takes what is left for the site's own. OpenSSL judges what is there in the end.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { BundleCertificates } from "../../src/archive/bundle-index.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import { createAuthority } from "../../src/certificates/authority.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../../src/certificates/request.ts";
import { issueServer } from "../../src/certificates/server.ts";
import { planCertificates, plannedFiles } from "../../src/install/certificates.ts";
import { beginChange, putBackState } from "../../src/install/change.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { keepCertificates, readCertificates } from "../../src/site/kept-certificates.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { output } from "../certificates/tools.ts";
import { makeImage } from "../lab/images.ts";
import { contentOf, imageContent, writeBundleOf } from "./bundles.ts";
import { placeCertificates } from "./place-certificates.ts";

const addresses = ["registry.plant7.lan", "10.0.0.10"];
const folder = await mkdtemp(join(tmpdir(), "drydock-killed-certificates-"));
after(() => rm(folder, { recursive: true }));

const longAgo = new Date(Date.now() - 800 * 24 * 3_600_000);
const authority = await createAuthority(defaultAuthorityRequest("plant-7"), longAgo);
const [old, fresh] = [
  await issueServer(authority, defaultServerRequest("old"), addresses, longAgo),
  await issueServer(authority, defaultServerRequest("fresh"), addresses),
];
const request = { ca: defaultAuthorityRequest("plant-7"), server: defaultServerRequest("plant-7") };
const atSite: BundleCertificates = { from: "site", request };

let count = 0;
async function bundleOf(pair?: typeof old, release = 1): Promise<string> {
  const path = join(folder, `bundle-${++count}.tar`);
  const image = imageContent(makeImage(), "hello", "1");
  if (pair === undefined) {
    await writeBundleOf(path, [image], { certificates: atSite, addresses, release });
    return path;
  }
  const [ca, server, key] = [authority.certificate, pair.certificate, pair.key].map((text) =>
    Buffer.from(text),
  );
  assert.ok(ca && server && key);
  const digests = { ca: digestOf(ca), server: digestOf(server), key: digestOf(key) };
  const contents = [contentOf("certificate", [ca, server]), contentOf("key", [key]), image];
  const certificates: BundleCertificates = { from: "bundle", ...digests, keyEncrypted: false };
  await writeBundleOf(path, contents, { certificates, addresses });
  return path;
}

const flags = (newCertificates: boolean) => ({
  ...{ addresses, newCertificates, now: new Date(), askPassphrase: undefined },
  newCertificatesCommand: "drydock install site.tar --new-certs",
});

async function planFor(layout: SiteLayout, path: string, newOnes: boolean) {
  const bundle = await openBundle(await openFile(path));
  try {
    const plan = await planCertificates(bundle, layout, flags(newOnes));
    assert.deepEqual(
      plan.findings.filter(({ level }) => level === "error"),
      [],
    );
    return { plan, digest: `sha256:${bundle.digest}` as const };
  } finally {
    await bundle.close();
  }
}

/** As an install does it that is not disturbed. */
async function place(layout: SiteLayout, path: string, newOnes: boolean): Promise<void> {
  await placeCertificates((await planFor(layout, path, newOnes)).plan, layout);
}

async function assertServes(
  { caCertificate, serverCertificate, serverKey }: SiteLayout,
  what: string,
): Promise<void> {
  const verify = ["verify", "-x509_strict", "-verify_hostname", "registry.plant7.lan"];
  await output("openssl", [...verify, "-CAfile", caCertificate, serverCertificate]);
  const [ofKey, ofCertificate] = [
    await output("openssl", ["pkey", "-in", serverKey, "-pubout"]),
    await output("openssl", ["x509", "-in", serverCertificate, "-noout", "-pubkey"]),
  ];
  assert.equal(ofKey, ofCertificate, what);
}

const empty = async () => {};
const cases = [
  { name: "the bundle's, at a new site", before: empty, bundle: () => bundleOf(fresh), newOnes: false },
  { name: "made at a new site", before: empty, bundle: () => bundleOf(), newOnes: false },
  {
    name: "the bundle's, in place of those that end soon",
    before: async (layout: SiteLayout) => void (await place(layout, await bundleOf(old), false)),
    bundle: () => bundleOf(fresh),
    newOnes: false,
  },
  {
    name: "a new CA in place of the bundle's",
    before: async (layout: SiteLayout) => void (await place(layout, await bundleOf(fresh), false)),
    bundle: () => bundleOf(fresh),
    newOnes: true,
  },
  {
    name: "a new server certificate of the CA that is there",
    before: async (layout: SiteLayout) => void (await place(layout, await bundleOf(), false)),
    bundle: () => bundleOf(),
    newOnes: true,
  },
];

/** In the order in which they are written. */
const names = ["caKey", "serverKey", "caCertificate", "serverCertificate"] as const;

for (const { name, before, bundle, newOnes } of cases) {
  test(`${name}: after a kill between any two files`, async () => {
    const start = siteLayout(join(folder, `site-${++count}`));
    await before(start);
    const path = await bundle();
    for (let written = 0; written <= names.length; written += 1) {
      const layout = siteLayout(join(folder, `cut-${count}-${written}`));
      await cp(start.root, layout.root, { recursive: true }).catch(() => {});
      const old = await readCertificates(layout);
      const { plan, digest } = await planFor(layout, path, newOnes);
      const certificates = await keepCertificates(layout, await plannedFiles(plan));
      const journal = await beginChange(layout, {
        ...{ action: "install", bundleDigest: digest, name: "plant-7", release: 1, command: undefined },
        ...{ tags: [], files: [], certificates },
      });
      const set = layout.certificateSet(certificates);
      for (const one of names.slice(0, written))
        if (existsSync(set[one])) await cp(set[one], layout[one], { recursive: true });
      const what = `${written} written`;

      // The same command goes on with the same CA.
      const ca = await readFile(set.caCertificate, "utf8");
      const again = (await planFor(layout, path, newOnes)).plan;
      assert.equal((await plannedFiles(again)).ca?.toString(), ca, what);
      // Another one has before it what was there.
      const other = (await planFor(layout, await bundleOf(undefined, 2), false)).plan;
      if (old.ca === undefined) assert.equal(other.action, "make", what);
      else assert.deepEqual((await plannedFiles(other)).ca, old.ca, what);
      await putBackState(layout, journal);
      assert.deepEqual(await readCertificates(layout), old, what);

      await placeCertificates(again, layout);
      await assertServes(layout, what);
    }
  });
}
