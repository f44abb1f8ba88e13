/** README.txt: what somebody who has only the stick must know. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { readmeOf } from "../../src/bundle/readme.ts";
import { makeIndex } from "../archive/bundles.ts";

const index = makeIndex([Buffer.from("{}"), Buffer.from("layer")]);

function withPort(port: number): BundleIndex {
  return { ...index, registry: { ...index.registry, port } };
}

test("it says whose it is, what to type, and each image as clients will name it", () => {
  const text = readmeOf(index);
  assert.match(text, /^Name: {5}plant-7, release 1, made 2026-01-02T03:04:05Z$/m);
  assert.match(text, /registry\.plant7\.lan, 10\.0\.0\.10, port 443/);
  assert.match(text, /^ {2}drydock install FILE\.tar --digest DIGEST$/m);
  assert.match(text, /^ {2}tar xOf FILE\.tar SHA256SUMS \| sha256sum$/m);
  assert.match(text, /^ {2}registry\.plant7\.lan\/team\/app:1$/m);
});

test("another port than 443 stands in the images' names", () => {
  assert.match(readmeOf(withPort(5000)), /^ {2}registry\.plant7\.lan:5000\/team\/app:1$/m);
});

test("it says where the server's key comes from", () => {
  const withCertificates = (certificates: BundleIndex["certificates"]) =>
    readmeOf({ ...index, certificates });
  assert.match(withCertificates({ from: "site" }), /makes the certificates there/);
  assert.match(withCertificates({ from: "bundle", keyEncrypted: true }), /encrypted: have the code/);
  assert.match(withCertificates({ from: "bundle", keyEncrypted: false }), /unencrypted: whoever has this/);
});
