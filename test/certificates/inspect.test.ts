import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { createAuthority } from "../../src/certificates/authority.ts";
import { checkCertificates, describeCertificate } from "../../src/certificates/inspect.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../../src/certificates/request.ts";
import { issueServer } from "../../src/certificates/server.ts";
import type { KeyPair } from "../../src/certificates/x509.ts";
import { drydockError, output, temporaryFolder, writeFiles } from "./tools.ts";

const folder = await temporaryFolder();
const now = new Date("2030-06-01T12:00:00Z");
const addresses = ["registry.plant7.lan", "10.0.0.10", "fd00::10"];
let authority: KeyPair;
let other: KeyPair;
let server: KeyPair;

before(async () => {
  authority = await createAuthority(defaultAuthorityRequest("plant-7"), now);
  other = await createAuthority(defaultAuthorityRequest("plant-7"), now);
  server = await issueServer(authority, defaultServerRequest("registry.plant7.lan"), addresses, now);
});

test("a certificate is described as OpenSSL describes it", async () => {
  const described = describeCertificate(server.certificate);
  assert.equal(described.subject, "O=drydock, CN=registry.plant7.lan");
  assert.equal(described.issuer, "O=drydock, CN=plant-7 registry CA");
  assert.deepEqual(described.notBefore, new Date("2030-06-01T11:55:00Z"));
  assert.deepEqual(described.notAfter, new Date("2032-09-03T11:54:59Z"));
  assert.deepEqual(described.names, ["registry.plant7.lan"]);
  assert.deepEqual(described.ips, ["10.0.0.10", "fd00::10", "127.0.0.1"]);
  assert.equal(described.isAuthority, false);
  assert.equal(describeCertificate(authority.certificate).isAuthority, true);
  assert.deepEqual(describeCertificate(authority.certificate).names, []);
  await writeFiles(folder, { "registry.pem": server.certificate });
  const parameters = ["x509", "-noout", "-fingerprint", "-sha256", "-serial", "-in", "registry.pem"];
  const text = await output("openssl", parameters, folder);
  assert.ok(text.includes(`Fingerprint=${described.fingerprint256}`), text);
  assert.ok(text.includes(`serial=${described.serial}`), text);
});

test("an odd alternative name does not pass for two", async () => {
  await writeFiles(folder, {
    "odd.cnf": [
      "[req]\ndistinguished_name=d\nx509_extensions=e\nprompt=no",
      "[d]\nCN=a",
      "[e]\nsubjectAltName=@s",
      "[s]\nDNS.1=one.lan\\, DNS:two.lan\nDNS.2=three.lan\nURI.1=http://a.lan/\\, IP Address:10.0.0.1\n",
    ].join("\n"),
  });
  const request = [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-keyout",
    "odd-key.pem",
    "-out",
    "odd.pem",
  ];
  await output("openssl", [...request, "-config", "odd.cnf"], folder);
  const pem = await output("openssl", ["x509", "-in", "odd.pem"], folder);
  const { names, ips } = describeCertificate(pem);
  assert.deepEqual(names, ["one.lan, DNS:two.lan", "three.lan"]);
  assert.deepEqual(ips, []);
});

for (const [what, text] of [
  ["nothing", ""],
  ["a key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"],
  ["junk in PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
]) {
  test(`${what} is no certificate`, () => {
    assert.throws(() => describeCertificate(text ?? ""), drydockError("input", /^read certificate: /));
  });
}

describe("what would make a client refuse", () => {
  const problems = (
    pems: Partial<Parameters<typeof checkCertificates>[0]> = {},
    expected: Partial<Parameters<typeof checkCertificates>[1]> = {},
  ) =>
    checkCertificates(
      { ca: authority.certificate, server: server.certificate, key: server.key, ...pems },
      { addresses, now, ...expected },
    ).map(({ problem, hint }) => `${problem} | ${hint ?? ""}`);

  const only = (found: string[], pattern: RegExp) => {
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", pattern);
  };

  test("nothing, where all fits", () => {
    assert.deepEqual(problems(), []);
    assert.deepEqual(problems({}, { addresses: ["REGISTRY.plant7.lan", "FD00:0::10", "127.0.0.1"] }), []);
  });
  test("another CA of the same name", () =>
    only(problems({ ca: other.certificate }), /not issued by this CA/));
  test("a CA's signature that is wrong", () => {
    const der = Buffer.from(server.certificate.replaceAll(/-----.*-----|\n/g, ""), "base64");
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    const flipped = `-----BEGIN CERTIFICATE-----\n${der.toString("base64")}\n-----END CERTIFICATE-----\n`;
    only(problems({ server: flipped }), /signature on the server certificate is wrong/);
  });
  test("the server's own certificate in place of the CA's", () => {
    const found = problems({ ca: server.certificate });
    assert.ok(found.some((one) => /no CA:TRUE/.test(one)));
  });
  test("another key", () => only(problems({ key: other.key }), /key does not belong/));
  test("a key that is none", () => only(problems({ key: "junk" }), /key cannot be read/));
  test("a clock before the certificates", () => {
    const found = problems({}, { now: new Date("2030-06-01T11:54:59Z") });
    assert.equal(found.length, 2);
    for (const one of found)
      assert.match(one, /certificate is not valid before 2030-06-01T11:55:00.000Z \| .*slow/);
  });
  test("a clock after the server certificate", () => {
    only(problems({}, { now: new Date("2033-01-01") }), /server certificate ended on 2032-09-03/);
  });
  test("an address that is not named", () => {
    only(
      problems({}, { addresses: [...addresses, "10.0.0.11"] }),
      /does not name 10\.0\.0\.11 \| .*10\.0\.0\.10/,
    );
    only(problems({}, { addresses: ["plant7.lan"] }), /does not name plant7\.lan/);
  });
  test("a CA certificate used as a server's", () => {
    const found = problems(
      { server: authority.certificate, key: authority.key },
      { addresses: ["plant7.lan"] },
    );
    only(found, /does not name plant7\.lan \| It names nothing/);
  });
  test("a certificate for clients alone", async () => {
    await writeFiles(folder, {
      "ca.pem": authority.certificate,
      "ca-key.pem": authority.key,
      "server-key.pem": server.key,
      "client.ext": "extendedKeyUsage=clientAuth\nsubjectAltName=DNS:registry.plant7.lan\n",
    });
    await output(
      "openssl",
      ["req", "-new", "-key", "server-key.pem", "-subj", "/CN=c", "-out", "client.csr"],
      folder,
    );
    const sign = [
      "x509",
      "-req",
      "-in",
      "client.csr",
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca-key.pem",
      "-days",
      "9999",
    ];
    await output("openssl", [...sign, "-extfile", "client.ext", "-out", "client.pem"], folder);
    const client = await output("openssl", ["x509", "-in", "client.pem"], folder);
    only(problems({ server: client }, { addresses: ["registry.plant7.lan"] }), /no serverAuth/);
  });
});
