import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { inspect } from "node:util";
import { DrydockError } from "../../src/errors.ts";
import { type Credentials, noCredentials } from "../../src/oci/credentials.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseReference, type Reference } from "../../src/oci/reference.ts";
import { type KeptContent, RegistryClient } from "../../src/oci/registry-client.ts";
import { startFaultyProxy } from "../lab/faulty-proxy.ts";
import { makeArtifact, makeImage, makeIndex, pushImage, type TestImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { type FaultyServer, startServer } from "./faulty-server.ts";

const secret = "S3cret-of-the-test";
const user = { user: "reader", password: secret };
const image = makeImage();
const index = makeIndex([image, makeImage({ platform: "linux/arm64" })]);
let folder: string;
let open: TestRegistry;
let guarded: TestRegistry;
let secure: TestRegistry;
const stops: (() => Promise<void>)[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-client-"));
  stops.push(() => rm(folder, { recursive: true }));
  const certificate = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  const subject = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"];
  await run("openssl", [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    ...subject,
    "-keyout",
    key,
    "-out",
    certificate,
  ]);
  [open, guarded, secure] = await Promise.all([
    startRegistry({ folder }),
    startRegistry({ folder, htpasswd: user }),
    startRegistry({ folder, tls: { certificate, key } }),
  ]);
  stops.push(open.stop, guarded.stop, secure.stop);
  for (const [tag, pushed] of Object.entries({ one: image, all: index, chart: makeArtifact() })) {
    await pushImage(open.host, "library/app", tag, pushed);
  }
  await pushImage(guarded.host, "private/app", "one", image, user);
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

function client(
  options: { plain?: string[]; credentials?: Credentials; mirrors?: [string, string][]; times?: number } = {},
): RegistryClient {
  const made = new RegistryClient({
    credentials: options.credentials ?? noCredentials,
    plainHttp: new Set(options.plain ?? [open.host, guarded.host]),
    mirrors: new Map(options.mirrors ?? []),
    retries: { times: options.times ?? 1, milliseconds: 10 },
  });
  stops.push(() => made.close());
  return made;
}

function credentialsFor(hosts: string[], password = secret): Credentials {
  return {
    forHost: (host) => (hosts.includes(host) ? { kind: "password", user: user.user, password } : undefined),
  };
}

async function server(answer: Parameters<typeof startServer>[0]): Promise<FaultyServer> {
  const started = await startServer(answer);
  stops.push(started.stop);
  return started;
}

async function hashOf(source: AsyncIterable<Uint8Array>): Promise<Digest> {
  const hash = createHash("sha256");
  for await (const chunk of source) hash.update(chunk);
  return `sha256:${hash.digest("hex")}`;
}

/** The error is an expected one, of that kind and text, and gives no secret away. */
async function fails(
  promise: Promise<unknown>,
  kind: string,
  message: RegExp,
  hint?: RegExp,
): Promise<DrydockError> {
  const error = await promise.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof DrydockError, inspect(error));
  assert.equal(error.kind, kind, error.message);
  assert.match(error.message, message);
  if (hint !== undefined) assert.match(error.hint ?? "", hint);
  const encoded = Buffer.from(`${user.user}:${secret}`).toString("base64");
  assert.ok(
    !inspect(error, { depth: 9 }).includes(secret) && !inspect(error, { depth: 9 }).includes(encoded),
  );
  return error;
}

const at = (host: string, rest: string): Reference => parseReference(`${host}/${rest}`);
const firstBlob = (of: TestImage): { digest: Digest; size: number } => {
  const blob = of.blobs[0];
  assert.ok(blob);
  return { digest: blob.digest, size: blob.bytes.length };
};

test("anonymous: manifests by tag and digest, and blobs, byte for byte", async () => {
  const registry = client();
  const fetched = await registry.resolve(at(open.host, "library/app:all"));
  assert.deepEqual([fetched.digest, fetched.mediaType], [index.digest, index.mediaType]);
  assert.ok(fetched.bytes.equals(index.manifest));
  const byDigest = await registry.resolve(at(open.host, `library/app@${image.digest}`));
  assert.ok(byDigest.bytes.equals(image.manifest));
  const child = await registry.manifest(at(open.host, "library/app"), image.digest);
  assert.equal(child.mediaType, image.mediaType);
  const repository = at(open.host, "library/app");
  for (const { digest, bytes } of image.blobs) {
    assert.equal(await hashOf(await registry.blob(repository, { digest, size: bytes.length })), digest);
    assert.equal(await registry.hasBlob(repository, digest), true);
  }
  assert.equal(await registry.hasBlob(repository, digestOf("absent")), false);
});

test("Basic: with credentials it reads, without or with wrong ones it says how to log in", async () => {
  const reference = at(guarded.host, "private/app:one");
  const good = client({ credentials: credentialsFor([guarded.host]) });
  assert.equal((await good.resolve(reference)).digest, image.digest);
  assert.equal(await hashOf(await good.blob(reference, firstBlob(image))), firstBlob(image).digest);
  const login = new RegExp(`docker login ${guarded.host}`);
  await fails(client().resolve(reference), "upstream", /wants credentials.*401/, login);
  const wrong = client({ credentials: credentialsFor([guarded.host], `${secret}x`) });
  await fails(
    wrong.resolve(reference),
    "upstream",
    /refuses the credentials in Docker's config\.json \(401\)/,
    login,
  );
});

test("an absent tag and an absent repository are told apart", async () => {
  const registry = client();
  await fails(
    registry.resolve(at(open.host, "library/app:nine")),
    "upstream",
    /no such tag "nine"/,
    /list-tags/,
  );
  await fails(
    registry.resolve(at(open.host, "library/absent:1")),
    "upstream",
    /no repository "library\/absent"/,
  );
  const absent = digestOf("absent");
  await fails(registry.resolve(at(open.host, `library/app@${absent}`)), "upstream", /no such digest/);
  const blob = registry.blob(at(open.host, "library/app"), { digest: absent, size: 1 });
  await fails(blob, "upstream", /no such blob/);
});

test("a mirror is asked in place of Docker Hub, without the Hub's credentials", async () => {
  const mirror = client({ mirrors: [["docker.io", open.host]] });
  assert.equal((await mirror.resolve(parseReference("app:one"))).digest, image.digest);
  const guardedMirror = client({
    mirrors: [["docker.io", guarded.host]],
    credentials: credentialsFor(["docker.io"]),
  });
  await fails(
    guardedMirror.resolve(parseReference("private/app:one")),
    "upstream",
    /before that: .*wants credentials/,
  );
});

test("mirror and registry each get their own credentials alone, also for the rest of a broken blob", async () => {
  const body = Buffer.alloc(200_000, "blob");
  const wanted: Record<string, string> = {};
  const strict = (name: string, answer: (response: ServerResponse, range: string) => void) =>
    server((request, response) => {
      const { authorization, range = "" } = request.headers;
      const basic = `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;
      if (authorization === basic) answer(response, range);
      else response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    });
  const mirror = await strict("mirror", (response) => {
    response.writeHead(200, { "content-length": body.length });
    response.write(body.subarray(0, 1000), () => response.destroy());
  });
  const home = await strict("home", (response, range) => {
    const start = Number(/=(\d+)/.exec(range)?.[1] ?? 0);
    const part = { "content-range": `bytes ${start}-${body.length - 1}/${body.length}` };
    response.writeHead(start > 0 ? 206 : 200, start > 0 ? part : {}).end(body.subarray(start));
  });
  wanted[mirror.host] = "mirror";
  wanted[home.host] = "home";
  const using = client({
    plain: [mirror.host, home.host],
    mirrors: [[home.host, mirror.host]],
    credentials: {
      forHost: (host) => ({ kind: "password", user: wanted[host] ?? "nobody", password: secret }),
    },
  });
  const blob = { digest: digestOf(body), size: body.length };
  assert.equal(await hashOf(await using.blob(at(home.host, "a"), blob)), blob.digest);
  for (const [{ asked }, name] of [
    [mirror, "mirror"],
    [home, "home"],
  ] as const) {
    const sent = asked.flatMap(({ authorization }) => authorization ?? []);
    const users = sent.map((text) => Buffer.from(text.slice(6), "base64").toString().split(":")[0]);
    assert.deepEqual([...new Set(users)], [name]);
  }
});

test("plain HTTP only where it is named", async () => {
  const strict = client({ plain: [] });
  const reference = at(open.host, "library/app:one");
  await fails(
    strict.resolve(reference),
    "upstream",
    /does not speak TLS/,
    new RegExp(`--plain-http ${open.host}`),
  );
});

test("a certificate that nobody vouches for is refused", async () => {
  await fails(
    client({ plain: [] }).resolve(at(secure.host, "library/app:one")),
    "upstream",
    /cannot reach .*self.signed/i,
    /SSL_CERT_FILE/,
  );
  const plain = client({ plain: [secure.host] }).resolve(at(secure.host, "library/app:one"));
  await fails(plain, "upstream", /answers 400/, /TLS/);
});

test("nobody listens there", async () => {
  const gone = await startServer(() => {});
  await gone.stop();
  const registry = client({ plain: [gone.host] });
  await fails(registry.resolve(at(gone.host, "a:1")), "upstream", /cannot reach 127.*ECONNREFUSED/, /port/);
});

test("a redirect to another origin carries no Authorization, one to the same does", async () => {
  const body = Buffer.from("a layer somewhere else");
  const storage = await server((_, response) => response.end(body));
  const registry = await server((request, response) => {
    const { authorization = "" } = request.headers;
    if (!authorization.startsWith("Basic ")) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else if (request.url?.startsWith("/v2/") === true) {
      response.writeHead(307, { location: "/moved" }).end();
    } else response.writeHead(302, { location: `http://${storage.host}/signed?key=1` }).end();
  });
  const blob = { digest: digestOf(body), size: body.length };
  const credentials = credentialsFor([registry.host, storage.host]);
  const good = client({ plain: [registry.host, storage.host], credentials });
  assert.equal(await hashOf(await good.blob(at(registry.host, "a"), blob)), blob.digest);
  assert.deepEqual(storage.asked, [{ method: "GET", path: "/signed?key=1", authorization: undefined }]);
  assert.equal(registry.asked.at(-1)?.path, "/moved");
  // To a host in plain HTTP that is not named for it: not at all.
  const strict = client({ plain: [registry.host], credentials });
  await fails(
    strict.blob(at(registry.host, "a"), blob),
    "upstream",
    /redirects to .*not over TLS/,
    /--plain-http/,
  );
  assert.equal(storage.asked.length, 1);
});

test("a challenge from where it was redirected to is not answered (CVE-2020-15157)", async () => {
  const thief = await server((_, response) =>
    response.writeHead(401, { "www-authenticate": 'Basic realm="give"' }).end(),
  );
  const registry = await server((_, response) =>
    response.writeHead(307, { location: `http://${thief.host}/` }).end(),
  );
  const credentials = credentialsFor([registry.host, thief.host]);
  const naive = client({ plain: [registry.host, thief.host], credentials });
  await fails(naive.blob(at(registry.host, "a"), firstBlob(image)), "upstream", /401/);
  assert.deepEqual(
    thief.asked.map(({ authorization }) => authorization),
    [undefined],
  );
});

test("redirects that go in a circle end", async () => {
  const circle = await server((request, response) =>
    response.writeHead(307, { location: request.url }).end(),
  );
  await fails(client({ plain: [circle.host] }).resolve(at(circle.host, "a:1")), "upstream", /redirects/);
});

test("a registry that closes in the middle of a blob, each time, ends in an error that names it", async () => {
  const size = 1_000_000;
  const closing = await server((_, response) => {
    response.writeHead(200, { "content-length": size });
    response.write(Buffer.alloc(size / 2), () => response.destroy());
  });
  const { digest } = firstBlob(image);
  const registry = client({ plain: [closing.host] });
  const reading = registry.blob(at(closing.host, "team/app"), { digest, size }).then(hashOf);
  const error = await fails(reading, "upstream", /broke off/);
  for (const part of [closing.host, "team/app", digest])
    assert.ok(error.message.includes(part), error.message);
});

test("a registry that resets once, or is busy once, is asked again", async () => {
  let times = 0;
  const flaky = await server((request, response) => {
    times += 1;
    if (times === 1) request.socket.resetAndDestroy();
    else if (times === 2) response.writeHead(503).end("busy");
    else response.writeHead(200, { "content-type": image.mediaType }).end(image.manifest);
  });
  const registry = client({ plain: [flaky.host], times: 3 });
  assert.equal((await registry.resolve(at(flaky.host, "a:1"))).digest, image.digest);
  assert.equal(times, 3);
});

test("a registry that is always busy is given up, in its own words", async () => {
  const busy = await server((_, response) =>
    response.writeHead(429).end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow\\u001b[31m down"}]}'),
  );
  const registry = client({ plain: [busy.host], times: 2 });
  await fails(registry.resolve(at(busy.host, "a:1")), "upstream", /429 \(TOOMANYREQUESTS: slow \[31m down\)/);
  assert.equal(busy.asked.length, 3);
});

test("a registry that sends a manifest of other bytes than the digest says", async () => {
  const lying = await server((request, response) => {
    const headers: Record<string, string> = { "content-type": image.mediaType };
    if (request.url?.endsWith("/tagged") === true) headers["docker-content-digest"] = index.digest;
    response.writeHead(200, headers).end(image.manifest);
  });
  const registry = client({ plain: [lying.host] });
  await fails(registry.resolve(at(lying.host, "a:tagged")), "integrity", /announces/);
  await fails(registry.resolve(at(lying.host, `a@${index.digest}`)), "integrity", /the bytes that/);
});

test("a registry that announces another length than the descriptor", async () => {
  const { digest, size } = firstBlob(image);
  const blob = client().blob(at(open.host, "library/app"), { digest, size: size + 1 });
  await fails(blob, "integrity", new RegExp(`wanted ${size + 1} bytes, .* announces ${size}`));
});

test("a registry whose manifest never ends is cut off", async () => {
  const endless = await server((_, response) => {
    response.writeHead(200);
    const more = (): void => {
      while (response.write(Buffer.alloc(65536, 32)));
      response.once("drain", more);
    };
    more();
  });
  await fails(
    client({ plain: [endless.host] }).resolve(at(endless.host, "a:1")),
    "upstream",
    /over \d+ bytes/,
  );
});

test("a download that is aborted ends with the reason", async () => {
  const slow = await server((_, response) => {
    response.writeHead(200, { "content-length": 100 });
    response.write("begun");
  });
  const stop = new AbortController();
  const registry = client({ plain: [slow.host] });
  const { digest } = firstBlob(image);
  const source = await registry.blob(at(slow.host, "a"), { digest, size: 100 }, { signal: stop.signal });
  const reason = new Error("enough");
  setTimeout(() => stop.abort(reason), 20);
  await assert.rejects(hashOf(source), (error) => error === reason);
});

test("what is here is not pulled: a tag is asked for its digest, and one that has moved is fetched", async () => {
  const before = makeImage({ files: { version: "1" } });
  const now = makeImage({ files: { version: "2" } });
  await pushImage(open.host, "library/app", "moving", before);
  const line = await startFaultyProxy(open.host);
  stops.push(line.stop);
  const here = new Map([[before.digest, before.manifest]]);
  const kept: KeptContent = {
    isEmpty: false,
    read: async (digest) => here.get(digest),
    add: async (digest, bytes) => void here.set(digest, bytes),
  };
  const made = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set([line.host]),
    mirrors: new Map(),
    kept,
  });
  stops.push(() => made.close());
  const asked = () => line.asked.splice(0).map(({ method }) => method);
  const moving = parseReference(`${line.host}/library/app:moving`);
  assert.deepEqual((await made.resolve(moving)).bytes, before.manifest);
  assert.equal((await made.resolve(moving)).mediaType, before.mediaType);
  assert.deepEqual(asked(), ["HEAD", "HEAD"]);
  assert.equal((await made.manifest(moving, before.digest)).digest, before.digest);
  assert.deepEqual(asked(), []);

  await pushImage(open.host, "library/app", "moving", now);
  assert.equal((await made.resolve(moving)).digest, now.digest);
  assert.deepEqual(asked(), ["HEAD", "GET"]);
  assert.deepEqual(here.get(now.digest), now.manifest);
  assert.equal(await made.find(moving, "none"), undefined);
});
