import assert from "node:assert/strict";
import { test } from "node:test";
import { type ImageManifest, parseImageManifest } from "../../src/oci/image-manifest.ts";
import { dockerList, dockerManifest, ociIndex, ociManifest } from "../../src/oci/media-types.ts";
import { makeArtifact, makeImage, makeIndex } from "../lab/images.ts";

const digest = `sha256:${"1".repeat(64)}`;
const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest, size: 5 };
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest, size: 7 };
const image = { schemaVersion: 2, mediaType: ociManifest, config, layers: [layer] };

function parse(value: unknown, hint?: string): ImageManifest {
  return parseImageManifest(Buffer.from(JSON.stringify(value)), hint, "test");
}

test("images and indexes of both families are read", () => {
  for (const docker of [false, true]) {
    const made = makeImage({ docker });
    const parsed = parseImageManifest(made.manifest, made.mediaType, "test");
    assert.equal(parsed.kind, "image");
    assert.deepEqual(
      parsed.blobs.map((blob) => blob.digest),
      made.blobs.map((blob) => blob.digest),
    );
    assert.equal(parsed.config?.digest, made.blobs[0]?.digest);
    assert.equal(parsed.isArtifact, false);
    const index = makeIndex([made, makeImage({ docker, platform: "linux/arm64/v8" })], { docker });
    const children = parseImageManifest(index.manifest, undefined, "test").children;
    assert.deepEqual(children[1]?.platform, { os: "linux", architecture: "arm64", variant: "v8" });
  }
});

test("an artifact is told by its type or its config", () => {
  const made = makeArtifact();
  assert.equal(parseImageManifest(made.manifest, made.mediaType, "test").isArtifact, true);
  const helm = { ...config, mediaType: "application/vnd.cncf.helm.config.v1+json" };
  assert.equal(parse({ ...image, config: helm }).isArtifact, true);
});

test("without a media type of its own, the hint and then the shape tell", () => {
  const { mediaType: _, ...bare } = image;
  assert.equal(parse(bare).mediaType, ociManifest);
  assert.equal(parse(bare, `${dockerManifest}; charset=utf-8`).mediaType, dockerManifest);
  assert.equal(parse({ schemaVersion: 2, manifests: [] }).mediaType, ociIndex);
  assert.equal(parse(image, "text/plain").mediaType, ociManifest);
});

test("schema 1 is a kind of its own, with its layers", () => {
  const parsed = parse({ schemaVersion: 1, fsLayers: [{ blobSum: digest }, { blobSum: digest }] });
  assert.equal(parsed.kind, "schema1");
  assert.deepEqual(parsed.fsLayers, [digest]);
});

test("an unknown media type is told, not guessed", () => {
  const mediaType = "application/vnd.oci.artifact.manifest.v1+json";
  const parsed = parse({ mediaType, blobs: [] });
  assert.deepEqual([parsed.kind, parsed.mediaType], ["unknown", mediaType]);
});

test("a foreign layer keeps its urls", () => {
  const urls = ["https://example.com/layer"];
  assert.deepEqual(parse({ ...image, layers: [{ ...layer, urls }] }).blobs[1]?.urls, urls);
});

test("what is broken or of two minds is an integrity error", () => {
  const broken: Record<string, [unknown, string?]> = {
    "an image that looks like an index": [{ ...image, manifests: [] }],
    "an index that looks like an image": [
      { schemaVersion: 2, mediaType: ociIndex, manifests: [], layers: [] },
    ],
    "another type than it came as": [image, dockerList],
    "negative size": [{ ...image, layers: [{ ...layer, size: -1 }] }],
    "fractional size": [{ ...image, layers: [{ ...layer, size: 1.5 }] }],
    "unsafe size": [{ ...image, layers: [{ ...layer, size: 2 ** 53 }] }],
    "size as text": [{ ...image, layers: [{ ...layer, size: "5" }] }],
    "short digest": [{ ...image, layers: [{ ...layer, digest: "sha256:12" }] }],
    "digest with a path": [{ ...image, config: { ...config, digest: `sha256:../../${"1".repeat(58)}` } }],
    "no config": [{ ...image, config: undefined, mediaType: ociManifest }],
    "layers that are no list": [{ ...image, layers: {} }],
    "another schema version": [{ ...image, schemaVersion: 3 }],
    "a list": [[]],
    null: [null],
  };
  for (const [name, [value, hint]] of Object.entries(broken)) {
    assert.throws(() => parse(value, hint), { name: "DrydockError", kind: "integrity" }, name);
  }
  assert.throws(() => parseImageManifest(Buffer.from("{"), undefined, "test"), { kind: "integrity" });
  assert.throws(() => parseImageManifest(Buffer.from([0xff]), undefined, "test"), { kind: "integrity" });
});
