import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Content } from "../../src/bundle/content.ts";
import { DownloadLimits } from "../../src/bundle/download-limits.ts";
import {
  planImage,
  type ResolvedImage,
  resolveImage,
  type WantedPlatforms,
} from "../../src/bundle/image-source.ts";
import { noCredentials } from "../../src/oci/credentials.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { ociIndex, ociManifest } from "../../src/oci/media-types.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { makeArtifact, makeImage, makeIndex, pushImage, type TestImage } from "../lab/images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { startServer } from "../oci/faulty-server.ts";
import { memorySink } from "./memory-sink.ts";

const amd64 = makeImage({ files: { "a.txt": "amd64" } });
const arm64 = makeImage({ platform: "linux/arm64/v8", files: { "a.txt": "arm64" } });
const attestation = { ...makeArtifact(), platform: "unknown/unknown" };
const index = makeIndex([amd64, arm64, attestation]);
const nested = makeIndex([index, makeImage({ platform: "linux/s390x" })]);
const bare = withoutPlatforms(makeIndex([amd64, arm64], { docker: false }));
const artifact = makeArtifact();
const chartIndex = makeIndex([artifact]);
let folder: string;
let registry: TestRegistry;
let client: RegistryClient;
const stops: (() => Promise<void>)[] = [];

/** As some tools write them: one has to look into the configs. */
function withoutPlatforms(made: TestImage): TestImage {
  const json = JSON.parse(made.manifest.toString()) as { manifests: { platform?: unknown }[] };
  for (const child of json.manifests) delete child.platform;
  return asImage(json, ociIndex, made.children);
}

function asImage(json: unknown, mediaType: string, children: TestImage[] = []): TestImage {
  const manifest = Buffer.from(JSON.stringify(json));
  return { mediaType, manifest, digest: digestOf(manifest), blobs: [], children };
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-source-"));
  registry = await startRegistry({ folder });
  client = clientFor(registry.host);
  stops.push(registry.stop, () => client.close());
  const pushed = { amd64, index, nested, bare, artifact, chartIndex };
  for (const [tag, image] of Object.entries(pushed)) await pushImage(registry.host, "team/app", tag, image);
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
  await rm(folder, { recursive: true });
});

function clientFor(host: string): RegistryClient {
  const retries = { times: 0, milliseconds: 1 };
  return new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([host]),
    mirrors: new Map(),
    retries,
  });
}

const resolve = (tag: string, platforms: WantedPlatforms): Promise<ResolvedImage> =>
  resolveImage(client, parseReference(`${registry.host}/team/app:${tag}`), platforms);
const digests = (items: { digest: Digest }[]): Digest[] => items.map(({ digest }) => digest);

function plan(
  host: string,
  tag: string,
  using: RegistryClient,
  platforms: WantedPlatforms = "all",
): Promise<Content> {
  const reference = parseReference(`${host}/team/app:${tag}`);
  const request = {
    source: `${host}/team/app:${tag}`,
    reference,
    repository: "other/name",
    tag: "9",
    platforms,
  };
  return planImage(request, using, new DownloadLimits(8));
}

test("an index keeps its digest; only what is asked for is below it", async () => {
  const image = await resolve("index", ["linux/arm64", "linux/riscv64"]);
  assert.equal(image.digest, index.digest);
  assert.deepEqual(digests(image.manifests), [index.digest, arm64.digest]);
  assert.ok(image.manifests[0]?.bytes.equals(index.manifest));
  assert.deepEqual(digests(image.blobs), digests(arm64.blobs));
  assert.deepEqual(image.platforms, ["linux/arm64/v8"]);
  assert.deepEqual(image.missing, ["linux/riscv64"]);
});

test("all: everything, the attestation too", async () => {
  const image = await resolve("index", "all");
  assert.deepEqual(digests(image.manifests), [index.digest, amd64.digest, arm64.digest, attestation.digest]);
  assert.deepEqual(image.platforms, ["linux/amd64", "linux/arm64/v8"]);
  assert.deepEqual(image.missing, []);
});

test("an index in an index, and one that does not tell its platforms", async () => {
  const image = await resolve("nested", ["linux/amd64"]);
  assert.deepEqual(digests(image.manifests), [nested.digest, index.digest, amd64.digest]);
  const other = await resolve("nested", ["linux/s390x"]);
  assert.equal(other.manifests.length, 2);
  assert.deepEqual(digests((await resolve("bare", ["linux/arm64"])).manifests), [bare.digest, arm64.digest]);
});

test("none of the platforms is there: the error names what is", async () => {
  const message = /wanted linux\/riscv64, but its image index names linux\/amd64, linux\/arm64\/v8/;
  for (const tag of ["index", "bare"]) {
    await assert.rejects(resolve(tag, ["linux/riscv64"]), { kind: "upstream", message });
  }
});

test("a single image for another platform: the error names both", async () => {
  const message = /wanted linux\/arm64, but it is for linux\/amd64/;
  await assert.rejects(resolve("amd64", ["linux/arm64"]), { kind: "upstream", message });
  const image = await resolve("amd64", ["linux/arm64", "linux/amd64"]);
  assert.deepEqual([image.platforms, image.missing], [["linux/amd64"], ["linux/arm64"]]);
});

test("an artifact has no platform and is taken as it is", async () => {
  for (const [tag, manifests] of Object.entries({
    artifact: [artifact],
    chartIndex: [chartIndex, artifact],
  })) {
    const image = await resolve(tag, ["linux/arm64"]);
    assert.deepEqual(digests(image.manifests), digests(manifests));
    assert.deepEqual(digests(image.blobs), digests(artifact.blobs));
    assert.deepEqual([image.platforms, image.missing], [[], []]);
  }
});

test("the plan is complete, and filling it gives every byte once", async () => {
  const content = await plan(registry.host, "index", client);
  const layers = [...new Set([amd64, arm64, attestation].flatMap((image) => digests(image.blobs)))].sort();
  const revisions = digests([index, amd64, arm64, attestation]).sort();
  assert.deepEqual(content.repositories, { "other/name": { tags: { 9: index.digest }, revisions, layers } });
  assert.deepEqual(digests(content.blobs).sort(), [...layers, ...revisions].sort());
  assert.deepEqual(content.images?.[0]?.platforms, ["linux/amd64", "linux/arm64/v8"]);
  const has = amd64.digest;
  const sink = memorySink(content, [has]);
  await content.fill(sink);
  assert.deepEqual([...sink.written.keys(), has].sort(), digests(content.blobs).sort());
});

test("the repository at the site is without the upstream's host", () => {
  assert.equal(parseReference("alpine:3.20").repository, "library/alpine");
  assert.equal(parseReference("quay.io/a/b:1").repository, "a/b");
});

/** A server for manifests and blobs made here, whose fault is in `blob`. */
async function serve(
  manifest: TestImage,
  blob: (digest: string, response: import("node:http").ServerResponse) => void,
): Promise<{ host: string; client: RegistryClient }> {
  const server = await startServer((request, response) => {
    const [, kind, name = ""] = /\/(manifests|blobs)\/([^/]+)$/.exec(request.url ?? "") ?? [];
    if (kind === "blobs") return blob(name, response);
    response.writeHead(200, { "content-type": manifest.mediaType }).end(manifest.manifest);
  });
  const using = clientFor(server.host);
  stops.push(server.stop, () => using.close());
  return { host: server.host, client: using };
}

test("a registry that sends other bytes for one blob: that error comes, the other downloads are stopped", async () => {
  const image = makeImage({ layers: [1, 2, 3, 4, 5, 6, 7, 8, 9].map((byte) => Buffer.alloc(2048, byte)) });
  const [config, bad] = image.blobs;
  assert.ok(config && bad);
  const closed: Promise<void>[] = [];
  const served = await serve(image, (digest, response) => {
    const blob = image.blobs.find((one) => one.digest === digest);
    if (digest === config.digest) response.end(config.bytes);
    else if (digest === bad.digest) setTimeout(() => response.end(Buffer.alloc(bad.bytes.length, 1)), 50);
    else {
      // These never end by themselves.
      response.writeHead(200, { "content-length": blob?.bytes.length }).write("x");
      closed.push(new Promise((done) => response.once("close", done)));
    }
  });
  const content = await plan(served.host, "1", served.client);
  await assert.rejects(content.fill(memorySink(content)), {
    kind: "integrity",
    message: new RegExp(bad.digest),
  });
  await Promise.all(closed);
  assert.ok(closed.length > 0 && closed.length < 8, `${closed.length} were begun`);
});

test("a foreign layer that the registry does not hold is left out and named; its URL is not asked", async () => {
  const image = makeImage({ layers: [Buffer.alloc(1024), Buffer.alloc(2048)] });
  const [config, held, foreign] = image.blobs;
  assert.ok(config && held && foreign);
  const json = JSON.parse(image.manifest.toString()) as { layers: { urls?: string[] }[] };
  const elsewhere = await startServer((_, response) => response.end());
  stops.push(elsewhere.stop);
  for (const layer of json.layers) layer.urls = [`http://${elsewhere.host}/1`];
  const served = await serve(asImage(json, ociManifest), (digest, response) => {
    if (digest === foreign.digest) response.writeHead(404).end();
    else response.end(image.blobs.find((one) => one.digest === digest)?.bytes);
  });
  const content = await plan(served.host, "1", served.client);
  assert.deepEqual(content.repositories["other/name"]?.layers, [config.digest, held.digest].sort());
  assert.match(content.leftOut?.[0]?.what ?? "", new RegExp(`: layer ${foreign.digest}$`));
  assert.match(content.leftOut?.[0]?.why ?? "", /^it is foreign/);
  await content.fill(memorySink(content));
  assert.deepEqual(elsewhere.asked, []);
});

test("what a site's registry could not serve is refused by name", async () => {
  const unknown = { mediaType: "application/vnd.oci.artifact.manifest.v1+json", blobs: [] };
  const schema1 = { schemaVersion: 1, fsLayers: [] };
  for (const [json, message] of [
    [unknown, /oci\.artifact\.manifest/],
    [schema1, /schema 1/],
  ] as const) {
    const served = await serve(asImage(json, ""), (_, response) => response.end());
    await assert.rejects(plan(served.host, "1", served.client), { kind: "upstream", message });
  }
});

test("an index that lies about a child's size or type, or a blob listed with two sizes", async () => {
  const lies: Record<string, (json: { manifests: Record<string, unknown>[] }) => void> = {
    size: (json) => Object.assign(json.manifests[0] ?? {}, { size: 1 }),
    type: (json) => Object.assign(json.manifests[0] ?? {}, { mediaType: ociIndex }),
  };
  for (const [name, lie] of Object.entries(lies)) {
    const json = JSON.parse(makeIndex([amd64]).manifest.toString()) as Parameters<typeof lie>[0];
    lie(json);
    await pushImage(registry.host, "team/app", `lie-${name}`, asImage(json, ociIndex, [amd64])).catch(
      () => {},
    );
    await assert.rejects(resolve(`lie-${name}`, "all"), { kind: "integrity" }, name);
  }
  const twice = JSON.parse(amd64.manifest.toString()) as { layers: object[] };
  twice.layers.push({ ...twice.layers[0], size: 1 });
  const served = await serve(asImage(twice, ociManifest), (_, response) =>
    response.end(amd64.blobs[0]?.bytes),
  );
  await assert.rejects(plan(served.host, "1", served.client), { kind: "integrity", message: /listed with/ });
});
