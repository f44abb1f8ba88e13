import assert from "node:assert/strict";
import { test } from "node:test";
import { createAuthority } from "../../src/certificates/authority.ts";
import { describeCertificate } from "../../src/certificates/inspect.ts";
import {
  defaultAuthorityRequest,
  defaultServerRequest,
  parseCertificateRequest,
} from "../../src/certificates/request.ts";
import { drydockError, output, temporaryFolder, writeFiles } from "./tools.ts";

/** The documented procedure's two files. */
const caJson = {
  CN: "docker-registry CA",
  key: { algo: "rsa", size: 2048 },
  ca: { expiry: "43800h", pathlen: 0 },
  names: [{ C: "DE", ST: "Bayern", L: "München", O: "Beispiel & Söhne", OU: "" }],
};
const registryJson = {
  CN: "docker-registry.example.com",
  hosts: ["docker-registry.example.com", "10.0.0.10", ""],
  key: { algo: "rsa", size: 3072 },
  names: [{ C: "DE", O: "Beispiel" }],
};

test("cfssl's two files are taken as they are, and cfssl takes them too", async () => {
  assert.deepEqual(parseCertificateRequest(caJson, "ca.json"), {
    CN: "docker-registry CA",
    hosts: [],
    key: { algo: "rsa", size: 2048 },
    names: [{ C: "DE", ST: "Bayern", L: "München", O: "Beispiel & Söhne" }],
    ca: { expiry: "43800h", pathlen: 0 },
  });
  assert.deepEqual(parseCertificateRequest(registryJson, "registry.json"), {
    CN: "docker-registry.example.com",
    hosts: ["docker-registry.example.com", "10.0.0.10"],
    key: { algo: "rsa", size: 3072 },
    names: [{ C: "DE", O: "Beispiel" }],
  });
  const folder = await temporaryFolder();
  await writeFiles(folder, { "ca.json": JSON.stringify(caJson) });
  const made = JSON.parse(
    (await output("cfssl", ["genkey", "-initca", "-loglevel=5", "ca.json"], folder)).trim(),
  );
  const theirs = describeCertificate(made.cert);
  const ours = describeCertificate(
    (await createAuthority(parseCertificateRequest(caJson, "ca.json"))).certificate,
  );
  const sorted = (subject: string) => subject.split(", ").toSorted();
  assert.deepEqual(sorted(ours.subject), sorted(theirs.subject));
  const years = (one: { notBefore: Date; notAfter: Date }) =>
    one.notAfter.getTime() - one.notBefore.getTime();
  assert.equal(years(ours), years(theirs));
});

test("a request written as JSON and parsed again is the same", () => {
  for (const request of [
    parseCertificateRequest(caJson, "ca.json"),
    parseCertificateRequest(registryJson, "registry.json"),
    defaultAuthorityRequest("plant-7"),
    defaultServerRequest("registry.plant7.lan"),
  ]) {
    assert.deepEqual(parseCertificateRequest(JSON.parse(JSON.stringify(request)), "x"), request);
  }
});

test("the case of keys does not matter, as with cfssl, and empty unsupported keys are left out", () => {
  assert.deepEqual(parseCertificateRequest({ cn: "a", HOSTS: null, serialnumber: "", Names: null }, "x"), {
    CN: "a",
    hosts: [],
    names: [],
  });
});

test("the defaults keep within what a common name may hold", () => {
  const long = "a".repeat(100);
  assert.equal(defaultAuthorityRequest(long).CN?.length, 64);
  assert.equal(defaultServerRequest(`${long}.lan`).CN, "registry");
  assert.equal(defaultServerRequest("registry.lan").CN, "registry.lan");
});

const bad: [string, unknown, RegExp, RegExp?][] = [
  ["no object", [], /^ca\.json: wanted an object, got \[\]/],
  ["nothing to name it by", { hosts: ["a.lan"], names: [{ O: "" }] }, /CN: wanted a CN or names/],
  ["an unknown key", { CN: "a", host: ["a.lan"] }, /^ca\.json: host: unknown key/, /hosts/],
  ["a key twice", { CN: "a", cn: "b" }, /CN: given twice/],
  ["a serial number", { CN: "a", serialnumber: "1" }, /serialnumber: cfssl knows this key/],
  ["an unknown key of a name", { CN: "a", names: [{ X: "1" }] }, /names\[0\]\.X: unknown key/],
  ["an e-mail address of a name", { CN: "a", names: [{}, { E: "a@b" }] }, /names\[1\]\.E: cfssl knows/],
  ["a backdate", { CN: "a", ca: { backdate: "1h" } }, /ca\.backdate: cfssl knows/],
  ["a CN that is a number", { CN: 7 }, /CN: wanted text, got 7/],
  ["a CN with a line end", { CN: "a\nb" }, /CN: wanted text without control characters/],
  ["a long CN", { CN: "ü".repeat(65) }, /CN: wanted at most 64 characters/],
  ["a country of three letters", { CN: "a", names: [{ C: "DEU" }] }, /names\[0\]\.C: wanted at most 2/],
  ["a country that is no letters", { CN: "a", names: [{ C: "Ü" }] }, /names\[0\]\.C: wanted the two letters/],
  ["hosts that are no list", { CN: "a", hosts: "a.lan" }, /hosts: wanted a list/],
  ["a host that is no text", { CN: "a", hosts: [1] }, /hosts\[0\]: wanted a host name/],
  ["an impossible host", { CN: "a", hosts: ["a.lan", "10.0.0.999"] }, /hosts\[1\]: address "10\.0\.0\.999"/],
  [
    "a weak key",
    { CN: "a", key: { algo: "rsa", size: 1024 } },
    /key\.size: wanted 2048 to 4096.*1024/,
    /2048/,
  ],
  ["a key too large", { CN: "a", key: { algo: "rsa", size: 8192 } }, /key\.size: .*8192/],
  ["a key size as text", { CN: "a", key: { algo: "rsa", size: "2048" } }, /key\.size: .*"2048"/],
  [
    "an ECDSA key",
    { CN: "a", key: { algo: "ecdsa", size: 256 } },
    /key\.algo: wanted "rsa", got "ecdsa"/,
    /RSA/,
  ],
  ["a key without algorithm", { CN: "a", key: { size: 2048 } }, /key\.algo: wanted "rsa", got null/],
  ["an expiry without unit", { CN: "a", ca: { expiry: "43800" } }, /ca\.expiry: wanted a duration/],
  ["an expiry in days", { CN: "a", ca: { expiry: "365d" } }, /ca\.expiry: wanted a duration/],
  ["an expiry of nothing", { CN: "a", ca: { expiry: "0h" } }, /ca\.expiry: wanted one hour/],
  ["an expiry after the year 9999", { CN: "a", ca: { expiry: "99999999h" } }, /ca\.expiry: .*hundred years/],
  ["a negative path length", { CN: "a", ca: { pathlen: -1 } }, /ca\.pathlen: wanted a whole number/],
  [
    "a pathlenzero that is text",
    { CN: "a", ca: { pathlenzero: "yes" } },
    /ca\.pathlenzero: wanted true or false/,
  ],
];

for (const [what, value, message, hint] of bad) {
  test(`a request with ${what} is refused`, () => {
    assert.throws(() => parseCertificateRequest(value, "ca.json"), drydockError("input", message, hint));
  });
}
