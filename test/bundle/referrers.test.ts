/**
 * What refers to an image: by the tag schema and cosign's tags from a real registry, which is of the version
 * 2.8 and has no API for it; by that API from a fake one in front of it.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { DownloadLimits } from "../../src/bundle/download-limits.ts";
import { planImage } from "../../src/bundle/image-source.ts";
import { type ResolvedImage, resolveImage, type WantedPlatforms } from "../../src/bundle/resolve-image.ts";
import { noCredentials } from "../../src/oci/credentials.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { ociIndex, ociManifest } from "../../src/oci/media-types.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { makeArtifact, makeImage, makeIndex, pushImage, type TestImage } from "../lab/images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { startServer } from "../oci/faulty-server.ts";
import { memorySink } from "./memory-sink.ts";

const amd64 = makeImage({ files: { "a.txt": "amd64" } });
const arm64 = makeImage({ platform: "linux/arm64", files: { "a.txt": "arm64" } });
const index = makeIndex([amd64, arm64]);
const sbom = referrer(index, "application/spdx+json", "an SBOM");
const sbomSignature = referrer(sbom, "application/vnd.test.signature", "of the SBOM");
const imageSignature = referrer(amd64, "application/vnd.test.signature", "of the image");
const cosigned = makeImage({ files: { sig: "as cosign puts it" } });
let folder: string;
let registry: TestRegistry;
const stops: (() => Promise<void>)[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-referrers-"));
  registry = await startRegistry({ folder });
  stops.push(() => rm(folder, { recursive: true }), registry.stop);
  await pushImage(registry.host, "team/app", "1", index);
  for (const [subject, one] of [
    [index, sbom],
    [sbom, sbomSignature],
    [amd64, imageSignature],
  ] as const) {
    await pushImage(registry.host, "team/app", tagOf(subject), listOf([one]));
  }
  await pushImage(registry.host, "team/app", `${tagOf(amd64)}.sig`, cosigned);
  for (const one of [sbom, sbomSignature, imageSignature]) {
    await pushImage(registry.host, "team/api", one.digest, one);
  }
  await pushImage(registry.host, "team/api", "1", index);
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

function tagOf(image: TestImage): string {
  return `sha256-${hexOf(image.digest)}`;
}

function asImage(json: object, mediaType: string, children: TestImage[] = []): TestImage {
  const manifest = Buffer.from(JSON.stringify(json));
  return { mediaType, manifest, digest: digestOf(manifest), blobs: [], children };
}

function referrer(subject: TestImage, artifactType: string, content: string): TestImage {
  const plain = makeArtifact({ artifactType, contents: [content] });
  const json = JSON.parse(plain.manifest.toString()) as object;
  const { mediaType, digest, manifest } = subject;
  const bound = asImage({ ...json, subject: { mediaType, digest, size: manifest.length } }, ociManifest);
  return { ...bound, blobs: plain.blobs };
}

function listOf(images: TestImage[]): TestImage {
  const manifests = images.map(({ mediaType, digest, manifest }) => ({
    mediaType,
    digest,
    size: manifest.length,
    artifactType: "application/vnd.test",
  }));
  return asImage({ schemaVersion: 2, mediaType: ociIndex, manifests }, ociIndex, images);
}

function clientFor(host: string): RegistryClient {
  const client = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([host]),
    mirrors: new Map(),
    retries: { times: 0, milliseconds: 1 },
  });
  stops.push(() => client.close());
  return client;
}

async function resolve(
  host: string,
  name: string,
  platforms: WantedPlatforms,
  referrers = true,
): Promise<ResolvedImage> {
  return await resolveImage(clientFor(host), parseReference(`${host}/${name}`), platforms, { referrers });
}
const digests = (items: { digest: Digest }[]): Digest[] => items.map(({ digest }) => digest);

test("by tags: all that refers to what is taken, with the tags themselves", async () => {
  const image = await resolve(registry.host, "team/app:1", ["linux/amd64"]);
  const lists = [listOf([sbom]), listOf([sbomSignature]), listOf([imageSignature])];
  const found = [sbom, sbomSignature, imageSignature, cosigned, ...lists];
  assert.deepEqual(digests(image.manifests).slice(0, 2), digests([index, amd64]));
  assert.deepEqual(digests(image.manifests).slice(2).sort(), digests(found).sort());
  assert.deepEqual(image.tags, {
    [tagOf(index)]: lists[0]?.digest,
    [tagOf(sbom)]: lists[1]?.digest,
    [tagOf(amd64)]: lists[2]?.digest,
    [`${tagOf(amd64)}.sig`]: cosigned.digest,
  });
  const blobs = [amd64, sbom, sbomSignature, imageSignature, cosigned].flatMap((one) => digests(one.blobs));
  assert.deepEqual(digests(image.blobs).sort(), [...new Set(blobs)].sort());
  assert.deepEqual([image.platforms, image.leftOut], [["linux/amd64"], []]);
  assert.deepEqual((await resolve(registry.host, "team/app:1", ["linux/amd64"], false)).tags, {});
});

test("as content: its tags and revisions, and every byte of it", async () => {
  const host = registry.host;
  const reference = parseReference(`${host}/team/app:1`);
  const request = { source: "app", reference, repository: "team/app", tag: "1", platforms: ["linux/amd64"] };
  const content = await planImage({ ...request, referrers: true }, clientFor(host), new DownloadLimits(4));
  const { tags = {}, revisions = [] } = content.repositories["team/app"] ?? {};
  assert.equal(tags["1"], index.digest);
  assert.equal(tags[`${tagOf(amd64)}.sig`], cosigned.digest);
  assert.ok(revisions.includes(sbomSignature.digest));
  const sink = memorySink(content);
  await content.fill(sink);
  assert.deepEqual([...sink.written.keys()].sort(), digests(content.blobs).sort());
});

/** What a registry 2.8 lacks: GET /v2/NAME/referrers/DIGEST, here with one entry a page. All else is the real one's. */
async function startFakeReferrersApi(referrers: Map<Digest, TestImage[]>): Promise<string> {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? "/", "http://x");
    const [, digest] = /\/referrers\/(.*)$/.exec(url.pathname) ?? [];
    if (digest === undefined) {
      const real = await fetch(`http://${registry.host}${url.pathname}`, {
        headers: { accept: request.headers.accept ?? "" },
      });
      const type = real.headers.get("content-type") ?? "";
      return void response
        .writeHead(real.status, { "content-type": type })
        .end(Buffer.from(await real.arrayBuffer()));
    }
    const all = referrers.get(digest as Digest) ?? [];
    const page = Number(url.searchParams.get("page") ?? 0);
    const link = { link: `<${url.pathname}?page=${page + 1}>; rel="next"` };
    const headers = { "content-type": ociIndex, ...(page + 1 < all.length ? link : {}) };
    response.writeHead(200, headers).end(listOf(all.slice(page, page + 1)).manifest);
  };
  const server = await startServer((request, response) => void answer(request, response));
  stops.push(server.stop);
  return server.host;
}

test("by the API, page by page: the tag that a registry without it needs is made", async () => {
  const absent = makeArtifact({ contents: ["not there"] });
  const apiFor = (of: TestImage[]): Promise<string> =>
    startFakeReferrersApi(
      new Map([
        [index.digest, of],
        [sbom.digest, [sbomSignature]],
      ]),
    );
  const one = await resolve(await apiFor([sbom, imageSignature, absent]), "team/api:1", ["linux/amd64"]);
  const other = await resolve(await apiFor([imageSignature, sbom]), "team/api:1", ["linux/amd64"]);
  assert.deepEqual(one.tags, other.tags, "the same whatever the order");
  assert.deepEqual(Object.keys(one.tags), [tagOf(index), tagOf(sbom)].sort());
  const made = one.manifests.find(({ digest }) => digest === one.tags[tagOf(index)]);
  const { manifests } = JSON.parse(made?.bytes.toString() ?? "") as { manifests: Record<string, unknown>[] };
  assert.equal(made?.mediaType, ociIndex);
  const carried = [sbom, imageSignature].map(({ mediaType, digest, manifest }) => ({
    mediaType,
    digest,
    size: manifest.length,
    artifactType: "application/vnd.test",
  }));
  assert.deepEqual(
    manifests,
    carried.toSorted((a, b) => (a.digest < b.digest ? -1 : 1)),
  );
  assert.deepEqual(one.leftOut, [{ what: `referrer ${absent.digest}`, why: "it is listed, but not there" }]);
  // What it makes, the real registry of a site takes.
  assert.ok(made);
  const image = { mediaType: ociIndex, digest: made.digest, manifest: made.bytes, blobs: [] };
  assert.equal(await pushImage(registry.host, "team/api", tagOf(index), image), made.digest);
});

test("referrers that refer to one another end; a list that lies about a size is refused", async () => {
  const circle = new Map([
    [index.digest, [sbom]],
    [sbom.digest, [sbomSignature]],
    [sbomSignature.digest, [sbom]],
  ]);
  const image = await resolve(await startFakeReferrersApi(circle), "team/api:1", ["linux/amd64"]);
  assert.equal(Object.keys(image.tags).length, 3);
  const lying = { ...sbom, manifest: Buffer.concat([sbom.manifest, Buffer.from(" ")]) };
  const host = await startFakeReferrersApi(new Map([[index.digest, [lying]]]));
  await assert.rejects(resolve(host, "team/api:1", ["linux/amd64"]), {
    kind: "integrity",
    message: /is listed with/,
  });
});

test("attestations in the index that are of what is taken come too", async () => {
  const attestations = [amd64, arm64].map((of) => makeArtifact({ contents: [`attests ${of.digest}`] }));
  const json = JSON.parse(makeIndex([amd64, arm64, ...attestations]).manifest.toString()) as {
    manifests: Record<string, unknown>[];
  };
  for (const [at, of] of [amd64, arm64].entries()) {
    Object.assign(json.manifests[at + 2] ?? {}, {
      platform: { os: "unknown", architecture: "unknown" },
      annotations: {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": of.digest,
      },
    });
  }
  const attested = asImage(json, ociIndex, [amd64, arm64, ...attestations]);
  await pushImage(registry.host, "team/attested", "1", attested);
  const taken = await resolve(registry.host, "team/attested:1", ["linux/arm64"]);
  assert.deepEqual(digests(taken.manifests), [
    attested.digest,
    arm64.digest,
    ...digests(attestations.slice(1)),
  ]);
  const without = await resolve(registry.host, "team/attested:1", ["linux/arm64"], false);
  assert.equal(without.manifests.length, 2);
});

test("a child of a media type that no registry serves is left out and named", async () => {
  const unknown = "application/vnd.oci.artifact.manifest.v1+json";
  const json = JSON.parse(index.manifest.toString()) as { manifests: object[] };
  const digest = digestOf("an old artifact");
  json.manifests.push({ mediaType: unknown, digest, size: 15 });
  const server = await startServer((request, response) => {
    const mixed = asImage(json, ociIndex);
    const child = [amd64, arm64].find((one) => request.url?.includes(one.digest));
    const { mediaType, manifest } = child ?? mixed;
    response.writeHead(200, { "content-type": mediaType }).end(manifest);
  });
  stops.push(server.stop);
  const image = await resolve(server.host, "a:1", "all", false);
  assert.equal(image.manifests.length, 3);
  const why = `a registry does not serve its media type "${unknown}"`;
  assert.deepEqual(image.leftOut, [{ what: digest, why }]);
});

test("layers of zstd and Docker's media types are carried as they are", async () => {
  const plain = makeImage();
  const config = plain.blobs[0];
  const zstd = zstdCompressSync(Buffer.alloc(4096, "layer"));
  assert.ok(config);
  const of = (mediaType: string, bytes: Buffer): object => {
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const made = asImage(
    {
      schemaVersion: 2,
      mediaType: ociManifest,
      config: of("application/vnd.oci.image.config.v1+json", config.bytes),
      layers: [of("application/vnd.oci.image.layer.v1.tar+zstd", zstd)],
    },
    ociManifest,
  );
  const blobs = [config, { digest: digestOf(zstd), bytes: zstd }];
  const docker = makeIndex([makeImage({ docker: true })], { docker: true });
  await pushImage(registry.host, "team/kinds", "zstd", { ...made, blobs });
  await pushImage(registry.host, "team/kinds", "docker", docker);
  const image = await resolve(registry.host, "team/kinds:zstd", ["linux/amd64"]);
  assert.deepEqual(digests(image.blobs), digests(blobs));
  assert.equal((await resolve(registry.host, "team/kinds:docker", ["linux/amd64"])).digest, docker.digest);
});
