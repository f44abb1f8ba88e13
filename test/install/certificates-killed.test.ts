/**
 * An install that is killed between two of the certificates' files: what is left may not fit together, and
 * the same command makes it good. OpenSSL judges what is there in the end.
 */
import assert from "node:assert/strict";
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
import { placeCertificates, planCertificates } from "../../src/install/certificates.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { output } from "../certificates/tools.ts";
import { makeImage } from "../lab/images.ts";
import { contentOf, imageContent, writeBundleOf } from "./bundles.ts";

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
async function bundleOf(pair?: typeof old): Promise<string> {
  const path = join(folder, `bundle-${++count}.tar`);
  const image = imageContent(makeImage(), "hello", "1");
  if (pair === undefined) {
    await writeBundleOf(path, [image], { certificates: atSite, addresses });
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

/** @returns what was done */
async function place(layout: SiteLayout, path: string, newCertificates: boolean): Promise<string> {
  const bundle = await openBundle(await openFile(path));
  try {
    const plan = await planCertificates(bundle, layout, {
      ...{ addresses, newCertificates, now: new Date() },
      newCertificatesCommand: "drydock install site.tar --new-certs",
      askPassphrase: undefined,
    });
    assert.deepEqual(
      plan.findings.filter(({ level }) => level === "error"),
      [],
    );
    await placeCertificates(plan, layout);
    return plan.action;
  } finally {
    await bundle.close();
  }
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

for (const { name, before, bundle, newOnes } of cases) {
  test(`${name}: after a kill between any two files, the same command makes them fit`, async () => {
    const layout = siteLayout(join(folder, `site-${++count}`));
    await before(layout);
    const path = await bundle();
    const origin = siteLayout(join(folder, `whole-${count}`));
    await cp(layout.root, origin.root, { recursive: true }).catch(() => {});
    await place(origin, path, newOnes);
    // In the order in which they are written.
    const names = ["caKey", "serverKey", "caCertificate", "serverCertificate"] as const;
    for (let written = 1; written < names.length; written += 1) {
      const cut = siteLayout(join(folder, `cut-${count}-${written}`));
      await cp(layout.root, cut.root, { recursive: true }).catch(() => {});
      for (const one of names.slice(0, written)) {
        if ((await readFile(origin[one]).catch(() => undefined)) !== undefined)
          await cp(origin[one], cut[one], { recursive: true });
      }
      await place(cut, path, newOnes);
      await assertServes(cut, `${name}, ${names[written - 1]} written`);
    }
  });
}
