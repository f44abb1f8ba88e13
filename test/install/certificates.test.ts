/** What an install decides about certificates, over real bundles; OpenSSL judges what comes out. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { BundleCertificates } from "../../src/archive/bundle-index.ts";
import { openBundle } from "../../src/archive/reader.ts";
import { openFile } from "../../src/archive/source.ts";
import type { Content } from "../../src/bundle/content.ts";
import { createAuthority } from "../../src/certificates/authority.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../../src/certificates/request.ts";
import { encryptKey } from "../../src/certificates/secret.ts";
import { issueServer } from "../../src/certificates/server.ts";
import type { KeyPair } from "../../src/certificates/x509.ts";
import { type CertificatePlan, planCertificates } from "../../src/install/certificates.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { output } from "../certificates/tools.ts";
import { makeImage } from "../lab/images.ts";
import { contentOf, imageContent, snapshot, writeBundleOf } from "./bundles.ts";
import { placeCertificates } from "./place-certificates.ts";

const addresses = ["registry.plant7.lan", "10.0.0.10"];
const moreAddresses = [...addresses, "registry.example.com"];
const passphrase = "correct horse battery staple";
const day = 24 * 60 * 60 * 1000;
const now = new Date();

const folder = await mkdtemp(join(tmpdir(), "drydock-site-certificates-"));
after(() => rm(folder, { recursive: true }));

const authorityRequest = defaultAuthorityRequest("plant-7");
const serverRequest = defaultServerRequest("registry.plant7.lan");
let ours: KeyPair;
let foreign: KeyPair;
let server: KeyPair;
let key: string;

before(async () => {
  [ours, foreign] = await Promise.all([createAuthority(authorityRequest), createAuthority(authorityRequest)]);
  server = await issueServer(ours, serverRequest, addresses);
  key = await encryptKey(server.key, passphrase);
});

/** What hints say to type. */
const command = "drydock install site.tar --new-certs";

let count = 0;
const newSite = (): SiteLayout => siteLayout(join(folder, `site-${++count}`));

/** The certificates as a bundle carries them. */
function carried(parts: { ca: string; server: string; key: string }, keyEncrypted: boolean) {
  const bytes = [parts.ca, parts.server, parts.key].map((pem) => Buffer.from(pem));
  const [ca, certificate, keyBytes] = bytes.map(digestOf);
  assert.ok(ca && certificate && keyBytes);
  const contents = [
    contentOf("certificate", bytes.slice(0, 2)),
    contentOf("key", bytes.slice(2)),
    imageContent(makeImage(), "hello", "1"),
  ];
  const certificates: BundleCertificates = {
    from: "bundle",
    ca,
    server: certificate,
    key: keyBytes,
    keyEncrypted,
  };
  return { contents, certificates };
}

const madeAtSite = {
  contents: [imageContent(makeImage(), "hello", "1")],
  certificates: { from: "site" as const, request: { ca: authorityRequest, server: serverRequest } },
};

interface Planned extends CertificatePlan {
  /** how often the passphrase was asked for */
  asked: number;
}

async function plan(
  layout: SiteLayout,
  bundle: { contents: Content[]; certificates: BundleCertificates },
  options: { addresses?: string[]; passphrases?: string[]; now?: Date; newCertificates?: true } = {},
): Promise<Planned> {
  const wanted = options.addresses ?? addresses;
  const changes = { certificates: bundle.certificates, addresses: wanted };
  const { path } = await writeBundleOf(join(folder, `bundle-${++count}.tar`), bundle.contents, changes);
  const opened = await openBundle(await openFile(path));
  let asked = 0;
  try {
    const askPassphrase = async () => {
      asked++;
      return options.passphrases?.at(asked - 1) ?? passphrase;
    };
    const planned = await planCertificates(opened, layout, {
      addresses: wanted,
      askPassphrase,
      newCertificates: options.newCertificates,
      newCertificatesCommand: command,
      now: options.now ?? now,
    });
    return { ...planned, asked };
  } finally {
    await opened.close();
  }
}

const encrypted = () => carried({ ca: ours.certificate, server: server.certificate, key }, true);

async function mode(path: string): Promise<number> {
  return (await stat(path)).mode & 0o777;
}

/** As clients do: the chain, and each address. */
async function assertServes(layout: SiteLayout, names: string[]): Promise<void> {
  for (const name of names) {
    const flag = /^[\d.]+$/.test(name) ? "-verify_ip" : "-verify_hostname";
    const verify = ["verify", "-x509_strict", "-CAfile", layout.caCertificate, flag, name];
    await output("openssl", [...verify, layout.serverCertificate]);
  }
  const [ofCertificate, ofKey] = await Promise.all([
    output("openssl", ["x509", "-in", layout.serverCertificate, "-pubkey", "-noout"]),
    output("openssl", ["pkey", "-in", layout.serverKey, "-pubout"]),
  ]);
  assert.equal(ofKey, ofCertificate);
}

test("an empty site takes the bundle's; the key is the owner's alone, whatever the umask", async () => {
  const layout = newSite();
  const planned = await plan(layout, encrypted());
  assert.deepEqual([planned.action, planned.findings, planned.asked], ["take", [], 1]);
  const umask = process.umask(0);
  try {
    await placeCertificates(planned, layout);
  } finally {
    process.umask(umask);
  }
  await assertServes(layout, addresses);
  assert.equal(await mode(layout.serverKey), 0o600);
  assert.equal(await mode(layout.caCertificate), 0o644);
  assert.equal(await mode(layout.serverCertificate), 0o644);
  await assert.rejects(stat(layout.caKey), { code: "ENOENT" });
});

test("what is there and fits is kept: nobody is asked, nothing is written, even if the bundle's differ", async () => {
  const layout = newSite();
  await placeCertificates(await plan(layout, encrypted()), layout);
  const before = await snapshot(layout.root);
  const other = await issueServer(foreign, serverRequest, addresses);
  for (const bundle of [
    encrypted(),
    carried({ ca: foreign.certificate, server: other.certificate, key: other.key }, false),
    madeAtSite,
  ]) {
    const planned = await plan(layout, bundle);
    assert.deepEqual([planned.action, planned.findings, planned.asked], ["keep", [], 0]);
    await placeCertificates(planned, layout);
  }
  assert.deepEqual(await snapshot(layout.root), before);
});

test("an unencrypted key is taken without a question", async () => {
  const layout = newSite();
  const bundle = carried({ ca: ours.certificate, server: server.certificate, key: server.key }, false);
  const planned = await plan(layout, bundle);
  assert.deepEqual([planned.action, planned.asked], ["take", 0]);
  await placeCertificates(planned, layout);
  await assertServes(layout, addresses);
});

test("the third wrong passphrase is an input error, and nothing is written", async () => {
  const layout = newSite();
  const passphrases = ["wrong", "wrong again", "and again", passphrase];
  await assert.rejects(plan(layout, encrypted(), { passphrases }), {
    kind: "input",
    message: /wrong passphrase/,
  });
  const { asked } = await plan(layout, encrypted(), { passphrases: ["wrong", passphrase] });
  assert.equal(asked, 2);
  await assert.rejects(stat(layout.root), { code: "ENOENT" });
});

test("a key that is not the certificate's is an integrity error", async () => {
  const other = await issueServer(ours, serverRequest, addresses);
  const bundle = carried({ ca: ours.certificate, server: server.certificate, key: other.key }, false);
  await assert.rejects(plan(newSite(), bundle), { kind: "integrity", message: /key does not fit/ });
});

/** level, text and hint of each, on a line. */
function told({ findings }: CertificatePlan): string {
  return findings.map(({ level, text, hint }) => `${level}: ${text} | ${hint}`).join("\n");
}

test("a bundle whose certificate does not cover the addresses: what to type, and no question", async () => {
  const others = [...moreAddresses, "10.0.0.11"];
  const uncovered = await plan(newSite(), encrypted(), { addresses: others });
  assert.equal(
    told(uncovered),
    "error: the server certificate does not name registry.example.com, 10.0.0.11 | It names " +
      `registry.plant7.lan, 10.0.0.10, 127.0.0.1. To have one made here that does: \`${command}\``,
  );
  assert.equal(uncovered.asked, 0);
});

test("a clock after a certificate's end, or before its beginning", async () => {
  const late = await plan(newSite(), encrypted(), { now: new Date("2040-01-02T03:04:05Z") });
  assert.match(
    told(late),
    /^error: the server certificate ended on .* \| This host's clock says 2040-01-02 03:04 UTC\. If that is right, have .*`drydock install site\.tar --new-certs`$/m,
  );
  const early = await plan(newSite(), encrypted(), { now: new Date("2020-01-02T03:04:05Z") });
  const begin = `${new Date(now.getTime() - 5 * 60_000).toISOString().slice(0, 13).replace("T", " ")}`;
  assert.match(
    told(early),
    new RegExp(
      `^error: this host's clock says 2020-01-02 03:04 UTC, and the certificate begins on ${begin}:.* \\| Set the clock`,
    ),
  );
  assert.equal(early.findings.length, 1);
  assert.deepEqual([late.asked, early.asked], [0, 0]);
});

test("another address, the same CA: the bundle's new server certificate is taken", async () => {
  const layout = newSite();
  await placeCertificates(await plan(layout, encrypted()), layout);
  const renewed = await issueServer(ours, serverRequest, moreAddresses);
  const bundle = carried({ ca: ours.certificate, server: renewed.certificate, key: renewed.key }, false);
  const planned = await plan(layout, bundle, { addresses: moreAddresses });
  assert.deepEqual([planned.action, planned.findings], ["take", []]);
  await placeCertificates(planned, layout);
  await assertServes(layout, moreAddresses);
});

test("another address, another CA: an error before the first write, that says what to do", async () => {
  const layout = newSite();
  await placeCertificates(await plan(layout, encrypted()), layout);
  const other = await issueServer(foreign, serverRequest, moreAddresses);
  const bundle = carried({ ca: foreign.certificate, server: other.certificate, key: other.key }, false);
  for (const partly of [false, true]) {
    // Half a pair, as when somebody removed the server's, is still a CA that clients trust.
    if (partly) await rm(layout.serverCertificate);
    const { findings } = await plan(layout, bundle, { addresses: moreAddresses });
    assert.equal(findings.length, 1);
    assert.equal(findings[0]?.level, "error");
    assert.match(findings[0]?.text ?? "", /do not fit \(.*\), and the bundle's come from another CA/);
    assert.equal(findings[0]?.hint, `To have them made here all the same: \`${command}\``);
  }
});

test("from: site makes a CA here, once; its key is the owner's alone", async () => {
  const layout = newSite();
  const planned = await plan(layout, madeAtSite);
  assert.deepEqual([planned.action, planned.findings, planned.asked], ["make", [], 0]);
  await assert.rejects(stat(layout.certs), { code: "ENOENT" });
  await placeCertificates(planned, layout);
  await assertServes(layout, addresses);
  assert.equal(await mode(layout.caKey), 0o600);
  assert.equal(await mode(layout.serverKey), 0o600);
  assert.equal((await plan(layout, madeAtSite)).action, "keep");
});

/** A site that is its own authority. */
async function ownAuthority(when = now): Promise<SiteLayout> {
  const layout = newSite();
  await placeCertificates(await plan(layout, madeAtSite, { now: when }), layout);
  return layout;
}

test("from: site with another address: the CA here signs again", async () => {
  const layout = await ownAuthority();
  const ca = await readFile(layout.caCertificate, "utf8");
  const caKey = await readFile(layout.caKey, "utf8");
  const planned = await plan(layout, madeAtSite, { addresses: moreAddresses });
  assert.deepEqual([planned.action, planned.findings], ["renew", []]);
  await placeCertificates(planned, layout);
  await assertServes(layout, moreAddresses);
  assert.equal(await readFile(layout.caCertificate, "utf8"), ca);
  assert.equal(await readFile(layout.caKey, "utf8"), caKey);
  assert.equal(await mode(layout.caKey), 0o600);
});

test("from: site where the server's certificate or key is gone: the CA here signs again", async () => {
  for (const path of ["serverCertificate", "serverKey"] as const) {
    const layout = await ownAuthority();
    const ca = await readFile(layout.caCertificate, "utf8");
    await rm(layout[path]);
    const planned = await plan(layout, madeAtSite);
    assert.deepEqual([planned.action, planned.findings], ["renew", []]);
    await placeCertificates(planned, layout);
    assert.equal(await readFile(layout.caCertificate, "utf8"), ca);
    await assertServes(layout, addresses);
  }
});

test("a CA that cannot sign again (no key, another's key, ended) is not replaced in silence", async () => {
  const spoil: Record<string, (layout: SiteLayout) => Promise<void>> = {
    "no key": (layout) => rm(layout.caKey),
    "another's key": (layout) => writeFile(layout.caKey, foreign.key),
    "no key at all": (layout) => writeFile(layout.caKey, "garbage"),
  };
  for (const [name, work] of Object.entries(spoil)) {
    const layout = await ownAuthority();
    await work(layout);
    const planned = await plan(layout, madeAtSite, { addresses: moreAddresses });
    assert.match(planned.findings[0]?.text ?? "", /would come from a new CA, which no client trusts/, name);
    assert.equal(planned.findings[0]?.level, "error");
  }
  const layout = await ownAuthority(new Date(now.getTime() - 2000 * day));
  const { findings } = await plan(layout, madeAtSite);
  assert.match(findings[0]?.text ?? "", /ended on .* would come from a new CA/);
});

test("a certificate at the site that cannot be read at all is an error, not a missing one", async () => {
  const layout = await ownAuthority();
  await writeFile(layout.caCertificate, "garbage");
  await assert.rejects(plan(layout, madeAtSite), { kind: "input", message: /CA certificate/ });
});

test("new certificates on request: no question, a CA and a certificate that hold for the addresses", async () => {
  for (const bundle of [encrypted(), madeAtSite]) {
    const layout = newSite();
    const chosen = ["ship.lan", "10.9.9.9"];
    const planned = await plan(layout, bundle, { addresses: chosen, newCertificates: true });
    assert.deepEqual([planned.action, planned.findings, planned.asked], ["make", [], 0]);
    await placeCertificates(planned, layout);
    await assertServes(layout, chosen);
    assert.equal(await mode(layout.caKey), 0o600);
    // What fits is kept by whatever comes next, and made anew only on request: by the CA that is there.
    assert.equal((await plan(layout, bundle, { addresses: chosen })).action, "keep");
    const ca = await readFile(layout.caCertificate, "utf8");
    const again = await plan(layout, bundle, { addresses: addresses, newCertificates: true });
    assert.deepEqual([again.action, again.findings, again.asked], ["renew", [], 0]);
    await placeCertificates(again, layout);
    assert.equal(await readFile(layout.caCertificate, "utf8"), ca);
    await assertServes(layout, addresses);
  }
});

test("new certificates where the CA's key is elsewhere: a new CA, and a warning for the clients' sake", async () => {
  const layout = newSite();
  await placeCertificates(await plan(layout, encrypted()), layout);
  const planned = await plan(layout, encrypted(), { newCertificates: true });
  assert.equal(planned.action, "make");
  assert.match(told(planned), /^warning: a new CA takes the place of .* \| Run `drydock trust --clients/);
  await placeCertificates(planned, layout);
  await assertServes(layout, addresses);
});

test("a CA here that begins later by this clock is not replaced: the clock is wrong", async () => {
  const layout = await ownAuthority();
  const slow = { now: new Date(now.getTime() - 365 * day) };
  for (const more of [{}, { newCertificates: true }] as const) {
    const planned = await plan(layout, madeAtSite, { ...slow, ...more });
    assert.equal(planned.action, "renew");
    assert.match(
      told(planned),
      /^error: this host's clock says .*the certificate begins on .* \| Set the clock/,
    );
  }
});

test("a certificate that ends soon: a later one of the same CA is taken, else its end is a warning", async () => {
  const soon = { now: new Date(now.getTime() + 800 * day) };
  const layout = newSite();
  await placeCertificates(await plan(layout, encrypted()), layout);
  const kept = await plan(layout, encrypted(), soon);
  assert.deepEqual([kept.action, kept.asked], ["keep", 0]);
  assert.match(told(kept), /^warning: the server certificate ends on .*, in 24 days \| .*`drydock install/);
  const later = await issueServer(ours, serverRequest, addresses, soon.now);
  const bundle = carried({ ca: ours.certificate, server: later.certificate, key: later.key }, false);
  const taken = await plan(layout, bundle, soon);
  assert.deepEqual([taken.action, taken.findings], ["take", []]);
  const strange = await issueServer(foreign, serverRequest, addresses, soon.now);
  const others = carried({ ca: foreign.certificate, server: strange.certificate, key: strange.key }, false);
  assert.equal((await plan(layout, others, soon)).action, "keep");
  assert.equal((await plan(await ownAuthority(), madeAtSite, soon)).action, "renew");
});
