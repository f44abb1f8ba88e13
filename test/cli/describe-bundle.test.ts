/** A bundle's content as people read it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { describeContents } from "../../src/cli/describe-bundle.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { makeIndex } from "../archive/bundles.ts";

const manifest = digestOf("{}");
const index = makeIndex([Buffer.from("{}"), Buffer.alloc(2048)]);
const describe = (changes: Partial<BundleIndex> = {}) => describeContents({ ...index, ...changes }, 5 * 1024);

test("name, size, registry, content and certificates, each on a line", () => {
  const text = describe({
    images: [
      { source: "app", repository: "team/app", tag: "1", digest: manifest, platforms: ["linux/amd64"] },
    ],
  });
  assert.match(text, /^name {10}plant-7, release 1, made 2026-01-02T03:04:05Z$/m);
  assert.match(text, /^size +5\.0 KiB \(5120 bytes\)$/m);
  assert.match(text, /^registry +registry\.plant7\.lan, 10\.0\.0\.10, port 443, read-only$/m);
  assert.match(text, /^image +docker\.io\/library\/registry:2 for linux\/amd64$/m);
  assert.match(text, /^content +1 repository, 1 tag, 2 blobs, 2\.0 KiB at the site$/m);
  assert.match(text, /^images\n {2}team\/app:1 {2}44136fa355b3 {2}linux\/amd64$/m);
  assert.doesNotMatch(text, /^(seeds|files|left out)$/m);
});

test("what deserves a second look is said: push, a key that is not encrypted", () => {
  const push = describe({ registry: { ...index.registry, access: "push" } });
  assert.match(push, /anyone who reaches it may push/);
  const certificates = (certificates: BundleIndex["certificates"]) => describe({ certificates });
  assert.match(certificates({ from: "site" }), /made at the site; no key inside/);
  assert.match(certificates({ from: "bundle", keyEncrypted: true }), /the server's key is encrypted/);
  assert.match(certificates({ from: "bundle", keyEncrypted: false }), /KEY IS NOT ENCRYPTED/);
  assert.match(certificates({ from: "bundle" }), /KEY IS NOT ENCRYPTED/);
});

test("seeds, files and what is left out have lists of their own", () => {
  const seed = { sha256: manifest.slice(7), size: 1024, repositories: {}, leftOut: [] };
  const text = describe({
    seeds: [
      { ...seed, source: "a.tar" },
      { ...seed, source: "b.tar.gz", packed: { compression: "gzip", blobs: [] } },
    ],
    files: [{ name: "charts/app.tgz", digest: manifest }],
    leftOut: [{ what: "1 upload", why: "it did not end" }],
  });
  assert.match(
    text,
    /^seeds\n {2}a\.tar {5}1\.0 KiB {2}unpacked\n {2}b\.tar\.gz {2}1\.0 KiB {2}carried packed$/m,
  );
  assert.match(text, /^files\n {2}charts\/app\.tgz$/m);
  assert.match(text, /^left out\n {2}1 upload {2}it did not end$/m);
});

test("a long list is cut, and says by how much", () => {
  const tags = Object.fromEntries(Array.from({ length: 45 }, (_, number) => [`v${number}`, manifest]));
  const text = describe({ repositories: { app: { tags, revisions: [manifest], layers: [] } } });
  assert.match(text, /app:v39 .*\n {2}and 5 more \(--json lists all\)$/m);
  assert.doesNotMatch(text, /app:v40/);
  const forty = Object.fromEntries(Object.entries(tags).slice(0, 40));
  assert.doesNotMatch(
    describe({ repositories: { app: { tags: forty, revisions: [manifest], layers: [] } } }),
    /more/,
  );
});

test("cosign's tags and what is left out: digests are short, and all fits 80 columns", () => {
  const digest = digestOf("an image");
  const tags = Object.fromEntries(
    ["1.36", ...["att", "sbom", "sig"].map((end) => `sha256-${digest.slice(7)}.${end}`)].map((tag) => [
      tag,
      manifest,
    ]),
  );
  const repository = "platform-team/monitoring/node-exporter";
  const text = describeContents(
    {
      ...index,
      repositories: { [repository]: { tags, revisions: [manifest], layers: [] } },
      leftOut: [{ what: `${repository}: revision ${digest}`, why: `its layer ${manifest} is missing` }],
    },
    5 * 1024,
    80,
  );
  assert.match(text, new RegExp(`sha256-${digest.slice(7, 19)}\\.sbom`));
  assert.doesNotMatch(text, /[0-9a-f]{64}/);
  for (const line of text.split("\n")) assert.ok(line.length <= 80, line);
});

test("names from a hostile bundle cannot steer the terminal, nor pass for a line of ours", () => {
  const text = describe({
    files: [{ name: "a\u001b[2J\u001b]0;x\u0007b\r\u202ec", digest: manifest }],
    leftOut: [{ what: "x\ncertificates  all is well", why: "y" }],
    registry: { ...index.registry, reference: "x\ncertificates  all is well" },
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f\u202e]/);
  assert.doesNotMatch(text, /^certificates {2}all is well/m);
});
