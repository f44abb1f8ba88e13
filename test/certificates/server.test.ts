import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { connect } from "node:tls";
import forge from "node-forge";
import { createAuthority } from "../../src/certificates/authority.ts";
import { describeCertificate } from "../../src/certificates/inspect.ts";
import { defaultAuthorityRequest, parseCertificateRequest } from "../../src/certificates/request.ts";
import { createSitePair, issueServer } from "../../src/certificates/server.ts";
import type { KeyPair } from "../../src/certificates/x509.ts";
import { drydockError, output, run, temporaryFolder, writeFiles } from "./tools.ts";

const names = [{ C: "DE", ST: "Bayern", L: "München", O: "Beispiel & Söhne ☃", OU: "Werk 7" }];
const caRequest = parseCertificateRequest({ CN: "Prüf CA", names }, "ca.json");
const serverRequest = parseCertificateRequest(
  { CN: "Prüfstand", hosts: ["extra.lan", "FD00::10"], names },
  "x",
);
const addresses = ["10.0.0.10", "Registry.Plant7.lan"];
const day = 86_400_000;

let authority: KeyPair;
let server: KeyPair;
const folder = await temporaryFolder();

before(async () => {
  authority = await createAuthority(caRequest);
  server = await issueServer(authority, serverRequest, addresses);
  await writeFiles(folder, {
    "ca.pem": authority.certificate,
    "registry.pem": server.certificate,
    "registry-key.pem": server.key,
  });
});

/** The fields of a TBSCertificate as DER. */
function fields(pem: string): Buffer[] {
  const whole = forge.asn1.fromDer(new X509Certificate(pem).raw.toString("latin1"));
  const body = (whole.value as forge.asn1.Asn1[])[0]?.value as forge.asn1.Asn1[];
  return body.map((field) => Buffer.from(forge.asn1.toDer(field).getBytes(), "latin1"));
}

describe("what verifiers disagree about", () => {
  for (const name of ["registry.plant7.lan", "extra.lan"]) {
    test(`OpenSSL's strict check takes the name ${name}`, async () => {
      const checks = ["-x509_strict", "-purpose", "sslserver", "-verify_hostname", name];
      await output("openssl", ["verify", ...checks, "-CAfile", "ca.pem", "registry.pem"], folder);
    });
  }
  for (const ip of ["10.0.0.10", "127.0.0.1", "fd00::10"]) {
    test(`OpenSSL's strict check takes the address ${ip}`, async () => {
      const checks = ["-x509_strict", "-purpose", "sslserver", "-verify_ip", ip];
      await output("openssl", ["verify", ...checks, "-CAfile", "ca.pem", "registry.pem"], folder);
    });
  }
  test("OpenSSL's strict check refuses a name that is not there", async () => {
    const parameters = ["verify", "-verify_hostname", "Prüfstand", "-CAfile", "ca.pem", "registry.pem"];
    assert.notEqual((await run("openssl", parameters, { cwd: folder })).code, 0);
  });

  test("the authority key identifier is the CA's subject key identifier, and the CA has none", async () => {
    const extension = (name: string, file: string) =>
      output("openssl", ["x509", "-noout", "-ext", name, "-in", file], folder);
    const identifier = (text: string) => text.match(/([0-9A-F]{2}:){19}[0-9A-F]{2}/)?.[0];
    const ofCa = identifier(await extension("subjectKeyIdentifier", "ca.pem"));
    assert.ok(ofCa);
    assert.equal(identifier(await extension("authorityKeyIdentifier", "registry.pem")), ofCa);
    assert.notEqual(identifier(await extension("subjectKeyIdentifier", "registry.pem")), ofCa);
    assert.doesNotMatch(await extension("authorityKeyIdentifier", "ca.pem"), /:/);
  });

  test("the issuer is the CA's subject, byte for byte", () => {
    assert.deepEqual(fields(server.certificate)[3], fields(authority.certificate)[5]);
    assert.deepEqual(fields(authority.certificate)[3], fields(authority.certificate)[5]);
  });

  test("the issuer is the subject byte for byte of cfssl's CA too, with several values in one part", async () => {
    const inside = join(folder, "cfssl");
    await mkdir(inside);
    const csr = { CN: "Ö", key: { algo: "rsa", size: 2048 }, names: [{ O: "Ä" }, { O: "B" }] };
    await writeFiles(inside, { "ca.json": JSON.stringify(csr) });
    const made = JSON.parse(await output("cfssl", ["genkey", "-initca", "-loglevel=5", "ca.json"], inside));
    const leaf = await issueServer({ certificate: made.cert, key: made.key }, serverRequest, addresses);
    assert.deepEqual(fields(leaf.certificate)[3], fields(made.cert)[5]);
    await writeFiles(inside, { "ca.pem": made.cert, "registry.pem": leaf.certificate });
    await output("openssl", ["verify", "-x509_strict", "-CAfile", "ca.pem", "registry.pem"], inside);
  });

  for (const [size, digest] of [
    [2048, "sha256"],
    [3072, "sha384"],
    [4096, "sha512"],
  ] as const) {
    test(`a key of ${size} bits signs with ${digest}`, async () => {
      const request = parseCertificateRequest({ CN: "a", key: { algo: "rsa", size } }, "x");
      const made = size === 2048 ? authority : await createAuthority(request);
      const certificate = new X509Certificate(made.certificate);
      assert.equal(certificate.publicKey.asymmetricKeyDetails?.modulusLength, size);
      assert.equal(certificate.signatureAlgorithm, `${digest}WithRSAEncryption`);
      assert.ok(certificate.verify(certificate.publicKey));
    });
  }

  test("only text that needs it is UTF8String, and every reader sees it right", async () => {
    const options = ["-noout", "-subject", "-nameopt", "RFC2253,show_type,-esc_msb,utf8"];
    const text = await output("openssl", ["x509", ...options, "-in", "registry.pem"], folder);
    assert.match(text, /CN=UTF8STRING:Prüfstand/);
    assert.match(text, /O=UTF8STRING:Beispiel & Söhne ☃/);
    assert.match(text, /OU=PRINTABLESTRING:Werk 7/);
    assert.match(text, /C=PRINTABLESTRING:DE/);
    const go = JSON.parse(await output("cfssl", ["certinfo", "-cert", "registry.pem"], folder));
    assert.equal(go.subject.common_name, "Prüfstand");
    assert.equal(go.issuer.organization, "Beispiel & Söhne ☃");
    assert.deepEqual(go.sans, ["registry.plant7.lan", "extra.lan", "10.0.0.10", "fd00::10", "127.0.0.1"]);
    assert.equal(go.sigalg, "SHA256WithRSA");
  });

  for (const address of ["10.0.0.999", "registry.lan:5000", "https://registry.lan", "10.0.0.10/24"]) {
    test(`no certificate is issued for ${address}`, async () => {
      await assert.rejects(
        issueServer(authority, serverRequest, [address]),
        drydockError("input", /address "/),
      );
    });
  }
});

describe("the profile", () => {
  test("of the CA", async () => {
    const text = await output("openssl", ["x509", "-noout", "-text", "-in", "ca.pem"], folder);
    assert.match(text, /Version: 3/);
    assert.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0/);
    assert.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/);
    assert.doesNotMatch(text, /Extended Key Usage|Alternative Name/);
    const { notBefore, notAfter } = describeCertificate(authority.certificate);
    assert.equal(notAfter.getTime() - notBefore.getTime(), 43_800 * 3_600_000);
    assert.ok(Math.abs(Date.now() - 300_000 - notBefore.getTime()) < 60_000);
  });

  test("of the server certificate", async () => {
    const text = await output("openssl", ["x509", "-noout", "-text", "-in", "registry.pem"], folder);
    assert.match(text, /Basic Constraints: critical\s+CA:FALSE/);
    assert.match(text, /X509v3 Key Usage: critical\s+Digital Signature, Key Encipherment\n/);
    assert.match(text, /Extended Key Usage: \s+TLS Web Server Authentication\n/);
    const { notBefore, notAfter } = describeCertificate(server.certificate);
    // both ends count
    assert.equal(notAfter.getTime() - notBefore.getTime() + 1000, 825 * day);
  });

  test("serial numbers are random, positive and of 20 octets", () => {
    const serials = [authority, server].map((pair) => describeCertificate(pair.certificate).serial);
    for (const serial of serials) assert.match(serial, /^[4-7][0-9A-F]{39}$/);
    assert.notEqual(serials[0], serials[1]);
  });

  test("the keys are PKCS#8", () => {
    for (const { key } of [authority, server]) assert.match(key, /^-----BEGIN PRIVATE KEY-----\n/);
  });

  test("ca.expiry and ca.pathlen are followed, and no server certificate outlives its CA", async () => {
    const request = parseCertificateRequest({ CN: "a", ca: { expiry: "720h", pathlen: 2 } }, "x");
    const short = await createAuthority(request);
    const ca = describeCertificate(short.certificate);
    assert.equal(ca.notAfter.getTime() - ca.notBefore.getTime(), 30 * day);
    const leaf = await issueServer(short, serverRequest, addresses);
    assert.deepEqual(describeCertificate(leaf.certificate).notAfter, ca.notAfter);
    await writeFiles(folder, { "short.pem": short.certificate, "leaf.pem": leaf.certificate });
    assert.match(
      await output("openssl", ["x509", "-noout", "-text", "-in", "short.pem"], folder),
      /pathlen:2/,
    );
    await output("openssl", ["verify", "-x509_strict", "-CAfile", "short.pem", "leaf.pem"], folder);
    const later = new Date(ca.notAfter.getTime() + 1);
    await assert.rejects(
      issueServer(short, serverRequest, addresses, later),
      drydockError("certificate", /authority ended/),
    );
    const earlier = new Date(ca.notBefore.getTime() - 1);
    await assert.rejects(
      issueServer(short, serverRequest, addresses, earlier),
      drydockError("certificate", /begins on/, /clock/),
    );
  });

  test("dates from 2050 on are written so that OpenSSL and Go read them", async () => {
    const request = parseCertificateRequest({ CN: "a", ca: { expiry: "876000h" } }, "x");
    const made = await createAuthority(request);
    await writeFiles(folder, { "long.pem": made.certificate });
    await output("openssl", ["verify", "-x509_strict", "-CAfile", "long.pem", "long.pem"], folder);
    const go = JSON.parse(await output("cfssl", ["certinfo", "-cert", "long.pem"], folder));
    assert.ok(new Date(go.not_after).getUTCFullYear() > 2100);
  });

  test("a server with the CA's own subject is refused", async () => {
    await assert.rejects(
      issueServer(authority, caRequest, addresses),
      drydockError("input", /subject is the same/, /another CN/),
    );
  });
});

describe("a real handshake", () => {
  test("Node takes the server by name and by address, without the CA it does not", async () => {
    const https = createServer({ cert: server.certificate, key: server.key }, (_, response) =>
      response.end("{}"),
    );
    https.listen(0, "127.0.0.1");
    await once(https, "listening");
    const { port } = https.address() as AddressInfo;
    try {
      for (const servername of ["registry.plant7.lan", undefined]) {
        const options = servername === undefined ? {} : { servername };
        const socket = connect({ host: "127.0.0.1", port, ca: authority.certificate, ...options });
        await once(socket, "secureConnect");
        assert.ok(socket.authorized);
        socket.destroy();
      }
      for (const wrong of [
        { servername: "other.lan", ca: authority.certificate },
        { servername: "extra.lan" },
      ]) {
        const socket = connect({ host: "127.0.0.1", port, ...wrong });
        await assert.rejects(once(socket, "secureConnect"));
        socket.destroy();
      }
    } finally {
      https.closeAllConnections();
      https.close();
    }
  });

  test("Go (skopeo) takes the server by address, without the CA it does not", async () => {
    const trusted = join(folder, "trusted");
    const empty = join(folder, "empty");
    await mkdir(trusted);
    await mkdir(empty);
    await writeFiles(trusted, { "ca.crt": authority.certificate });
    const seen: string[] = [];
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [],
    });
    const https = createServer({ cert: server.certificate, key: server.key }, (request, response) => {
      seen.push(request.url ?? "");
      response.setHeader("content-type", "application/vnd.oci.image.index.v1+json");
      response.end(request.url === "/v2/" ? "{}" : manifest);
    });
    https.listen(0, "127.0.0.1");
    await once(https, "listening");
    const { port } = https.address() as AddressInfo;
    const inspect = (certificates: string) =>
      run("skopeo", ["inspect", "--raw", "--cert-dir", certificates, `docker://127.0.0.1:${port}/a:1`]);
    try {
      const refused = await inspect(empty);
      assert.notEqual(refused.code, 0);
      assert.match(refused.text, /x509|unknown authority/);
      assert.deepEqual(seen, []);
      const accepted = await inspect(trusted);
      assert.equal(accepted.code, 0, accepted.text);
      assert.ok(seen.length > 0);
    } finally {
      https.closeAllConnections();
      https.close();
    }
  });
});

test("a site's pair is an authority and a server certificate that it signed", async () => {
  const requests = { ca: defaultAuthorityRequest("plant-7"), server: serverRequest };
  const pair = await createSitePair(requests, addresses);
  const ca = new X509Certificate(pair.authority.certificate);
  assert.ok(new X509Certificate(pair.server.certificate).verify(ca.publicKey));
  assert.ok(pair.authority.key.startsWith("-----BEGIN PRIVATE KEY-----"));
});
