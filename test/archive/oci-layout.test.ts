/** A bundle is an OCI image layout: skopeo reads the images out of the archive as it is. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ociImageIndex, ociLayoutFile } from "../../src/archive/oci-layout.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { contentOf, imageContent, writeBundleOf } from "../install/bundles.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-oci-"));
after(() => rm(folder, { recursive: true }));

test("the layout file and the index are as the specification has them", () => {
  assert.deepEqual(JSON.parse(ociLayoutFile.toString()), { imageLayoutVersion: "1.0.0" });
  const digest = digestOf("{}");
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const index = JSON.parse(ociImageIndex([{ name: "team/app:1", mediaType, digest, size: 2 }]).toString());
  assert.deepEqual(index, {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      { mediaType, digest, size: 2, annotations: { "org.opencontainers.image.ref.name": "team/app:1" } },
    ],
  });
});

test("skopeo copies each image out of the archive, with the digest that it has", async () => {
  const images = {
    "team/app:1": makeImage({ files: { "app.txt": "1\n" } }),
    "team/app:2": makeImage({ files: { "app.txt": "2\n" } }),
  };
  const path = join(folder, "bundle.tar");
  await writeBundleOf(path, [
    contentOf("certificate", [Buffer.from("first, as in a real one")]),
    ...Object.entries(images).map(([name, image]) => {
      const [repository = "", tag = ""] = name.split(":");
      return imageContent(image, repository, tag);
    }),
  ]);
  for (const [name, image] of Object.entries(images)) {
    const copy = join(folder, image.digest.slice(7));
    await run("skopeo", [
      "--insecure-policy",
      "--tmpdir",
      folder,
      "copy",
      `oci-archive:${path}:${name}`,
      `dir:${copy}`,
    ]);
    assert.deepEqual(await readFile(join(copy, "manifest.json")), image.manifest);
    for (const { digest, bytes } of image.blobs)
      assert.deepEqual(await readFile(join(copy, digest.slice(7))), bytes);
  }
});
