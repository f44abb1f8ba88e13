/** Preflight on a host of its own, with a real engine: each thing that stands in the way, and nothing touched. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { after, test } from "node:test";
import { inspectContainer, removeContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { DrydockError } from "../../src/errors.ts";
import { type Finding, failOnErrors } from "../../src/install/finding.ts";
import { type PreflightInput, preflight } from "../../src/install/preflight.ts";
import { runRegistry } from "../../src/install/run.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { keepCertificates, readCertificates } from "../../src/site/kept-certificates.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import type { ServeSettings } from "../../src/site/record.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { goInside, hostAddress } from "./inside.ts";
import { load, makeSite, registryName } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
const engine = connectEngine();
const { platform } = await engine.describe();

const settings: ServeSettings = { addresses: [registryName, hostAddress], port: 443, access: "push" };

function input(changes: Partial<PreflightInput> = {}): PreflightInput {
  const registry = {
    reference: "registry:2",
    images: { [platform]: digestOf("x") },
    port: 443,
    access: "push",
  } as const;
  return {
    index: {
      addresses: [registryName, hostAddress],
      registry,
      blobs: [],
      repositories: {},
      created: "2026-01-02T03:04:05Z",
      certificates: { from: "bundle" },
    },
    digest: digestOf("the bundle"),
    layout: siteLayout(join(folder, "new/site")),
    engine,
    settings,
    hasImage: async () => false,
    needed: [{ path: join(folder, "new/site/storage"), bytes: 1_000_000, inodes: 10 }],
    certificates: { makes: false, findings: [] },
    typed: ["drydock", "install", "site.tar"],
    now: new Date(),
    configFolder: join(folder, "etc/drydock"),
    ...changes,
  };
}

/** "check: text" of the errors (or warnings), each on a line. */
async function found(changes: Partial<PreflightInput>, level: Finding["level"] = "error"): Promise<string> {
  const findings = await preflight(input(changes));
  return findings.flatMap((one) => (one.level === level ? [`${one.check}: ${one.text}`] : [])).join("\n");
}

async function listen(host: string, port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ host, port, ipv6Only: host === "::" }, resolve));
  return server;
}

test("a host that is ready, where nothing is written", async () => {
  const before = await readdir(folder);
  assert.equal(await found({}), "");
  assert.equal(await found({}, "warning"), "");
  failOnErrors(await preflight(input()));
  assert.deepEqual(await readdir(folder), before);
});

test("no engine: the rest is checked all the same", async () => {
  const absent = connectEngine({ DOCKER_HOST: `unix://${join(folder, "no.sock")}` });
  const needed = [{ path: folder, bytes: 1e18, inodes: 1 }];
  const findings = await preflight(input({ engine: absent, needed }));
  assert.deepEqual(
    findings.filter(({ level }) => level === "error").map(({ check }) => check),
    ["engine", "space"],
  );
  assert.throws(
    () => failOnErrors(findings),
    (error) => {
      assert.ok(error instanceof DrydockError);
      assert.equal(error.kind, "preflight");
      assert.match(error.message, /^2 things stand in the way: engine, space$/);
      assert.deepEqual(error.data, { findings });
      return true;
    },
  );
});

test("an engine of a platform that the bundle has no registry for", async () => {
  const { index } = input();
  const registry = { ...index.registry, images: { "linux/s390x": digestOf("x") } };
  assert.match(await found({ index: { ...index, registry } }), /^engine: it runs linux\/\w+, .*linux\/s390x/);
});

test("a container `registry` that isn't drydock's, or of another site, is left alone", async () => {
  const image = await load(makeImage({ cmd: ["/x"] }), "theirs:1");
  for (const Labels of [{}, { "org.drydock.site": "/srv/other" }] as Record<string, string>[]) {
    const { id } = await engine.docker.createContainer({ name: "registry", Image: image, Labels });
    assert.match(await found({}), /^container: there is a container "registry"/);
    assert.equal((await inspectContainer(engine, "registry"))?.Id, id);
    await removeContainer(engine, "registry");
  }
});

test("a port that another process has, on all addresses or on one", async () => {
  for (const host of ["0.0.0.0", "127.0.0.1", hostAddress, "::", "::1"]) {
    const server = await listen(host, 5443);
    try {
      assert.match(
        await found({ settings: { ...settings, port: 5443 } }),
        new RegExp(`^port: 5443 is taken by \\S+ \\(process ${process.pid}\\)$`),
        host,
      );
    } finally {
      server.close();
    }
  }
  assert.equal(await found({ settings: { ...settings, port: 5443 } }), "");
});

test("a port that Docker's proxy of an engine that was killed has kept", async () => {
  const container = ["-container-ip", "127.0.0.1", "-container-port", "9"];
  const args = ["-proto", "tcp", "-host-ip", "0.0.0.0", "-host-port", "5443", ...container];
  // It says on its fourth stream that it listens.
  const proxy = spawn("docker-proxy", args, { stdio: ["ignore", "ignore", "inherit", "pipe"] });
  try {
    await once(proxy.stdio[3] as Readable, "data");
    const findings = await preflight(input({ settings: { ...settings, port: 5443 } }));
    const { text, hint } = findings.find(({ check }) => check === "port") ?? {};
    assert.equal(text, `5443 is taken by docker-proxy (process ${proxy.pid})`);
    assert.match(
      hint ?? "",
      /^No container of this engine is behind it: .* `systemctl restart docker` frees it\./,
    );
  } finally {
    proxy.kill();
  }
});

test("another port is proposed, in a sentence to type", async () => {
  const [taken, proposed] = [await listen("0.0.0.0", 443), await listen("0.0.0.0", 8443)];
  try {
    const findings = await preflight(input());
    const { hint } = findings.find(({ check }) => check === "port") ?? {};
    assert.equal(
      hint,
      "Stop what listens there. Or take another port: `drydock install site.tar --port 5000`",
    );
  } finally {
    taken.close();
    proposed.close();
  }
});

test("a clock that is behind the bundle", async () => {
  const now = new Date("2020-01-01");
  assert.match(
    await found({ now }, "warning"),
    /^clock: .* 2020-01-01 .* was made on 2026-01-02 03:04 UTC$/m,
  );
  assert.match(await found({ now, certificates: { makes: true, findings: [] } }), /^clock: /);
});

test("the engine's own space for the registry's image, while it doesn't have it", async () => {
  const made = makeImage({ cmd: ["/y"] });
  const { index } = input();
  const images = { [platform]: made.digest };
  const blobs = [{ digest: digestOf("y"), size: 1e17, role: "registry" as const }];
  const changes = { index: { ...index, blobs, registry: { ...index.registry, images } } };
  assert.match(await found(changes), /^space: 400,000,000,\d+ MB are needed in /);
  const hasImage = async (image: string) => image === made.digest;
  assert.equal(await found({ ...changes, hasImage }), "");
});

test("containers of a run that was cut short are named, and what becomes of them", async () => {
  const image = await load(makeImage({ cmd: ["/x"] }), "ours:1");
  const { layout } = input();
  const Labels = { "org.drydock.site": layout.root };
  for (const name of ["registry-previous", "registry-next"])
    await engine.docker.createContainer({ name, Image: image, Labels });
  assert.match(
    await found({}, "ok"),
    /leftovers: container "registry-previous" .* kept until .*\nleftovers: container "registry-next" .* removed/,
  );
  for (const name of ["registry-previous", "registry-next"]) await removeContainer(engine, name);
});

test("what the clients' check finds is among the rest, and its failure is a finding", async () => {
  const finding: Finding = { check: "clients", level: "warning", text: "plc-1: no answer" };
  assert.match(
    await found({ checkClients: async () => [finding] }, "warning"),
    /^clients: plc-1: no answer$/,
  );
  const checkClients = () => Promise.reject(new DrydockError("input", "read known hosts: denied"));
  assert.match(await found({ checkClients }), /^host: read known hosts: denied$/);
});

test("a port that is our own registry's, and one that another container has", async () => {
  const layout = await makeSite(join(folder, "running"), [registryName]);
  const imageId = await load(await makeRegistryImage(), "drydock/registry:2");
  const certificates = await keepCertificates(layout, await readCertificates(layout));
  await runRegistry(engine, { layout, port: 443, access: "read-only", imageId, certificates });
  await claimSite(layout);
  assert.equal(await found({ layout }), "");
  assert.match(await found({}), /port: 443 is taken by container "registry"/);
  await removeContainer(engine, "registry");
});

test("a directory with a storage and certificates that aren't drydock's, until it is drydock's", async () => {
  const layout = siteLayout(join(folder, "theirs"));
  await mkdir(join(layout.storage, "lost+found"), { recursive: true });
  await mkdir(layout.certs);
  assert.equal(await found({ layout }), "");
  await mkdir(join(layout.storage, "docker"));
  await writeFile(join(layout.certs, "ca.pem"), "theirs");
  assert.match(
    await found({ layout }),
    new RegExp(`site: ${layout.certs} and ${layout.storage} hold what drydock did not put there`),
  );
  await claimSite(layout);
  assert.doesNotMatch(await found({ layout }), /site:/);
});

test("a site's directory that is a file", async () => {
  await writeFile(join(folder, "file"), "");
  assert.match(await found({ layout: siteLayout(join(folder, "file")) }), /ENOTDIR/);
});

test("a directory on a file system that is mounted read-only, or too small, or out of inodes", async () => {
  const at = join(folder, "mounted");
  await mkdir(at);
  await run("mount", ["-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "none", at]);
  after(() => run("umount", [at]));
  const layout = siteLayout(join(at, "site"));
  const tooMuch = [
    { path: layout.storage, bytes: 700_000, inodes: 12 },
    { path: layout.releases, bytes: 700_000, inodes: 12 },
  ];
  const text = await found({ layout, needed: tooMuch });
  const findings = await preflight(input({ layout, needed: tooMuch, serving: at }));
  assert.ok(findings.some(({ hint }) => hint?.includes("`drydock prune --dry-run` tells what older")));
  assert.match(text, /space: 2 MB are needed in .*mounted, 2 MB are free/);
  assert.match(text, /space: 24 files and folders are to be made in .* room for 19/);
  await run("mount", ["-o", "remount,ro", at]);
  assert.match(await found({ layout }), /permissions: cannot write in .*mounted: .*read-only/);
});

test("an address that is on no interface is a warning, and the certificates' findings are passed on", async () => {
  const changes = { settings: { ...settings, addresses: [registryName, "10.99.99.99"] } };
  assert.match(await found(changes, "warning"), /^addresses: 10\.99\.99\.99 is on no interface/);
  const finding: Finding = { check: "certificates", level: "error", text: "it has ended" };
  assert.match(
    await found({ certificates: { makes: false, findings: [finding] } }),
    /certificates: it has ended/,
  );
});
