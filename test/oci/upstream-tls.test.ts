/** Private upstreams: a real registry with TLS and a CA made by openssl, alone and behind a proxy. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { inspect } from "node:util";
import { noCredentials } from "../../src/oci/credentials.ts";
import type { Environment } from "../../src/oci/proxy.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { RegistryClient } from "../../src/oci/registry-client.ts";
import { makeImage, pushImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";

const image = makeImage();
const stops: (() => Promise<void>)[] = [];
let folder: string;
let ca: string;
let registry: TestRegistry;
/** the registry's port */
let port: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-tls-"));
  stops.push(() => rm(folder, { recursive: true }));
  ca = join(folder, "ca.pem");
  const key = join(folder, "ca-key.pem");
  await run("openssl", [
    ..."req -x509 -newkey rsa:2048 -nodes -subj /CN=private -keyout".split(" "),
    key,
    "-out",
    ca,
  ]);
  await issue("server", "subjectAltName=IP:127.0.0.1,DNS:registry.test");
  await issue("client", "extendedKeyUsage=clientAuth");
  const storage = join(folder, "storage");
  const open = await startRegistry({ folder, storage });
  await pushImage(open.host, "team/app", "1", image);
  await open.stop();
  const tls = { certificate: join(folder, "server.pem"), key: join(folder, "server-key.pem") };
  registry = await startRegistry({ folder, storage, tls });
  stops.push(registry.stop);
  port = registry.host.split(":")[1] ?? "";
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

async function issue(name: string, extension: string): Promise<void> {
  const file = (end: string): string => join(folder, `${name}${end}`);
  await writeFile(file(".ext"), extension);
  const request = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", `/CN=${name}`];
  await run("openssl", [...request, "-keyout", file("-key.pem"), "-out", file(".csr")]);
  const signed = ["-CA", ca, "-CAkey", join(folder, "ca-key.pem"), "-CAcreateserial"];
  const out = ["-extfile", file(".ext"), "-out", file(".pem")];
  await run("openssl", ["x509", "-req", "-in", file(".csr"), ...signed, ...out]);
}

function client(environment: Environment, folders: string[] = []): RegistryClient {
  const made = new RegistryClient({
    credentials: noCredentials,
    plainHttp: new Set(),
    mirrors: new Map(),
    retries: { times: 0, milliseconds: 1 },
    environment,
    certificateFolders: folders,
  });
  stops.push(() => made.close());
  return made;
}

const digestFrom = async (using: RegistryClient, host = registry.host): Promise<string> =>
  (await using.resolve(parseReference(`${host}/team/app:1`))).digest;

/** Takes CONNECT, and says where registry.test is; with `account`, only from who has it. */
async function startProxy(account?: string): Promise<{ host: string; asked: string[]; others: string[] }> {
  const asked: string[] = [];
  const others: string[] = [];
  const sockets = new Set<Socket>();
  const proxy = createServer((request, response) => {
    others.push(request.url ?? "");
    response.writeHead(502).end();
  });
  proxy.on("connect", (request: IncomingMessage, socket: Socket) => {
    asked.push(request.url ?? "");
    const basic = `Basic ${Buffer.from(account ?? "").toString("base64")}`;
    if (account !== undefined && request.headers["proxy-authorization"] !== basic) {
      return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    }
    const upstream = connect(Number(request.url?.split(":")[1]), "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      upstream.pipe(socket).pipe(upstream);
    });
    for (const each of [socket, upstream]) {
      sockets.add(each);
      each.on("error", () => socket.destroy());
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  stops.push(async () => {
    for (const socket of sockets) socket.destroy();
    proxy.closeAllConnections();
    proxy.close();
  });
  const address = proxy.address();
  assert.ok(address !== null && typeof address === "object");
  return { host: `127.0.0.1:${address.port}`, asked, others };
}

test("a private CA: not trusted by itself, trusted by either variable or the host's folder", async () => {
  await assert.rejects(digestFrom(client({})), { kind: "upstream", hint: /certs\.d.*SSL_CERT_FILE/ });
  assert.equal(await digestFrom(client({ SSL_CERT_FILE: ca })), image.digest);
  assert.equal(await digestFrom(client({ NODE_EXTRA_CA_CERTS: ca })), image.digest);
  const certs = join(folder, "certs.d");
  await mkdir(join(certs, registry.host), { recursive: true });
  await writeFile(join(certs, registry.host, "private.crt"), await readFile(ca));
  assert.equal(await digestFrom(client({}, [join(folder, "absent"), certs])), image.digest);
  // It is for that host alone.
  const elsewhere = join(folder, "elsewhere");
  await mkdir(join(elsewhere, "127.0.0.1:1"), { recursive: true });
  await writeFile(join(elsewhere, "127.0.0.1:1", "private.crt"), await readFile(ca));
  await assert.rejects(digestFrom(client({}, [elsewhere])), { kind: "upstream" });
});

test("a host that wants a client's certificate gets that of its folder", async () => {
  const options = {
    key: await readFile(join(folder, "server-key.pem")),
    cert: await readFile(join(folder, "server.pem")),
    ca: await readFile(ca),
    requestCert: true,
  };
  const seen: (string | undefined)[] = [];
  const strict = createTlsServer(options, (request, response) => {
    seen.push((request.socket as TLSSocket).getPeerCertificate().subject?.CN as string | undefined);
    response.writeHead(200, { "content-type": image.mediaType }).end(image.manifest);
  });
  strict.listen(0, "127.0.0.1");
  await once(strict, "listening");
  stops.push(async () => {
    strict.closeAllConnections();
    strict.close();
  });
  const address = strict.address();
  assert.ok(address !== null && typeof address === "object");
  const host = `127.0.0.1:${address.port}`;
  const certs = join(folder, "mutual.d");
  const own = join(certs, host);
  await mkdir(own, { recursive: true });
  await writeFile(join(own, "ca.crt"), await readFile(ca));
  await writeFile(join(own, "client.cert"), await readFile(join(folder, "client.pem")));
  await assert.rejects(digestFrom(client({}, [certs]), host), {
    kind: "input",
    message: /the key of .*client\.cert.*client\.key.*no such file/,
  });
  await writeFile(join(own, "client.key"), await readFile(join(folder, "client-key.pem")));
  assert.equal(await digestFrom(client({}, [certs]), host), image.digest);
  assert.deepEqual(seen, ["client"]);
});

test("a file that is no certificate, and one that is not there, are named", async () => {
  const broken = join(folder, "broken.pem");
  await writeFile(broken, "no certificate");
  const message = /SSL_CERT_FILE ".*broken\.pem": it holds no certificate/;
  await assert.rejects(digestFrom(client({ SSL_CERT_FILE: broken })), { kind: "input", message });
  await assert.rejects(digestFrom(client({ NODE_EXTRA_CA_CERTS: join(folder, "absent.pem") })), {
    kind: "input",
    message: /NODE_EXTRA_CA_CERTS .*absent\.pem.*no such file/,
  });
});

test("through a proxy, by a name that only it knows", async () => {
  const proxy = await startProxy("me:pass word");
  const host = `registry.test:${port}`;
  for (const name of ["HTTPS_PROXY", "https_proxy"]) {
    const using = client({ SSL_CERT_FILE: ca, [name]: `http://me:pass%20word@${proxy.host}` });
    assert.equal(await digestFrom(using, host), image.digest);
  }
  assert.deepEqual(proxy.asked, [host, host]);
  assert.deepEqual(proxy.others, []);
});

test("a proxy that refuses, or is none: it is named, its password is not", async () => {
  const proxy = await startProxy("me:right");
  const host = `registry.test:${port}`;
  const shown = async (environment: Environment): Promise<string> =>
    await digestFrom(client({ SSL_CERT_FILE: ca, ...environment }), host).then(
      () => assert.fail("it did not fail"),
      (error: unknown) => inspect(error, { depth: 9 }),
    );
  const refused = await shown({ HTTPS_PROXY: `http://me:S3cret@${proxy.host}` });
  assert.match(refused, /407/);
  assert.match(refused, new RegExp(`through the proxy ${proxy.host}`));
  const garbled = await shown({ HTTPS_PROXY: "ftp://me:S3cret@proxy" });
  assert.match(garbled, /read HTTPS_PROXY: it is not the URL of an HTTP proxy/);
  for (const text of [refused, garbled]) assert.doesNotMatch(text, /S3cret|bWU6UzNjcmV0/);
});

test("what NO_PROXY names, and this machine, are reached directly", async () => {
  const proxy = await startProxy();
  const environment = { SSL_CERT_FILE: ca, HTTPS_PROXY: `http://${proxy.host}` };
  assert.equal(await digestFrom(client(environment)), image.digest);
  const excepted = client({ ...environment, NO_PROXY: "other, registry.test" });
  await assert.rejects(digestFrom(excepted, `registry.test:${port}`), { message: /ENOTFOUND|EAI_AGAIN/ });
  assert.deepEqual(proxy.asked, []);
});
