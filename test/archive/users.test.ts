/** Who needs a blob: exactly, where the image manifests can be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { usersOfEach } from "../../src/archive/users.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { makeImage, makeIndex as makeImageIndex, makeLayer, type TestImage } from "../lab/images.ts";
import { makeIndex } from "./bundles.ts";

const layer = (text: string) => makeLayer([{ path: text, content: Buffer.from(text) }]);
const shared = layer("shared");
const one = makeImage({ layers: [shared, layer("one")] });
const two = makeImage({ layers: [shared, layer("two")] });
const both = makeImageIndex([one, two]);
const manifests = new Map<Digest, Buffer>([one, two, both].map(({ digest, manifest }) => [digest, manifest]));
const config = ({ blobs }: TestImage) => blobs[0]?.digest as Digest;
const layerOf = ({ blobs }: TestImage, number: number) => blobs[number + 1]?.digest as Digest;
const file = Buffer.from("a file");
const base = makeIndex([file]);
const deb = { digest: digestOf("a package"), size: 9, role: "package" as const };
const index: BundleIndex = {
  ...base,
  blobs: [...base.blobs, deb, { digest: one.digest, size: one.manifest.length, role: "registry" as const }],
  files: [{ name: "charts/a.tgz", digest: base.blobs[0]?.digest as Digest }],
  packages: [
    { match: { architecture: "amd64" }, files: [{ name: "docker-28.5.1.tgz", digest: deb.digest }] },
  ],
  repositories: {
    "team/app": {
      tags: { "1": one.digest, "2": two.digest, both: both.digest },
      revisions: [...manifests.keys()],
      layers: [...new Set([one, two].flatMap(({ blobs }) => blobs.map(({ digest }) => digest)))],
    },
    single: { tags: { latest: two.digest }, revisions: [two.digest], layers: [layerOf(two, 0)] },
  },
};

async function users(digest: Digest, unreadable: Digest[] = []): Promise<string[] | undefined> {
  const read = async (manifest: Digest) => {
    const bytes = manifests.get(manifest);
    if (!bytes || unreadable.includes(manifest)) throw new Error("damaged");
    return bytes;
  };
  return (await usersOfEach(index, [digest], read)).get(digest);
}

test("a layer is needed by each image that has it, also through an image index", async () => {
  assert.deepEqual(await users(layerOf(one, 1)), ["team/app:1", "team/app:both"]);
  assert.deepEqual(await users(config(two)), ["team/app:2", "team/app:both"]);
  assert.deepEqual(await users(layerOf(one, 0)), [
    "team/app:1",
    "team/app:2",
    "team/app:both",
    "single:latest",
  ]);
});

test("what needs it besides is named in words", async () => {
  assert.deepEqual(await users(one.digest), ["the registry's own image", "team/app:1", "team/app:both"]);
  assert.deepEqual(await users(index.files[0]?.digest as Digest), ["file charts/a.tgz"]);
  assert.deepEqual(await users(deb.digest), ["package docker-28.5.1.tgz"]);
});

test("where a manifest cannot be read, the repository is named instead of too few of its tags", async () => {
  assert.deepEqual(await users(layerOf(one, 0), [two.digest]), ["team/app", "single:latest"]);
  assert.deepEqual(await users(two.digest, [two.digest, both.digest]), ["team/app:2", "single:latest"]);
});
