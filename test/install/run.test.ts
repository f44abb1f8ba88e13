/** The registry's container on a real engine, with the real registry: made, kept, replaced, put back. */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import {
  createContainer,
  inspectContainer,
  lastOutput,
  removeContainer,
  renameContainer,
  setRestartPolicy,
  startContainer,
  stopContainer,
} from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { DrydockError } from "../../src/errors.ts";
import { prove } from "../../src/install/prove.ts";
import { askRegistry } from "../../src/install/registry-client.ts";
import { containerOptions, difference } from "../../src/install/registry-container.ts";
import { type RunOptions, type RunResult, runRegistry } from "../../src/install/run.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { keepCertificates, readCertificates, showCertificates } from "../../src/site/kept-certificates.ts";
import { makeImage } from "../lab/images.ts";
import { cutPower, endEngine } from "../lab/power-cut.ts";
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
const kept = async () => await keepCertificates(layout, await readCertificates(layout));
const options: RunOptions = {
  ...{ layout, port: 443, access: "read-only", imageId, certificates: await kept(), patienceSeconds: 20 },
};

/** As an action does it that completes. */
async function serve(more: Partial<RunOptions> = {}): Promise<RunResult> {
  const result = await runRegistry(engine, { ...options, ...more });
  await result.settle();
  await result.dismissOld();
  return result;
}

async function policyOf(name: string): Promise<string | undefined> {
  return (await inspectContainer(engine, name))?.HostConfig.RestartPolicy?.Name;
}

after(endEngine);
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
  const first = await serve();
  assert.equal(first.changed, true);
  await serves();
  const { changed, why, containerId } = await serve();
  assert.deepEqual([changed, why, containerId], [false, undefined, first.containerId]);
  assert.deepEqual(await containers(), ["/registry"]);
  assert.equal(await policyOf("registry"), "always");
});

test("read-only refuses a push, access push takes it", async () => {
  await serve();
  assert.equal(await pushStatus(), "405");
  const { changed, why } = await serve({ access: "push" });
  assert.deepEqual({ changed, why }, { changed: true, why: "replaced: other settings" });
  assert.equal(await pushStatus(), "202");
  await serves();
  await serve();
  assert.equal(await pushStatus(), "405");
});

test("new certificates and another port replace the container", async () => {
  await serve();
  await makeCertificates(layout, addresses);
  options.certificates = await kept();
  assert.equal((await serve()).why, "replaced: another certificate");
  await serves();
  assert.equal((await serve({ port: 5443 })).why, "replaced: another port");
  assert.deepEqual(await containers(), ["/registry"]);
});

test("a container that is stopped, or paused, is started, not made again; one that the engine would not start is mended", async () => {
  const first = await serve();
  await stopContainer(engine, "registry");
  const { changed, why, containerId } = await serve();
  assert.deepEqual([changed, why, containerId], [true, "started", first.containerId]);
  await engine.docker.getContainer("registry").pause();
  assert.equal((await serve()).why, "started");
  await serves();
  await setRestartPolicy(engine, "registry", { Name: "no" });
  assert.equal((await serve()).why, "started with the engine from now on");
  assert.equal(await policyOf("registry"), "always");
  await serves();
});

test("whatever stands in certs/ meanwhile, a registry starts with its own certificate and key", async () => {
  await serve();
  const ours = await readCertificates(layout);
  await makeCertificates(layout, addresses);
  // Half of them, as a power cut may leave it.
  await writeFile(layout.serverCertificate, ours.server ?? "");
  await run("docker", ["restart", "registry"]);
  await showCertificates(ours, layout);
  await serves();
});

test("until it is settled the one before stays, and is the one that the engine starts; it can be put back", async () => {
  const before = await serve();
  const next = await runRegistry(engine, { ...options, access: "push" });
  assert.equal(await pushStatus(), "202");
  assert.deepEqual(await containers(), ["/registry", "/registry-previous"]);
  assert.deepEqual([await policyOf("registry"), await policyOf("registry-previous")], ["no", "always"]);
  assert.match(await next.putBack(), /; the one before it is started again\nIts last output:\n/);
  assert.deepEqual(await containers(), ["/registry"]);
  assert.equal((await inspectContainer(engine, "registry"))?.Id, before.containerId);
  assert.equal(await policyOf("registry"), "always");
  await serves();

  const again = await runRegistry(engine, { ...options, access: "push" });
  await again.settle();
  assert.deepEqual([await policyOf("registry"), await policyOf("registry-previous")], ["always", "no"]);
  await again.dismissOld();
  assert.deepEqual(await containers(), ["/registry"]);
});

test("a power cut at any moment of a run: the engine brings one back that serves, and the next run completes it", async () => {
  const pushing = { ...options, access: "push" as const, relabel: false };
  const make = () => createContainer(engine, { name: "registry-next", ...containerOptions(pushing) });
  const moments = {
    "the old one is stopped": async () => {
      await make();
      await stopContainer(engine, "registry");
    },
    "the new one is started": async () => {
      await make();
      await stopContainer(engine, "registry");
      await startContainer(engine, "registry-next");
    },
    "each has its name": async () => void (await runRegistry(engine, { ...options, access: "push" })),
    "the new one is proven": async () =>
      await (await runRegistry(engine, { ...options, access: "push" })).settle(),
  };
  for (const [name, cut] of Object.entries(moments)) {
    for (const one of await containers()) await removeContainer(engine, one.slice(1));
    await serve();
    await cut();
    await cutPower();
    await serves();
    await serve({ access: "push" });
    assert.deepEqual(await containers(), ["/registry"], name);
    assert.equal(await policyOf("registry"), "always", name);
    assert.equal(await pushStatus(), "202", name);
  }
});

test("the container does not see the CA's key", async () => {
  await serve();
  const info = await inspectContainer(engine, "registry");
  const sources = info?.Mounts.map(({ Source, RW }) => `${Source} ${RW}`).sort();
  const set = layout.certificateSet(options.certificates);
  assert.deepEqual(sources, [
    `${set.serverKey} false`,
    `${set.serverCertificate} false`,
    `${layout.storage} true`,
  ]);
});

/** The real registry that is told to read a configuration that is not there. */
async function brokenImage(): Promise<string> {
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
  return await load(broken, "drydock/broken:1");
}

test("a new registry that ends at once: the old one serves again, and the error has its last output", async () => {
  const { containerId } = await serve();
  await assert.rejects(
    runRegistry(engine, { ...options, imageId: await brokenImage() }),
    hostError(/no-such-config/),
  );
  assert.deepEqual(await containers(), ["/registry"]);
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("an image without a program: the old one serves again", async () => {
  const { containerId } = await serve();
  const empty = await load(makeImage({ cmd: ["/no-such-program"] }), "drydock/empty:1");
  await assert.rejects(runRegistry(engine, { ...options, imageId: empty }), hostError(/no-such-program/));
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("no old one: the broken new one has said its last, and nothing is left", async () => {
  const broken = { ...options, imageId: await brokenImage() };
  await assert.rejects(
    runRegistry(engine, broken),
    hostError(/ended with code 1\nIts last output:\n.*no-such-config/s),
  );
  assert.deepEqual(await containers(), []);
  await serve();
  await serves();
});

test("a missing key file is no folder made by the engine, but an error", async () => {
  const { serverKey } = layout.certificateSet(options.certificates);
  await rm(serverKey);
  await assert.rejects(runRegistry(engine, options), hostError(/registry-key\.pem/));
  assert.deepEqual(await containers(), []);
  await kept();
});

test("a port that is taken after all: the old one serves again", async () => {
  const { containerId } = await serve();
  const listener = createServer().listen(8443, "0.0.0.0");
  const portCommand = (port: number) => `drydock install site.tar --port ${port}`;
  try {
    await assert.rejects(
      runRegistry(engine, { ...options, port: 8443, portCommand }),
      (error: DrydockError) => {
        assert.match(
          error.message,
          /^start the registry: port 8443 is taken by .*; the one before it is started/,
        );
        assert.match(
          error.hint ?? "",
          /^Stop what listens there. Or take another port: `drydock .* --port 5000`$/,
        );
        return true;
      },
    );
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

test("a run that was killed before the new one had answered: the next one goes back to the old one", async () => {
  const { containerId } = await serve();
  const empty = await load(makeImage({ cmd: ["/no-such-program"] }), "drydock/empty:1");
  const broken = { ...options, imageId: empty };
  const { layout: at, ...rest } = broken;
  await stopContainer(engine, "registry");
  await renameContainer(engine, "registry", "registry-previous");
  await createContainer(engine, {
    ...{ name: "registry", ...containerOptions({ layout: at, ...rest, relabel: false }) },
  });
  await assert.rejects(runRegistry(engine, broken), hostError(/the one before it is started again/));
  assert.deepEqual(await containers(), ["/registry"]);
  assert.equal((await inspectContainer(engine, "registry"))?.Id, containerId);
  await serves();
});

test("the last output is what the registry said", async () => {
  await serve();
  assert.match(await lastOutput(engine, "registry"), /listening on \[::\]:443, tls/);
  const ca = await readFile(layout.caCertificate);
  await assert.rejects(askRegistry({ ca, connect: "127.0.0.1", port: 443, as: "other.lan" }), /other\.lan/);
});

test("under SELinux what is mounted is labelled: the same mounts, and what differs without is seen", async () => {
  const labelled = { ...options, relabel: true };
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
