/** What cannot be taken over, each with what to do, and nothing touched; on a real engine. */
import assert from "node:assert/strict";
import { copyFile, cp, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { inspectContainer, removeContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { dryRun } from "../../src/install/dry-run.ts";
import type { InstallOptions } from "../../src/install/install.ts";
import { silentReporter } from "../../src/reporter.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { type DocumentedOptions, makeDocumentedCertificates, runDocumented } from "../lab/documented.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { snapshot } from "./bundles.ts";
import { goInside, hostAddress } from "./inside.ts";
import { installAt, releaseBundle } from "./releases.ts";
import { load, registryName, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc-drydock");
const engine = connectEngine();
const registryImage = await makeRegistryImage();
await load(registryImage, "registry:2");
const hosts = [registryName, hostAddress];
const bundle = await releaseBundle({
  ...{ folder, release: 1, registryImage, addresses: [...hosts, "127.0.0.1"] },
  tags: { "team/app:1": makeImage() },
});
const origin = join(folder, "origin");
await makeDocumentedCertificates(run, { root: origin, hosts });

let count = 0;
let layout: SiteLayout;
/** Certificates as cfssl made them, an image in the storage, and the container. */
async function documented(options: Partial<DocumentedOptions> = {}): Promise<void> {
  await directories();
  await runDocumented(run, { root: layout.root, hosts, ...options });
}
async function directories(): Promise<void> {
  count += 1;
  layout = siteLayout(join(folder, `site-${count}`));
  await cp(origin, layout.root, { recursive: true });
  await storeImage(layout, "legacy/tool", "5", makeImage());
}
afterEach(async () => {
  for (const name of ["registry", "registry-adopted", "docker-registry"]) await removeContainer(engine, name);
});

/** Findings, a line each: "error adopt: text > hint". Nothing may have changed. */
async function findings(more: Partial<InstallOptions> = {}): Promise<string> {
  const before = [await snapshot(layout.root), await engine.docker.listContainers({ all: true })];
  const words = ["drydock", "install", "site.tar", "--adopt"];
  const options = { site: layout.root, bundle: bundle.path, adopt: true, typed: words, ...more };
  const found = await dryRun({ askPassphrase: undefined, ...options }, silentReporter);
  const after = [await snapshot(layout.root), await engine.docker.listContainers({ all: true })];
  const ids = (list: unknown) =>
    JSON.stringify((list as { Id: string; Names: string[] }[]).map((c) => [c.Id, c.Names]));
  assert.deepEqual(after[0], before[0]);
  assert.equal(ids(after[1]), ids(before[1]));
  return found.findings
    .map(({ level, check, text, hint = "" }) => `${level} ${check}: ${text} > ${hint}`)
    .join("\n");
}

const errors = (text: string) => text.split("\n").filter((line) => line.startsWith("error "));

test("a storage that is a volume, or elsewhere", async () => {
  await documented({ storage: ["-v", "content:/var/lib/registry"] });
  assert.match(
    await findings(),
    /^error adopt: its storage is the volume content, .* > Copy it: `docker stop registry && .*cp -a \/.*\/volumes\/content\/_data\/\. /m,
  );
  await removeContainer(engine, "registry");
  await run("docker", ["volume", "rm", "content"]);
  await documented({ storage: [] });
  assert.match(await findings(), /^error adopt: its storage is the volume [0-9a-f]{64}, /m);
  await removeContainer(engine, "registry");
  const elsewhere = join(folder, "data/storage");
  await documented({ storage: ["-v", `${elsewhere}:/var/lib/registry`] });
  const text = await findings();
  assert.match(
    text,
    new RegExp(`^error adopt: its storage is ${elsewhere}, and the site's would be .*`, "m"),
  );
  assert.ok(text.includes(`\`drydock install site.tar --adopt --site ${join(folder, "data")}\``));
  await removeContainer(engine, "registry");
  await documented({ storage: ["-v", `${join(folder, "content")}:/var/lib/registry`] });
  assert.match(
    await findings(),
    /^error adopt: its storage is .*content, .* > Move it to a directory called storage: `docker stop/m,
  );
});

test("a container that is no registry", async () => {
  await directories();
  await load(makeImage({ cmd: ["/x"] }), "theirs:1");
  await engine.docker.createContainer({ name: "registry", Image: "theirs:1" });
  assert.match(
    await findings(),
    /^error adopt: container "registry" \(image theirs:1\) is no registry .*\n?.*docker rename registry/m,
  );
});

test("the CA's certificate: missing, another one, and found under another name", async () => {
  await documented();
  await rename(layout.caCertificate, join(folder, "ca-elsewhere.pem"));
  const missing = await findings();
  assert.match(
    missing,
    /^error adopt: the CA's certificate that signed ".*registry\.pem" is needed: there is no .*certs\/ca\.pem > Put it there; .*\/etc\/docker\/certs\.d\/registry\.plant7\.lan\/ca\.crt.*`drydock install site\.tar --adopt --new-certs`/m,
  );
  assert.equal(errors(missing).length, 1);
  await copyFile(layout.serverCertificate, layout.caCertificate);
  assert.match(await findings(), /^error adopt: .*ca\.pem is not the one > /m);
  await rm(layout.caCertificate);
  await copyFile(join(folder, "ca-elsewhere.pem"), join(layout.certs, "authority.crt"));
  assert.match(await findings(), /^ok adopt: .*authority\.crt is copied to .*ca\.pem/m);
  assert.deepEqual(errors(await findings()), []);
});

test("a certificate that does not name the addresses: serve under what it names, or make another", async () => {
  await documented();
  const [, error = ""] = [
    0,
    ...errors(await findings({ choices: { addresses: ["other.lan", hostAddress] } })),
  ];
  assert.match(
    String(error),
    /^error certificates: the server certificate does not name other\.lan > It names /,
  );
  const command = `\`drydock install site.tar --adopt --address ${registryName} --address ${hostAddress}\``;
  assert.ok(String(error).includes(`To serve under what it names: ${command}.`), String(error));
  assert.match(String(error), /`drydock install site\.tar --adopt --new-certs`$/);
  const made = await findings({ choices: { addresses: ["other.lan"] }, newCertificates: true });
  assert.deepEqual(errors(made), []);
  assert.match(made, /^warning certificates: a new CA takes the place/m);
});

test("a certificate that has ended", async () => {
  await documented();
  const ended = ["x509", "-req", "-days", "1", "-in", "r.csr", "-CA", "ca.pem", "-CAkey", "ca.key"];
  const script = [
    "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -subj /CN=ca -days 9 -out ca.pem",
    "openssl req -newkey rsa:2048 -nodes -keyout registry-key.pem -subj /CN=r -out r.csr",
    `printf 'subjectAltName=DNS:${registryName},IP:${hostAddress}' > ext`,
    `openssl ${ended.join(" ")} -extfile ext -CAcreateserial -not_before 20200101000000Z -not_after 20200201000000Z -out registry.pem || openssl ${ended.join(" ")} -extfile ext -CAcreateserial -days -1 -out registry.pem`,
  ].join(" && ");
  await run("/bin/sh", ["-c", script], { cwd: layout.certs });
  assert.match(
    await findings(),
    /^error certificates: the server certificate ended on .* > .*`drydock install site\.tar --adopt --new-certs`/m,
  );
});

test("files that drydock's names are taken by, or that are not there", async () => {
  await documented({ certificateName: "registry.crt" });
  assert.match(await findings(), /^error adopt: "\S+registry\.crt", which it serves with, is not there > /m);
  await rename(layout.serverCertificate, join(layout.certs, "registry.crt"));
  await copyFile(layout.caCertificate, layout.serverCertificate);
  assert.match(
    await findings(),
    /^error adopt: \S+registry\.pem is another one than \S+registry\.crt, .*`mv \S+registry\.pem \S+registry\.pem\.old`/m,
  );
  await rm(layout.serverCertificate);
  assert.deepEqual(errors(await findings()), []);
  await removeContainer(engine, "registry");
  const args = ["-e", "REGISTRY_HTTP_TLS_KEY=/inside/key.pem"];
  await documented({ args });
  assert.match(
    await findings(),
    /^error adopt: \/inside\/key\.pem of container "registry" is in no directory of this host/m,
  );
});

test("one without TLS, until new certificates are made for it", async () => {
  await directories();
  const HostConfig = {
    Binds: [`${layout.storage}:/var/lib/registry`],
    PortBindings: { "5000/tcp": [{ HostPort: "5000" }] },
  };
  await engine.docker.createContainer({ name: "registry", Image: "registry:2", HostConfig });
  const text = await findings();
  assert.match(
    text,
    /^error adopt: it serves without TLS, .*`drydock install site\.tar --adopt --new-certs`/m,
  );
  assert.match(
    text,
    /^warning adopt: it stays on port 5000, and the bundle says 443 > .*`drydock install site\.tar --adopt --port 443`/m,
  );
  assert.deepEqual(errors(await findings({ newCertificates: true })), []);
});

test("a password, a client's certificate, a configuration of its own; values are not shown", async () => {
  await documented({
    args: ["-e", "REGISTRY_AUTH_HTPASSWD_PATH=/secret-place", "-e", "REGISTRY_STORAGE_DELETE_ENABLED=true"],
  });
  const text = await findings();
  assert.match(text, /^error adopt: it was made with REGISTRY_AUTH_HTPASSWD_PATH, /m);
  assert.match(
    text,
    /^warning adopt: drydock's registry does not have its setting REGISTRY_STORAGE_DELETE_ENABLED > /m,
  );
  assert.doesNotMatch(text, /secret-place/);
  await removeContainer(engine, "registry");
  await mkdir(join(folder, "etc"), { recursive: true });
  const own = join(folder, "etc/config.yml");
  await writeFile(own, "version: 0.1\nauth:\n  htpasswd: {}\n");
  await documented({ args: ["-v", `${own}:/etc/docker/registry/config.yml`] });
  assert.match(await findings(), /^error adopt: its configuration file \S+config\.yml has "auth"/m);
  await writeFile(own, (await readFile(own, "utf8")).replace(/^auth:.*/ms, ""));
  assert.match(await findings(), /^warning adopt: its configuration file \S+config\.yml is not taken over/m);
});

test("several ports, and none", async () => {
  await documented({ port: 8443, args: ["-p", "5443:443"] });
  assert.match(await findings(), /^warning adopt: it is reached on port 5443, too, /m);
  assert.match(
    await findings({ choices: { port: 5443 } }),
    /^warning adopt: it is reached on port 8443, too, /m,
  );
  await removeContainer(engine, "registry");
  await directories();
  const HostConfig = { Binds: [`${layout.storage}:/var/lib/registry`, `${layout.certs}:/certs`] };
  const Env = [
    "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/registry.pem",
    "REGISTRY_HTTP_TLS_KEY=/certs/registry-key.pem",
  ];
  await engine.docker.createContainer({ name: "registry", Image: "registry:2", Env, HostConfig });
  assert.match(
    await findings(),
    /^error adopt: container "registry" has no port of this host > .*`drydock install site\.tar --adopt --port 443`/m,
  );
  assert.deepEqual(errors(await findings({ choices: { port: 443 } })), []);
});

test("a registry of another name, and a name that is taken", async () => {
  await documented();
  await run("docker", ["rename", "registry", "docker-registry"]);
  assert.match(
    await findings(),
    /^error adopt: container "docker-registry" has .*`docker rename docker-registry registry`/m,
  );
  await run("docker", ["rename", "docker-registry", "registry"]);
  await engine.docker.createContainer({ name: "registry-adopted", Image: "registry:2" });
  assert.match(await findings(), /^error adopt: there is a container "registry-adopted" already/m);
});

test("nothing to take over is said, and installed as ever; a container that was made since is not taken", async () => {
  layout = siteLayout(join(folder, "new"));
  await mkdir(layout.root);
  assert.match(await findings(), /^ok adopt: there is nothing to take over > $/m);
  await installAt(layout, bundle, { adopt: true });
  assert.match(await findings(), /^ok adopt: there is nothing to take over: the site is drydock's/m);
  await removeContainer(engine, "registry");
  await runDocumented(run, { root: layout.root, hosts });
  assert.match(
    await findings(),
    /^error adopt: releases of drydock's are here, and container "registry" is not/m,
  );
  const { Id } = (await inspectContainer(engine, "registry")) ?? {};
  await assert.rejects(installAt(layout, bundle, { adopt: true }), { kind: "preflight" });
  assert.equal((await inspectContainer(engine, "registry"))?.Id, Id);
});
