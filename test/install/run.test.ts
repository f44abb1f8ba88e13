/** The registry's container on a real engine, with the real registry: made, kept, replaced, put back. */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeEach, test } from "node:test";
import {
  createContainer,
  inspectContainer,
  lastOutput,
  removeContainer,
  renameContainer,
  startContainer,
  stopContainer,
} from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { DrydockError } from "../../src/errors.ts";
import { prove } from "../../src/install/prove.ts";
import { askRegistry } from "../../src/install/registry-client.ts";
import { containerOptions, difference } from "../../src/install/registry-container.ts";
import { type RunOptions, runRegistry } from "../../src/install/run.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { goInside, hostAddress } from "./inside.ts";
import { load, makeCertificates, makeSite, registryName, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
const engine = connectEngine();
const addresses = [registryName, hostAddress];
const layout = await makeSite(join(folder, "site"), addresses);
const image = makeImage();
await storeImage(layout, "team/hello", "1", image);
const imageId = await load(await makeRegistryImage(), "drydock/registry:2");
const options: RunOptions = { layout, port: 443, access: "read-only", imageId, patienceSeconds: 20 };

beforeEach(async () => {
  for (const name of ["registry", "registry-previous", "registry-next"]) await removeContainer(engine, name);
});

async function containers(): Promise<string[]> {
  const all = await engine.docker.listContainers({ all: true });
  return all.flatMap(({ Names }) => Names).sort();
}

/** The status of a request to push, over TLS with the site's CA, on the host's own address. */
async function pushStatus(): Promise<string> {
  const url = `https://${hostAddress}/v2/team/hello/blobs/uploads/`;
  const args = [
    "--silent",
    "--cacert",
    layout.caCertificate,
    "-X",
    "POST",
    "-w",
    "%{http_code}",
    "-o",
    "/dev/null",
  ];
  return (await run("curl", [...args, url])).stdout;
}

async function serves(): Promise<void> {
  const tags = { "1": image.digest };
  const repositories = { "team/hello": { tags, revisions: [image.digest], layers: [] } };
  await prove({
    ca: await readFile(layout.caCertificate),
    addresses,
    port: 443,
    repositories,
    patienceSeconds: 5,
  });
}

function hostError(text: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof DrydockError, String(error));
    assert.equal(error.kind, "host");
    assert.match(error.message, text);
    return true;
  };
}

test("the first run makes the container, the second changes nothing", async () => {
  const first = await runRegistry(engine, options);
  assert.equal(first.changed, true);
  await serves();
  const second = await runRegistry(engine, options);
  assert.deepEqual(second, { changed: false, containerId: first.containerId });
  assert.deepEqual(await containers(), ["/registry"]);
  const info = await inspectContainer(engine, "registry");
  assert.equal(info?.HostConfig.RestartPolicy?.Name, "always");
  assert.equal(info?.Id, first.containerId);
});

test("read-only refuses a push, access push takes it", async () => {
  await runRegistry(engine, options);
  assert.equal(await pushStatus(), "405");
  const { changed, why } = await runRegistry(engine, { ...options, access: "push" });
  assert.deepEqual({ changed, why }, { changed: true, why: "replaced: other settings" });
  assert.equal(await pushStatus(), "202");
  await serves();
  await runRegistry(engine, options);
  assert.equal(await pushStatus(), "405");
});

test("new certificates and another port replace the container", async () => {
  await runRegistry(engine, options);
  await makeCertificates(layout, addresses);
  assert.equal((await runRegistry(engine, options)).why, "replaced: another certificate");
  await serves();
  assert.equal((await runRegistry(engine, { ...options, port: 5443 })).why, "replaced: another port");
  assert.deepEqual(await containers(), ["/registry"]);
});

test("a stopped container is started, not made again", async () => {
  const first = await runRegistry(engine, options);
  await stopContainer(engine, "registry");
  assert.deepEqual(await runRegistry(engine, options), {
    changed: true,
    why: "started",
    containerId: first.containerId,
  });
  await serves();
});

test("a registry that was started while another certificate stood there is restarted", async () => {
  await runRegistry(engine, options);
  const files = [layout.caCertificate, layout.serverCertificate, layout.serverKey];
  const ours = await Promise.all(files.map((file) => readFile(file)));
  await makeCertificates(layout, addresses);
  await run("docker", ["restart", "registry"]);
  await serves();
  for (const [at, file] of files.entries()) await writeFile(file, ours[at] ?? "");
  await assert.rejects(serves());
  const result = await runRegistry(engine, options);
  assert.equal(result.why, "restarted: it had loaded another certificate");
  await serves();
  assert.equal((await runRegistry(engine, options)).changed, false);
});

test("the container does not see the CA's key", async () => {
  await runRegistry(engine, options);
  const info = await inspectContainer(engine, "registry");
  const sources = info?.Mounts.map(({ Source, RW }) => `${Source} ${RW}`).sort();
  assert.deepEqual(sources, [
    `${layout.serverKey} false`,
    `${layout.serverCertificate} false`,
    `${layout.storage} true`,
  ]);
});

test("a new registry that ends at once: the old one serves again, and the error has its last output", async () => {
  const { containerId } = await runRegistry(engine, options);
  const image = await makeRegistryImage();
  const [first, ...others] = image.blobs;
  assert.ok(first);
  const config = JSON.parse(first.bytes.toString());
  config.config.Cmd = ["serve", "/no-such-config.yml"];
  const bytes = Buffer.from(JSON.stringify(config));
  const manifest = JSON.parse(image.manifest.toString());
  manifest.config = { ...manifest.config, digest: digestOf(bytes), size: bytes.length };
  const broken = {
    ...image,
    manifest: Buffer.from(JSON.stringify(manifest)),
    blobs: [{ digest: digestOf(bytes), bytes }, ...others],
  };
  const brokenId = await load(broken, "drydock/broken:1");
  await assert.rejects(runRegistry(engine, { ...options, imageId: brokenId }), hostError(/no-such-config/));
  assert.deepEqual(await containers(), ["/registry"]);
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("an image without a program: the old one serves again", async () => {
  const { containerId } = await runRegistry(engine, options);
  const empty = await load(makeImage({ cmd: ["/no-such-program"] }), "drydock/empty:1");
  await assert.rejects(runRegistry(engine, { ...options, imageId: empty }), hostError(/no-such-program/));
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("no old one: the broken new one stays to be looked at, and the next run replaces it", async () => {
  const empty = await load(makeImage({ cmd: ["/no-such-program"] }), "drydock/empty:1");
  await assert.rejects(runRegistry(engine, { ...options, imageId: empty }), hostError(/no-such-program/));
  assert.equal((await runRegistry(engine, options)).why, "replaced: another registry image");
  await serves();
});

test("a missing key file is no folder made by the engine, but an error", async () => {
  await rm(layout.serverKey);
  await assert.rejects(runRegistry(engine, options), hostError(/registry-key\.pem/));
  assert.deepEqual(await containers(), []);
  await makeCertificates(layout, addresses);
});

test("a port that is taken after all: the old one serves again", async () => {
  const { containerId } = await runRegistry(engine, options);
  const listener = createServer().listen(8443, "0.0.0.0");
  try {
    await assert.rejects(runRegistry(engine, { ...options, port: 8443 }), hostError(/8443/));
  } finally {
    listener.close();
  }
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("somebody else's container is refused and left alone", async () => {
  const { id } = await engine.docker.createContainer({
    name: "registry",
    Image: imageId,
    Labels: { theirs: "1" },
  });
  await assert.rejects(runRegistry(engine, options), (error) => {
    return error instanceof DrydockError && error.kind === "preflight";
  });
  assert.equal((await inspectContainer(engine, "registry"))?.Id, id);
  assert.deepEqual(await containers(), ["/registry"]);
});

test("a run that was killed after it renamed the old one is made good by the next one", async () => {
  await runRegistry(engine, options);
  await stopContainer(engine, "registry");
  await renameContainer(engine, "registry", "registry-previous");
  assert.equal((await runRegistry(engine, options)).changed, true);
  assert.deepEqual(await containers(), ["/registry"]);
  await serves();
});

test("a run that was killed before the new one had answered: the next one goes back to the old one", async () => {
  const empty = await load(makeImage({ cmd: ["/no-such-program"] }), "drydock/empty:1");
  const broken = { ...options, imageId: empty };
  await assert.rejects(runRegistry(engine, broken), DrydockError);
  await renameContainer(engine, "registry", "aside");
  const { containerId } = await runRegistry(engine, options);
  await stopContainer(engine, "registry");
  await renameContainer(engine, "registry", "registry-previous");
  await renameContainer(engine, "aside", "registry");

  await assert.rejects(runRegistry(engine, broken), hostError(/the one before it is started again/));
  assert.deepEqual(await containers(), ["/registry"]);
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("the last output is what the registry said", async () => {
  await runRegistry(engine, options);
  assert.match(await lastOutput(engine, "registry"), /listening on \[::\]:443, tls/);
  const ca = await readFile(layout.caCertificate);
  await assert.rejects(askRegistry({ ca, connect: "127.0.0.1", port: 443, as: "other.lan" }), /other\.lan/);
});

test("under SELinux what is mounted is labelled: the same mounts, and what differs without is seen", async () => {
  const settings = { layout, port: 443, access: "read-only", imageId } as const;
  const labelled = { ...settings, certificate: digestOf("x"), relabel: true };
  await createContainer(engine, { name: "registry", ...containerOptions(labelled) });
  await startContainer(engine, "registry");
  const info = await inspectContainer(engine, "registry");
  assert.ok(info);
  assert.equal(difference(info, labelled), undefined);
  assert.equal(difference(info, { ...labelled, relabel: false }), undefined);
  await serves();
  await removeContainer(engine, "registry");
  const plain = { ...labelled, relabel: false };
  await createContainer(engine, { name: "registry", ...containerOptions(plain) });
  const other = await inspectContainer(engine, "registry");
  assert.ok(other);
  assert.equal(difference(other, plain), undefined);
  assert.equal(difference(other, labelled), "SELinux labels");
});
