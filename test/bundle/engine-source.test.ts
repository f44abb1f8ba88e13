import assert from "node:assert/strict";
import { lstat, mkdir, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, beforeEach, test } from "node:test";
import { gunzipSync, gzipSync, zstdCompressSync } from "node:zlib";
import Dockerode from "dockerode";
import type { Content } from "../../src/bundle/content.ts";
import { planEngineImage } from "../../src/bundle/engine-source.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { parseImageManifest } from "../../src/oci/image-manifest.ts";
import { makeImage, makeLayer, type TestImage } from "../lab/images.ts";
import { startService, waitFor } from "../lab/process.ts";

const layers = [
  makeLayer([{ path: "base.txt", content: Buffer.alloc(3_000_000, "base ") }]),
  makeLayer([{ path: "{braces}.txt", content: "a name that begins as JSON does" }]),
];
const [base, braces] = layers;
assert.ok(base && braces);
const image = makeImage({ layers: [base, braces, base], docker: true, cmd: ["/hello"] });
const stops: (() => Promise<unknown>)[] = [];
let folder: string;
let spool: string;
let docker: Dockerode;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-engine-"));
  stops.push(() => rm(folder, { recursive: true, force: true }));
  const socket = join(folder, "docker.sock");
  // In a mount namespace of its own: where mounts are private, it leaves its data mounted over itself.
  const service = await startService(
    "unshare",
    [
      "--mount",
      "dockerd",
      `--data-root=${folder}/data`,
      `--exec-root=${folder}/run`,
      `--host=unix://${socket}`,
      `--pidfile=${folder}/docker.pid`,
      "--bridge=none",
      "--iptables=false",
    ],
    { log: join(folder, "dockerd.log"), patienceSeconds: 30 },
  );
  stops.push(service.stop);
  docker = new Dockerode({ socketPath: socket });
  await waitFor("the engine", service, 60, () =>
    docker.ping().then(
      () => true,
      () => undefined,
    ),
  );
  await load(archiveOf(image, [`my/app:dev`]));
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});
beforeEach(async () => {
  spool = join(folder, "spool");
  await rm(spool, { recursive: true, force: true });
  await mkdir(spool);
});

/** What `docker save` of Docker 25 and later gives: layers and config as blobs of an OCI layout. */
function archiveOf(
  saved: TestImage,
  tags: string[],
  pack: (tar: Buffer) => Buffer = (tar) => tar,
  change: (entries: { path: string; content: Buffer }[]) => void = () => {},
): Buffer {
  const [config, ...gzipped] = saved.blobs;
  assert.ok(config);
  const contents = [config.bytes, ...gzipped.map(({ bytes }) => pack(gunzipSync(bytes)))];
  const paths = contents.map((bytes) => `blobs/sha256/${hexOf(digestOf(bytes))}`);
  const [Config, ...Layers] = paths;
  const entries = new Map(
    contents.map((content, at) => [paths[at] ?? "", { path: paths[at] ?? "", content }]),
  );
  const description = Buffer.from(JSON.stringify([{ Config, RepoTags: tags, Layers }]));
  const all = [
    ...entries.values(),
    { path: "index.json", content: Buffer.from("{}") },
    { path: "manifest.json", content: description },
    { path: "oci-layout", content: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
  ];
  change(all);
  return makeLayer([{ path: "blobs" }, { path: "blobs/sha256" }, ...all]);
}

async function load(archive: Buffer): Promise<void> {
  const answer = await docker.loadImage(Readable.from([archive]));
  const text = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString();
  assert.doesNotMatch(text, /error/i);
}

function plan(engine = docker, name = "my/app:dev", platform?: string): Promise<Content> {
  const request = { source: `docker-daemon:${name}`, name, repository: "my/app", tag: "dev" };
  return planEngineImage(platform === undefined ? request : { ...request, platform }, engine, spool);
}

/** An engine that gives this archive: for layouts and faults that Docker 20.10 does not show. */
function fakeEngine(archive: Iterable<Buffer> | AsyncIterable<Buffer>): Dockerode {
  const fake = { getImage: () => ({ inspect: async () => ({}), get: async () => Readable.from(archive) }) };
  return fake as unknown as Dockerode;
}

/** Fills and disposes; checks every blob against its digest and the image manifest against the image. */
async function check(content: Content): Promise<Map<Digest, Buffer>> {
  const written = new Map<Digest, Buffer>();
  await content.fill({
    wants: (digest) => !written.has(digest),
    begun: () => ({ bytes: 0, lead: 0 }),
    async write(digest, source) {
      const bytes = Buffer.concat(await Array.fromAsync(source));
      assert.equal(digestOf(bytes), digest);
      written.set(digest, bytes);
    },
  });
  assert.deepEqual(
    [...written.keys()],
    content.blobs.map(({ digest }) => digest),
  );
  for (const { digest, size } of content.blobs) assert.equal(written.get(digest)?.length, size);
  const added = content.repositories["my/app"];
  const manifest = written.get(added?.tags.dev ?? "sha256:");
  assert.ok(added && manifest);
  const parsed = parseImageManifest(manifest, undefined, "test");
  assert.equal(parsed.config?.digest, image.blobs[0]?.digest);
  const unpacked = parsed.blobs
    .slice(1)
    .map(({ digest }) => gunzipSync(written.get(digest) ?? Buffer.alloc(0)));
  assert.deepEqual(
    unpacked.map(digestOf),
    [base, braces, base].map((tar) => digestOf(tar ?? "")),
  );
  assert.deepEqual(added.layers, [...new Set(parsed.blobs.map(({ digest }) => digest))].sort());
  await content.dispose?.();
  assert.deepEqual(await readdir(spool), []);
  return written;
}

test("a real engine's image: the config as it is, the layers gzipped, one that stands twice once", async () => {
  const content = await plan();
  const [made] = await readdir(spool);
  assert.equal((await lstat(join(spool, made ?? ""))).mode & 0o777, 0o700);
  assert.equal(content.blobs.length, 4);
  assert.deepEqual(content.images?.[0]?.platforms, ["linux/amd64"]);
  await check(content);
});

test("the same image gives the same bytes, from either layout, however the layers were packed", async () => {
  const first = [...(await check(await plan())).keys()];
  for (const pack of [(tar: Buffer) => tar, (tar: Buffer) => gzipSync(tar, { level: 1 }), zstdCompressSync]) {
    const content = await plan(fakeEngine([archiveOf(image, ["my/app:dev"], pack)]));
    assert.deepEqual([...(await check(content)).keys()], first);
  }
});

test("an archive that comes in small pieces", async () => {
  const archive = archiveOf(image, []);
  const pieces = Array.from({ length: Math.ceil(archive.length / 700) }, (_, at) =>
    archive.subarray(at * 700, (at + 1) * 700),
  );
  await check(await plan(fakeEngine(pieces)));
});

test("no such image, another platform, no engine", async () => {
  await assert.rejects(plan(docker, "my/absent:1"), {
    kind: "upstream",
    message: /"my\/absent:1".*no such image/,
  });
  const message = /wanted linux\/arm64, but it is for linux\/amd64/;
  await assert.rejects(plan(docker, "my/app:dev", "linux/arm64"), { kind: "upstream", message });
  const nobody = new Dockerode({ socketPath: join(folder, "nobody.sock") });
  await assert.rejects(plan(nobody), { kind: "upstream", message: /no engine answers/, hint: /DOCKER_HOST/ });
  assert.deepEqual(await readdir(spool), []);
});

test("broken archives are refused, and leave no spool", async () => {
  const whole = archiveOf(image, []);
  async function* brokenOff(): AsyncGenerator<Buffer> {
    yield whole.subarray(0, 1_000_000);
    throw new Error("socket hang up");
  }
  const changed = (change: Parameters<typeof archiveOf>[3]): Buffer[] => [
    archiveOf(image, [], undefined, change),
  ];
  const broken: Record<string, [Iterable<Buffer> | AsyncIterable<Buffer>, string, RegExp]> = {
    "broken off": [brokenOff(), "upstream", /broke off: socket hang up/],
    truncated: [[whole.subarray(0, 1_000_000)], "upstream", /Truncated/],
    "no tar": [[Buffer.alloc(4096, "x")], "upstream", /checksum|TAR/i],
    "without manifest.json": [changed((all) => all.splice(-2, 1)), "upstream", /lacks manifest.json/],
    "without a layer": [changed((all) => all.splice(1, 1)), "upstream", /lacks the layer/],
    "without the config": [changed((all) => all.splice(0, 1)), "upstream", /lacks the config/],
    "a layer twice": [changed((all) => all.push(...all.slice(1, 2))), "upstream", /stands in it twice/],
    "other bytes in a layer": [
      changed((all) =>
        Object.assign(all[1] ?? {}, { content: makeLayer([{ path: "other", content: "x" }]) }),
      ),
      "integrity",
      /layer 1 is sha256:/,
    ],
  };
  for (const [name, [archive, kind, message]] of Object.entries(broken)) {
    await assert.rejects(plan(fakeEngine(archive)), { kind, message }, name);
    assert.deepEqual(await readdir(spool), [], name);
  }
});

test("a spool folder that can't be written", async () => {
  await rm(spool, { recursive: true });
  await assert.rejects(plan(), { kind: "host" });
  await mkdir(spool);
  assert.ok((await stat(spool)).isDirectory());
});
