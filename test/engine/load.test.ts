/** Images into real engines, from their blobs: Docker and Podman. */
import assert from "node:assert/strict";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { createContainer, removeContainer, startContainer } from "../../src/engine/container.ts";
import { connectEngine, type Engine } from "../../src/engine/engine.ts";
import { imageId, loadImage } from "../../src/engine/load.ts";
import { DrydockError } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { goInside } from "../install/inside.ts";
import { blobOf } from "../install/site-parts.ts";
import { makeImage, makeLayer, type TestImage } from "../lab/images.ts";
import { startService, waitFor } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";

const folder = await goInside(import.meta.url);
const docker = connectEngine();
const podman = await startPodman();

async function startPodman(): Promise<Engine> {
  const socket = join(folder, "podman.sock");
  const at = join(folder, "podman");
  await mkdir(at);
  // Podman wants a path of at most 50 characters for it; /run is the host's own.
  const storage = [`--root=${at}/root`, "--runroot=/run/podman", `--tmpdir=${at}/tmp`];
  const args = [...storage, "--cgroup-manager=cgroupfs", "system", "service", "--time=0", `unix://${socket}`];
  const service = await startService("podman", args, { log: join(folder, "podman.log") });
  after(() => service.stop());
  await waitFor("podman", service, 30, async () =>
    (await stat(socket).catch(() => undefined)) ? true : undefined,
  );
  return connectEngine({ DOCKER_HOST: `unix://${socket}` });
}

function load(engine: Engine, image: TestImage, name: string): Promise<string> {
  return loadImage(engine, { manifest: image.manifest, blob: (digest) => blobOf(image, digest), name });
}

/** The same image with zstd layers (OCI image specification, layer.md, "+zstd Media Types"). */
function withZstdLayers(layers: Buffer[]): TestImage {
  const image = makeImage({ layers });
  const manifest = JSON.parse(image.manifest.toString());
  const blobs = layers
    .map((tar) => zstdCompressSync(tar))
    .map((bytes) => ({ digest: digestOf(bytes), bytes }));
  manifest.layers = blobs.map(({ digest, bytes }) => ({
    mediaType: "application/vnd.oci.image.layer.v1.tar+zstd",
    digest,
    size: bytes.length,
  }));
  const [config] = image.blobs;
  assert.ok(config);
  const bytes = Buffer.from(JSON.stringify(manifest));
  return { ...image, manifest: bytes, digest: digestOf(bytes), blobs: [config, ...blobs] };
}

for (const [name, engine] of Object.entries({ docker, podman })) {
  test(`${name}: the registry's image, by its own digest, and once`, async () => {
    const image = await makeRegistryImage();
    const id = await load(engine, image, "drydock/registry:2");
    assert.equal(id, image.blobs[0]?.digest);
    assert.equal(await imageId(engine, "drydock/registry:2"), id);
    const again = await loadImage(engine, {
      manifest: image.manifest,
      name: "drydock/registry:2",
      blob: () => {
        throw new Error("it is there, and nothing is to be read");
      },
    });
    assert.equal(again, id);
  });

  test(`${name}: zstd layers and a layer that stands there twice`, async () => {
    const tar = makeLayer([{ path: "big", content: Buffer.alloc(3_000_000, "a") }]);
    const image = withZstdLayers([tar, makeLayer([{ path: "b", content: "b" }]), tar]);
    assert.equal(await load(engine, image, "drydock/zstd:1"), image.blobs[0]?.digest);
  });

  test(`${name}: a layer with other bytes than its digest says`, async () => {
    const image = makeImage({ docker: true, files: { a: `${name} damaged` } });
    const [config, layer] = image.blobs;
    assert.ok(config && layer);
    const bytes = Buffer.from(layer.bytes);
    bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
    const damaged = { ...image, blobs: [config, { ...layer, bytes }] };
    await assert.rejects(load(engine, damaged, "drydock/damaged:1"), (error) => {
      assert.ok(error instanceof DrydockError, String(error));
      assert.equal(error.kind, "integrity");
      assert.match(error.message, new RegExp(layer.digest));
      return true;
    });
    assert.equal(await imageId(engine, "drydock/damaged:1"), undefined);
    await load(engine, image, "drydock/damaged:1");
  });

  test(`${name}: a config that doesn't fit its layers: the engine's own words`, async () => {
    const image = makeImage({ files: { a: `${name} misfit` } });
    const [config, layer] = image.blobs;
    assert.ok(config && layer);
    const bytes = Buffer.from(config.bytes.toString().replace(/sha256:[0-9a-f]{64}/, digestOf("other")));
    const manifest = JSON.parse(image.manifest.toString());
    manifest.config.digest = digestOf(bytes);
    const misfit = {
      ...image,
      manifest: Buffer.from(JSON.stringify(manifest)),
      blobs: [{ digest: digestOf(bytes), bytes }, layer],
    };
    await assert.rejects(load(engine, misfit, "drydock/misfit:1"), (error) => {
      assert.ok(error instanceof DrydockError, String(error));
      assert.equal(error.kind, "host");
      assert.match(error.message, /load image "drydock\/misfit:1" into the engine: ./);
      assert.doesNotMatch(error.message, /not there afterwards/);
      return true;
    });
  });

  test(`${name}: it says what it is`, async () => {
    const described = await engine.describe();
    assert.match(described.version, /^\d+\./);
    assert.match(described.platform, /^linux\/(amd64|arm64)$/);
    assert.ok(described.storageRoot?.startsWith(folder), String(described.storageRoot));
    assert.equal(described.rootless, false);
  });
}

test("a loaded image runs", async () => {
  const id = await load(docker, await makeRegistryImage(), "drydock/registry:2");
  const options = { name: "loaded", Image: id, Cmd: ["--version"], Entrypoint: ["/bin/registry"] };
  const container = docker.docker.getContainer(await createContainer(docker, options));
  await startContainer(docker, "loaded");
  assert.equal((await container.wait()).StatusCode, 0);
  await removeContainer(docker, "loaded");
});
