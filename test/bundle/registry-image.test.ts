/** The registry's own image, from a real registry. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { DownloadLimits } from "../../src/bundle/download-limits.ts";
import { type Manifest, readManifest } from "../../src/bundle/manifest.ts";
import { planRegistryImage } from "../../src/bundle/registry-image.ts";
import { noCredentials } from "../../src/oci/credentials.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { makeImage, makeIndex, pushImage, type TestImage } from "../lab/images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { memorySink } from "./memory-sink.ts";

const amd64 = makeImage({ files: { registry: "amd64" }, docker: true });
const arm64 = makeImage({ files: { registry: "arm64" }, docker: true, platform: "linux/arm64" });
const index = makeIndex([amd64, arm64], { docker: true });

let folder: string;
let upstream: TestRegistry;
let client: RegistryClient;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-registry-image-"));
  upstream = await startRegistry({ folder });
  await pushImage(upstream.host, "library/registry", "2", index);
  await pushImage(upstream.host, "library/registry", "single", amd64);
  client = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([upstream.host]),
    mirrors: new Map(),
  });
});
after(async () => {
  await client.close();
  await upstream.stop();
  await rm(folder, { recursive: true });
});

async function manifestFor(tag: string, platforms: string[]): Promise<Manifest> {
  const file = join(folder, "m.yaml");
  const registry = `registry: {image: ${upstream.host}/library/registry:${tag}}`;
  const lines = ["name: m", "addresses: [registry.lan]", registry, `platforms: [${platforms}]`];
  await writeFile(file, [...lines, "images: [alpine:3.20]", ""].join("\n"));
  return readManifest(file);
}

const digestsOf = (image: TestImage) => [image.digest, ...image.blobs.map(({ digest }) => digest)].sort();

test("of an index the platforms asked for are carried, not the index; it is no repository's", async () => {
  const { images, content } = await planRegistryImage(
    await manifestFor("2", ["linux/amd64"]),
    client,
    new DownloadLimits(2),
  );
  assert.deepEqual(images, { "linux/amd64": amd64.digest });
  assert.deepEqual(content.blobs.map(({ digest }) => digest).sort(), digestsOf(amd64));
  assert.ok(content.blobs.every(({ role }) => role === "registry"));
  assert.deepEqual(content.repositories, {});
  const sink = memorySink(content);
  await content.fill(sink);
  assert.deepEqual(sink.written.get(amd64.digest), amd64.manifest);
  assert.deepEqual([...sink.written.keys()].sort(), digestsOf(amd64));
});

test("each platform gets its own image manifest", async () => {
  const manifest = await manifestFor("2", ["linux/amd64", "linux/arm64"]);
  const { images, content } = await planRegistryImage(manifest, client, new DownloadLimits(2));
  assert.deepEqual(images, { "linux/amd64": amd64.digest, "linux/arm64": arm64.digest });
  const wanted = [...new Set([...digestsOf(amd64), ...digestsOf(arm64)])].sort();
  assert.deepEqual(content.blobs.map(({ digest }) => digest).sort(), wanted);
});

test("an image without an index is taken by its config's platform", async () => {
  const { images } = await planRegistryImage(
    await manifestFor("single", ["linux/amd64"]),
    client,
    new DownloadLimits(2),
  );
  assert.deepEqual(images, { "linux/amd64": amd64.digest });
});

test("a platform that is not there is named in what is left out; none at all is an error", async () => {
  const manifest = await manifestFor("2", ["linux/amd64", "linux/s390x"]);
  const { content } = await planRegistryImage(manifest, client, new DownloadLimits(2));
  assert.match(content.leftOut?.[0]?.what ?? "", /library\/registry:2 for linux\/s390x/);
  await assert.rejects(
    planRegistryImage(await manifestFor("2", ["linux/s390x"]), client, new DownloadLimits(2)),
    {
      kind: "upstream",
      message: /wanted linux\/s390x, but its image index names linux\/amd64, linux\/arm64/,
    },
  );
});
