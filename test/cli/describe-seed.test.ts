/** What is inside a seed, found by one pass, as JSON has it and as people read it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { reportSeed } from "../../src/bundle/seed-report.ts";
import { describeSeed } from "../../src/cli/describe-seed.ts";
import { type Digest, shortDigest } from "../../src/oci/digest.ts";
import { blobPath, tagCurrentLinkPath } from "../../src/oci/storage.ts";
import { makeImage, makeIndex, type TestImage } from "../lab/images.ts";
import { addBlob, addManifest, entriesOf, type StorageTree, tarOf } from "../lab/seeds.ts";

const app = makeImage({ files: { a: "app" } });
const arm = makeImage({ files: { a: "arm" }, platform: "linux/arm64" });
const index = makeIndex([app, arm]);
const layerOf = (image: TestImage) => image.blobs[1]?.digest as Digest;

/** @param tag none: a revision alone */
function addImage(tree: StorageTree, repository: string, tag: string | undefined, image: TestImage): void {
  for (const { bytes } of image.blobs) addBlob(tree, bytes);
  const digests = image.blobs.map(({ digest }) => digest);
  const digest = addManifest(tree, repository, tag, JSON.parse(image.manifest.toString()), digests);
  assert.equal(digest, image.digest);
}

function makeTree(): StorageTree {
  const tree: StorageTree = new Map();
  addImage(tree, "team/app", undefined, app);
  addImage(tree, "team/app", undefined, arm);
  addImage(tree, "team/app", "1", { ...index, blobs: [] });
  addImage(tree, "team/app", "latest", { ...index, blobs: [] });
  addImage(tree, "team/app", "amd64", app);
  return tree;
}

async function report(tree: StorageTree) {
  async function* bytes() {
    yield tarOf(entriesOf(tree));
  }
  return await reportSeed(bytes(), "seed.tar");
}

test("every tag, with what it names and what that needs", async () => {
  const found = await report(makeTree());
  assert.deepEqual(found.serves, ["team/app:1", "team/app:amd64", "team/app:latest"]);
  const { tags, revisions } = found.repositories["team/app"] ?? assert.fail("no repository");
  assert.deepEqual(tags, { "1": index.digest, amd64: app.digest, latest: index.digest });
  assert.deepEqual(revisions[index.digest]?.children, [
    { digest: app.digest, platform: "linux/amd64", served: true },
    { digest: arm.digest, platform: "linux/arm64", served: true },
  ]);
  const [config, layer] = app.blobs;
  assert.deepEqual(revisions[app.digest]?.config, {
    digest: config?.digest,
    size: config?.bytes.length,
    state: "whole",
  });
  assert.deepEqual(revisions[app.digest]?.layers, [
    { digest: layer?.digest, size: layer?.bytes.length, state: "whole" },
  ]);
  assert.equal(found.site.blobs, 7);
  assert.equal(found.site.bytes, found.unpacked.bytes);
  assert.ok(found.site.inodes > 14);
  assert.deepEqual([found.defects, found.orphans, found.damaged], [[], [], []]);

  const lines = describeSeed(found)
    .split("\n")
    .map((line) => line.replace(/ {2,}/g, " ").trim());
  const tree = lines.slice(lines.indexOf("team/app") + 1);
  const [one = "", two = "", list = ""] = [app, arm, index].map(({ digest }) => shortDigest(digest));
  assert.equal(tree[0], `1 ${list} index`);
  assert.equal(tree[1], `linux/amd64 ${one} image`);
  assert.match(tree[2] ?? "", new RegExp(`^config ${shortDigest(config?.digest as Digest)} [0-9.]+ K?i?B$`));
  assert.match(tree[3] ?? "", new RegExp(`^layer ${shortDigest(layerOf(app))} [0-9.]+ K?i?B$`));
  assert.equal(tree[4], `linux/arm64 ${two} image`);
  assert.equal(tree[7], `amd64 ${one} as linux/amd64`);
  assert.equal(tree[8], `latest ${list} as 1`);
  assert.equal(tree.length, 9);
});

test("what is missing, damaged, unneeded or strange is shown at once", async () => {
  const tree = makeTree();
  const orphan = addBlob(tree, Buffer.from("nobody needs this"));
  tree.set(blobPath(layerOf(arm)), Buffer.from("something else"));
  tree.delete(blobPath(layerOf(app)));
  tree.set(tagCurrentLinkPath("team/app", "gone"), Buffer.from(`sha256:${"0".repeat(64)}`));
  tree.set("docker/registry/v2/repositories/team/app/_uploads/0b3e/data", Buffer.from("part"));
  tree.set("docker/registry/v2/x\u001b[2J", Buffer.from("{}"));
  tree.set("certs/ca.pem", Buffer.from("PEM"));
  const found = await report(tree);
  assert.deepEqual(found.serves, []);
  assert.deepEqual(
    found.orphans.filter(({ digest }) => digest === orphan),
    [{ digest: orphan, size: 17 }],
  );
  assert.deepEqual(
    found.damaged.map(({ digest, size }) => [digest, size]),
    [[layerOf(arm), 14]],
  );
  assert.deepEqual(found.files.uploads, ["docker/registry/v2/repositories/team/app/_uploads/0b3e/data"]);
  assert.deepEqual(found.files.foreign, ["certs/ca.pem"]);
  assert.equal(found.files.others.length, 1);
  assert.equal(found.defects[0]?.kind, "integrity");
  const { revisions } = found.repositories["team/app"] ?? assert.fail("no repository");
  assert.equal(revisions[app.digest]?.layers[0]?.state, "missing");
  assert.equal(revisions[arm.digest]?.layers[0]?.state, "damaged");
  assert.equal(revisions[index.digest]?.served, false);

  const text = describeSeed(found);
  for (const line of [
    new RegExp(`^ +layer +${shortDigest(layerOf(arm))} +[0-9.]+ .?i?B +damaged$`, "m"),
    new RegExp(`^ +layer +${shortDigest(layerOf(app))} +[0-9.]+ .?i?B +missing$`, "m"),
    /^ {2}gone +000000000000 +not served$/m,
    /^uploads that did not end\n {2}docker\/registry/m,
    /^files outside of the storage\n {2}certs\/ca\.pem$/m,
    /^damaged or missing\n {2}blob [0-9a-f]{12} +it has the content of [0-9a-f]{12}$/m,
    /only with --allow-incomplete/,
  ])
    assert.match(text, line);
  assert.ok(!text.includes("\u001b"));
});

test("an index of which the seed lacks a platform: said, and no defect", async () => {
  const tree = makeTree();
  for (const path of tree.keys()) if (path.includes(arm.digest.slice(7))) tree.delete(path);
  const found = await report(tree);
  assert.deepEqual(found.defects, []);
  assert.ok(found.serves.includes("team/app:1"));
  assert.match(describeSeed(found), /^ +linux\/arm64 +[0-9a-f]{12} +missing$/m);
});

test("long lists are cut", async () => {
  const tree = makeTree();
  for (let number = 0; number < 45; number++) addBlob(tree, Buffer.from(`orphan ${number}`));
  const found = await report(tree);
  assert.equal(found.orphans.length, 45);
  assert.match(describeSeed(found), /needs\n( {2}.*\n){40} {2}and 5 more \(--json lists all\)$/m);
});
