/** The certificates of a bundle: kept for the next one, the key under a passphrase that OpenSSL takes, too. */
import assert from "node:assert/strict";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import {
  type KeyProtection,
  type PlannedCertificates,
  planCertificates,
} from "../../src/bundle/bundle-certificates.ts";
import { type Manifest, readManifest } from "../../src/bundle/manifest.ts";
import { describeCertificate } from "../../src/certificates/inspect.ts";
import { parseCertificateRequest } from "../../src/certificates/request.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { run, temporaryFolder } from "../certificates/tools.ts";
import { memorySink } from "./memory-sink.ts";

const now = new Date();
const folder = await temporaryFolder();
const store = join(folder, "keys");
let manifest: Manifest;

before(async () => {
  const file = join(folder, "plant-7.yaml");
  const image = "images: [alpine:3.20]";
  await writeFile(file, `name: plant-7\naddresses: [registry.plant7.lan, 10.0.0.10]\n${image}\n`);
  manifest = await readManifest(file);
});

interface Carried extends PlannedCertificates {
  ca: string;
  server: string;
  key: string;
}

/** Plans, and fills a sink: the three PEM texts that would stand in the bundle. */
async function carried(protection: KeyProtection, changes: Partial<Manifest> = {}): Promise<Carried> {
  const planned = await planCertificates({ ...manifest, ...changes }, store, protection, now);
  const sink = memorySink(planned.content);
  await planned.content.fill(sink);
  const text = (digest: Digest | undefined) => {
    const bytes = digest && sink.written.get(digest);
    assert.ok(bytes, `${digest} was not written`);
    return bytes.toString();
  };
  const { ca, server, key } = planned.certificates;
  return { ...planned, ca: text(ca), server: text(server), key: text(key) };
}

test("two builds: the same CA and server certificate, another code each time", async () => {
  const first = await carried({ kind: "code" });
  const second = await carried({ kind: "code" });
  assert.equal(first.made, "new CA and server certificate");
  assert.equal(second.made, undefined);
  assert.equal(second.ca, first.ca);
  assert.equal(second.server, first.server);
  assert.match(first.code ?? "", /^(?:[0-9A-Z]{4}-){4}[0-9A-Z]{4}$/);
  assert.notEqual(second.code, first.code);
  assert.notEqual(second.key, first.key);
  assert.deepEqual(first.certificates.from, "bundle");
  assert.equal(first.certificates.keyEncrypted, true);
});

test("certificates come first, the key last and as a key; none of it is the CA's key", async () => {
  const { content, ca, server, key } = await carried({ kind: "code" });
  assert.deepEqual(
    content.blobs.map(({ role }) => role),
    ["certificate", "certificate", "key"],
  );
  assert.ok(describeCertificate(ca).isAuthority);
  assert.deepEqual(describeCertificate(server).names, ["registry.plant7.lan"]);
  assert.deepEqual(describeCertificate(server).ips, ["10.0.0.10", "127.0.0.1"]);
  assert.match(key, /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  assert.equal((await stat(store)).mode & 0o777, 0o700);
});

/** What openssl says of the key's public part, or that it can't. */
async function publicKey(pem: string, passphrase: string): Promise<{ code: number; text: string }> {
  const file = join(folder, "key.pem");
  await writeFile(file, pem, { mode: 0o600 });
  return run("openssl", ["pkey", "-in", file, "-passin", `pass:${passphrase}`, "-pubout"]);
}

test("openssl opens the key with the code, and with no other; it is the server certificate's", async () => {
  const { key, server, code = "" } = await carried({ kind: "code" });
  const opened = await publicKey(key, code);
  assert.equal(opened.code, 0, opened.text);
  await writeFile(join(folder, "server.pem"), server);
  const wanted = await run("openssl", ["x509", "-in", join(folder, "server.pem"), "-pubkey", "-noout"]);
  assert.equal(opened.text, wanted.text);
  assert.notEqual((await publicKey(key, "0000-0000-0000-0000-0000")).code, 0);
});

test("a passphrase of one's own is used, and no code is made", async () => {
  const planned = await carried({ kind: "passphrase", passphrase: "correct horse" });
  assert.equal(planned.code, undefined);
  assert.equal(planned.certificates.keyEncrypted, true);
  assert.equal((await publicKey(planned.key, "correct horse")).code, 0);
});

test("on request the key crosses as it is", async () => {
  const planned = await carried({ kind: "none" });
  assert.equal(planned.code, undefined);
  assert.equal(planned.certificates.keyEncrypted, false);
  assert.match(planned.key, /^-----BEGIN (RSA )?PRIVATE KEY-----/);
});

test("another address: a new server certificate of the same CA, and it says why", async () => {
  const before = await carried({ kind: "none" });
  const after = await carried(
    { kind: "none" },
    { addresses: [...manifest.addresses, "registry.example.com"], name: "plant-7" },
  );
  assert.equal(after.ca, before.ca);
  assert.notEqual(after.server, before.server);
  assert.match(after.made ?? "", /must also name registry\.example\.com/);
});

test("the manifest's requests are followed", async () => {
  const ca = parseCertificateRequest({ CN: "Example CA", names: [{ C: "DE" }] }, "ca.json");
  const server = parseCertificateRequest({ CN: "registry", hosts: ["more.example.com"] }, "registry.json");
  const planned = await carried(
    { kind: "none" },
    { name: "requested", certificates: { from: "bundle", ca, server } },
  );
  assert.match(describeCertificate(planned.ca).subject, /CN=Example CA/);
  assert.ok(describeCertificate(planned.server).names.includes("more.example.com"));
});

test("from: site carries the requests alone, and makes no key here", async () => {
  const elsewhere = join(folder, "no keys");
  const site = { ...manifest, certificates: { from: "site" as const } };
  const planned = await planCertificates(site, elsewhere, { kind: "code" }, now);
  assert.equal(planned.code, undefined);
  assert.deepEqual(planned.content.blobs, []);
  assert.equal(planned.certificates.from, "site");
  const { ca, server } = planned.certificates.request ?? {};
  assert.equal(parseCertificateRequest(ca, "ca").CN, "plant-7 registry CA");
  assert.equal(parseCertificateRequest(server, "server").CN, "registry.plant7.lan");
  await assert.rejects(stat(elsewhere), { code: "ENOENT" });
});
