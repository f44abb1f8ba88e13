/** Mirrors: real registries, and a server for what they don't show. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { noCredentials } from "../../src/oci/credentials.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseReference, type Reference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { joinMirrors } from "../../src/oci/registry-hosts.ts";
import { makeImage, pushImage } from "../lab/images.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { type FaultyServer, startServer } from "./faulty-server.ts";

const image = makeImage();
const other = makeImage({ files: { "a.txt": "other" } });
let folder: string;
let home: TestRegistry;
let second: TestRegistry;
const stops: (() => Promise<void>)[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-mirrors-"));
  stops.push(() => rm(folder, { recursive: true }));
  [home, second] = await Promise.all([startRegistry({ folder }), startRegistry({ folder })]);
  stops.push(home.stop, second.stop);
  await pushImage(home.host, "team/app", "1", image);
  await pushImage(second.host, "team/app", "2", other);
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

async function server(answer: Parameters<typeof startServer>[0]): Promise<FaultyServer> {
  const started = await startServer(answer);
  stops.push(started.stop);
  return started;
}

function client(mirrors: string[], notes: string[] = []): RegistryClient {
  const made = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([home.host, ...mirrors]),
    mirrors: new Map([[home.host, mirrors]]),
    retries: { times: 1, milliseconds: 1 },
    note: (text) => notes.push(text),
  });
  stops.push(() => made.close());
  return made;
}

const at = (rest: string): Reference => parseReference(`${home.host}/team/app${rest}`);
const [config] = image.blobs;
assert.ok(config);
const descriptor = { digest: config.digest, size: config.bytes.length };
const contentOf = async (source: AsyncIterable<Uint8Array>): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(source));

test("in order: one that lacks it, one that has it, and the registry itself", async () => {
  const empty = await server((_, response) => response.writeHead(404).end());
  const using = client([empty.host, second.host]);
  assert.equal((await using.resolve(at(":2"))).digest, other.digest);
  assert.equal((await using.resolve(at(":1"))).digest, image.digest);
  assert.ok((await contentOf(await using.blob(at(":1"), descriptor))).equals(config.bytes));
  assert.equal(await using.hasBlob(at(":1"), config.digest), true);
  assert.equal(await using.hasBlob(at(":1"), digestOf("absent")), false);
  assert.ok(empty.asked.length >= 4);
  await assert.rejects(using.resolve(at(":3")), { message: /no such tag "3"; before that: .*no repository/ });
});

test("one that does not answer is asked once, and it is said", async () => {
  const gone = await startServer(() => {});
  await gone.stop();
  const busy = await server((_, response) => response.writeHead(503).end());
  const notes: string[] = [];
  const using = client([gone.host, busy.host], notes);
  for (let time = 0; time < 3; time += 1) {
    assert.equal((await using.resolve(at(":1"))).digest, image.digest);
    assert.equal(using.hostFor(home.host), home.host);
  }
  assert.equal(busy.asked.length, 2);
  assert.deepEqual(
    notes.map((note) => /(cannot reach|answers 503).*; asking (\S+) from now on$/.exec(note)?.slice(1)),
    [
      ["cannot reach", busy.host],
      ["answers 503", home.host],
    ],
  );
});

test("one that breaks off for good in a blob: another goes on at that byte", async () => {
  const layer = Buffer.alloc(900_000, "drydock ");
  const large = makeImage({ layers: [layer] });
  const bytes = Buffer.concat([Buffer.from("x".repeat(400_000)), layer]);
  const blob = { digest: digestOf(bytes), size: bytes.length };
  const breaking = await server((_, response) => {
    response.writeHead(200, { "content-length": bytes.length, etag: '"a"' });
    response.write(bytes.subarray(0, 100_000), () => response.destroy());
  });
  const ranges: (string | undefined)[] = [];
  const whole = await server((request, response) => {
    const { range } = request.headers;
    ranges.push(range);
    const start = Number(/bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    response
      .writeHead(206, { "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` })
      .end(bytes.subarray(start));
  });
  assert.notEqual(large.digest, image.digest);
  const using = client([breaking.host, whole.host]);
  assert.ok((await contentOf(await using.blob(at(":1"), blob))).equals(bytes));
  assert.match(ranges[0] ?? "", /^bytes=[1-9]\d*-$/);
});

test("other bytes than a digest says are an error, also from a mirror", async () => {
  const lying = await server((_, response) =>
    response.writeHead(200, { "content-type": other.mediaType }).end(other.manifest),
  );
  const pinned = client([lying.host]).resolve(at(`@${image.digest}`));
  await assert.rejects(pinned, { kind: "integrity" });
  // A tag is what the mirror says it is.
  assert.equal((await client([lying.host]).resolve(at(":1"))).digest, other.digest);
  const unsure = await server((_, response) =>
    response
      .writeHead(200, { "content-type": other.mediaType, "docker-content-digest": image.digest })
      .end(other.manifest),
  );
  assert.equal((await client([unsure.host]).resolve(at(":1"))).digest, image.digest);
});

test("the option's mirrors come before the manifest's, each once", () => {
  const joined = joinMirrors(
    new Map([["docker.io", "b"]]),
    new Map([
      ["docker.io", ["a", "b"]],
      ["quay.io", ["c"]],
    ]),
  );
  assert.deepEqual(
    [...joined],
    [
      ["docker.io", ["b", "a"]],
      ["quay.io", ["c"]],
    ],
  );
});
