/** Which images a release serves, with their platforms, and how much each takes to pull. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import { type Tags, writeRelease } from "../../src/site/record.ts";
import { readServedImages } from "../../src/site/served-images.ts";
import { makeArtifact, makeImage, makeIndex, type TestImage } from "../lab/images.ts";
import { makeCurrent } from "./current.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-served-"));
});
after(() => rm(folder, { recursive: true }));

async function put(digest: Digest, bytes: Buffer): Promise<void> {
  const path = join(siteLayout(folder).storage, blobPath(digest));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

async function store(image: TestImage): Promise<Digest> {
  await put(image.digest, image.manifest);
  for (const blob of image.blobs) await put(blob.digest, blob.bytes);
  return image.digest;
}

const bytesOf = ({ blobs }: TestImage) => blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);

test("every tag that is an image, with each platform that is there; artifacts and what can't be read are none", async () => {
  const plain = makeImage({ docker: true });
  const [amd64, arm64, lost] = ["linux/amd64", "linux/arm/v7", "linux/s390x"].map((platform) =>
    makeImage({ platform, files: { platform } }),
  );
  assert.ok(amd64 && arm64 && lost);
  const index = makeIndex([amd64, arm64, lost]);
  const artifact = makeArtifact();
  for (const image of [plain, amd64, arm64, index, artifact]) await store(image);
  const broken = digestOf("no image manifest");
  await put(broken, Buffer.from("no image manifest"));

  const layout = siteLayout(folder);
  const bundleDigest = digestOf("bundle");
  const tagsAfter: Tags = {
    "team/app": { "1": index.digest, latest: index.digest },
    "team/chart": { "1": artifact.digest },
    "team/plain": { "1": plain.digest },
    "team/broken": { "1": broken, "2": digestOf("gone") },
  };
  await claimSite(layout);
  await writeRelease(layout, {
    ...{ bundleDigest, name: "plant-7", release: 1, sequence: 1, installedAt: "2026-01-01T00:00:00.000Z" },
    ...{ tagsBefore: {}, tagsAfter, placed: { blobs: 1, bytes: 2 }, chosen: {} },
    ...{
      settings: { addresses: ["a"], port: 443, access: "read-only" },
      registryImage: digestOf("registry"),
    },
  });
  assert.deepEqual(await readServedImages(folder), []);
  await makeCurrent(layout, bundleDigest);
  assert.deepEqual(await readServedImages(folder), [
    {
      repository: "team/app",
      digest: index.digest,
      platforms: [
        { platform: { os: "linux", architecture: "amd64" }, bytes: bytesOf(amd64) },
        { platform: { os: "linux", architecture: "arm", variant: "v7" }, bytes: bytesOf(arm64) },
      ],
    },
    {
      repository: "team/plain",
      digest: plain.digest,
      platforms: [{ platform: { os: "linux", architecture: "amd64" }, bytes: bytesOf(plain) }],
    },
  ]);
});
