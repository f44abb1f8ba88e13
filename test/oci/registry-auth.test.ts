/**
 * Bearer tokens: a real registry that takes only tokens signed by a small token server here, as
 * distribution's docs/spec/auth describes it.
 */
import assert from "node:assert/strict";
import { createPrivateKey, sign, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { stringify } from "yaml";
import { DrydockError } from "../../src/errors.ts";
import { type Credential, noCredentials } from "../../src/oci/credentials.ts";
import { parseReference, type Reference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { makeImage, pushImage } from "../lab/images.ts";
import { run, startService, waitFor } from "../lab/process.ts";
import { startRegistry } from "../lab/registry.ts";
import { startServer } from "./faulty-server.ts";

const image = makeImage();
const password = "S3cret-of-the-test";
const basic = `Basic ${Buffer.from(`reader:${password}`).toString("base64")}`;
const stops: (() => Promise<void>)[] = [];
let folder: string;
let tokenHost: string;
let registryHost: string;
/** what the token server was asked */
let asked: {
  method: string;
  query: URLSearchParams;
  authorization: string | undefined;
  body: URLSearchParams;
}[];
/** how long its tokens live, in seconds */
let life = 300;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-auth-"));
  stops.push(() => rm(folder, { recursive: true }));
  const args = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens"];
  await run("openssl", [
    "req",
    "-x509",
    ...args,
    "-keyout",
    join(folder, "key.pem"),
    "-out",
    join(folder, "cert.pem"),
  ]);
  const open = await startRegistry({ folder, storage: join(folder, "storage") });
  await pushImage(open.host, "team/app", "1", image);
  await open.stop();
  tokenHost = await startTokenServer();
  registryHost = await startTokenRegistry("registry", `http://${tokenHost}/token`);
});
beforeEach(() => {
  asked = [];
  life = 300;
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

/** Anonymous may read "team/…"; wrong credentials may not do anything. */
async function startTokenServer(): Promise<string> {
  const key = createPrivateKey(await readFile(join(folder, "key.pem")));
  const chain = [new X509Certificate(await readFile(join(folder, "cert.pem"))).raw.toString("base64")];
  const server = createServer(async (request, response) => {
    const query = new URL(request.url ?? "/", "http://x").searchParams;
    const body = new URLSearchParams(await textOf(request));
    const { authorization } = request.headers;
    asked.push({ method: request.method ?? "", query, authorization, body });
    const good =
      authorization === undefined
        ? request.method === "GET" || body.get("refresh_token") === "refresh"
        : authorization === basic;
    if (!good) return void response.writeHead(401).end("{}");
    const [type, name, actions] = (query.get("scope") ?? body.get("scope") ?? "").split(":");
    const now = Math.floor(Date.now() / 1000);
    const times = { iat: now - 5, nbf: now - 5, exp: now + life };
    const access = [{ type, name, actions: actions?.split(",") }];
    const claims = { iss: "tokens", sub: "", aud: "registry", jti: `${asked.length}`, ...times, access };
    const text = [{ typ: "JWT", alg: "RS256", x5c: chain }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
      .join(".");
    const token = `${text}.${sign("sha256", Buffer.from(text), key).toString("base64url")}`;
    response.end(JSON.stringify(request.method === "POST" ? { access_token: token } : { token }));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  stops.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return `127.0.0.1:${address.port}`;
}

async function textOf(request: IncomingMessage): Promise<string> {
  return Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>)).toString("utf8");
}

async function startTokenRegistry(name: string, realm: string): Promise<string> {
  const config = join(folder, `${name}.yml`);
  const token = { realm, service: "registry", issuer: "tokens", rootcertbundle: join(folder, "cert.pem") };
  await writeFile(
    config,
    stringify({
      version: 0.1,
      storage: { filesystem: { rootdirectory: join(folder, "storage") } },
      http: { addr: "127.0.0.1:0", secret: "x" },
      auth: { token },
    }),
  );
  const service = await startService("docker-registry", ["serve", config], {
    log: join(folder, `${name}.log`),
  });
  stops.push(service.stop);
  const port = await waitFor(
    "the registry",
    service,
    20,
    async () => /listening on [^"]*:(\d+)/.exec(await service.readLog())?.[1],
  );
  return `127.0.0.1:${port}`;
}

function client(
  host: string,
  credential?: Credential,
  plain = [host, tokenHost],
  tokenServers: Record<string, string> = {},
): RegistryClient {
  const credentials =
    credential === undefined
      ? noCredentials
      : { forHost: (of: string) => (of === host ? credential : undefined) };
  const made = new RegistryClient({
    credentials,
    plainHttp: new Set(plain),
    mirrors: new Map(),
    tokenServers: new Map(Object.entries(tokenServers)),
  });
  stops.push(() => made.close());
  return made;
}

const app = (host: string): Reference => parseReference(`${host}/team/app:1`);
const good: Credential = { kind: "password", user: "reader", password };

async function upstreamError(promise: Promise<unknown>): Promise<DrydockError> {
  const error = await promise.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof DrydockError && error.kind === "upstream", String(error));
  assert.ok(!`${error.message}${error.hint}`.includes(password));
  return error;
}

test("an anonymous token is asked for once, for the repository and to pull alone", async () => {
  const registry = client(registryHost);
  assert.equal((await registry.resolve(app(registryHost))).digest, image.digest);
  const held = await Promise.all(
    image.blobs.map(({ digest }) => registry.hasBlob(app(registryHost), digest)),
  );
  assert.deepEqual(held, [true, true]);
  assert.equal(asked.length, 1);
  assert.equal(asked[0]?.query.get("scope"), "repository:team/app:pull");
  assert.equal(asked[0]?.query.get("service"), "registry");
  assert.equal(asked[0]?.authorization, undefined);
});

test("requests side by side share one token", async () => {
  const registry = client(registryHost);
  await Promise.all(Array.from({ length: 12 }, () => registry.resolve(app(registryHost))));
  assert.equal(asked.length, 1);
});

test("a token that has ended is asked for again", async () => {
  life = -120; // the registry allows for clocks a minute apart
  const registry = client(registryHost);
  await upstreamError(registry.resolve(app(registryHost)));
  life = 300;
  assert.equal((await registry.resolve(app(registryHost))).digest, image.digest);
  assert.equal(asked.length, 2);
});

test("credentials go to a token server on the registry's own host, as password or as refresh token", async () => {
  await client(registryHost, good).resolve(app(registryHost));
  assert.equal(asked[0]?.authorization, basic);
  await client(registryHost, { kind: "identity-token", token: "refresh" }).resolve(app(registryHost));
  assert.equal(asked[1]?.method, "POST");
  assert.equal(asked[1]?.body.get("grant_type"), "refresh_token");
});

test("wrong credentials are told as such", async () => {
  const wrong = client(registryHost, { ...good, password: "other" });
  const error = await upstreamError(wrong.resolve(app(registryHost)));
  assert.match(error.message, /refuses the credentials/);
  assert.match(error.hint ?? "", new RegExp(`docker login ${registryHost}`));
});

test("credentials do not go to a token server on another host", async () => {
  const elsewhere = `localhost:${tokenHost.split(":")[1]}`;
  const host = await startTokenRegistry("elsewhere", `http://${elsewhere}/token`);
  assert.equal((await client(host, good, [host, elsewhere]).resolve(app(host))).digest, image.digest);
  assert.deepEqual(
    asked.map(({ authorization }) => authorization),
    [undefined],
  );
  const named = client(host, good, [host, elsewhere], { [host]: elsewhere });
  await named.resolve(app(host));
  assert.equal(asked.at(-1)?.authorization, basic, "it is named for this registry");
  await client(host, good, [host, elsewhere], { "other.lan": elsewhere }).resolve(app(host));
  assert.equal(asked.at(-1)?.authorization, undefined, "it is named for another one");
});

test("a registry refuses, and its token server on another host got no credentials: the error says so", async () => {
  const elsewhere = `localhost:${tokenHost.split(":")[1]}`;
  const challenge = `Bearer realm="http://${elsewhere}/token",service="registry"`;
  const closed = await startServer((_, response) =>
    response.writeHead(401, { "www-authenticate": challenge }).end(),
  );
  stops.push(closed.stop);
  const error = await upstreamError(
    client(closed.host, good, [closed.host, elsewhere]).resolve(app(closed.host)),
  );
  assert.match(error.message, new RegExp(`wants credentials; none went to ${elsewhere}, its token server`));
  assert.match(error.hint ?? "", new RegExp(`--token-server ${closed.host}=${elsewhere}`));
});

test("a token server in plain HTTP that is not named for it is not asked", async () => {
  const error = await upstreamError(client(registryHost, good, [registryHost]).resolve(app(registryHost)));
  assert.match(error.message, /not over TLS/);
  assert.match(error.hint ?? "", new RegExp(`--plain-http ${tokenHost}`));
  assert.equal(asked.length, 0);
});

test("a registry with a challenge that nobody can answer", async () => {
  for (const challenge of [
    'Bearer realm="not a url"',
    'Bearer realm="file:///etc/passwd"',
    "Negotiate",
    "",
  ]) {
    const odd = await startServer((_, response) =>
      response.writeHead(401, { "www-authenticate": challenge }).end(),
    );
    stops.push(odd.stop);
    await upstreamError(client(odd.host, good).resolve(app(odd.host)));
  }
});

test("requests side by side whose token has ended share the next one", async () => {
  const refusedTokens = new Set<string>();
  const forgetful = await startServer((request, response) => {
    const { authorization = "" } = request.headers;
    if (authorization !== "" && !refusedTokens.has(authorization)) return void response.end(image.manifest);
    const challenge = `Bearer realm="http://${tokenHost}/token",service="registry"`;
    setTimeout(() => response.writeHead(401, { "www-authenticate": challenge }).end(), 20);
  });
  stops.push(forgetful.stop);
  const registry = client(forgetful.host);
  await registry.resolve(app(forgetful.host));
  refusedTokens.add(forgetful.asked.at(-1)?.authorization ?? "");
  await Promise.all(Array.from({ length: 8 }, () => registry.resolve(app(forgetful.host))));
  assert.equal(asked.length, 2);
});

test("several challenges in one header: the token is preferred", async () => {
  const challenge = `Basic realm="a, \\"b\\"", Bearer realm="http://${tokenHost}/token",service="registry",scope="x"`;
  const odd = await startServer((request, response) => {
    if (request.headers.authorization?.startsWith("Bearer ") === true) response.end(image.manifest);
    else response.writeHead(401, { "www-authenticate": challenge }).end();
  });
  stops.push(odd.stop);
  assert.equal((await client(odd.host, good).resolve(app(odd.host))).digest, image.digest);
});
