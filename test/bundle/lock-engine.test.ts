/** Images of the local engine in a lock file: by their id, whatever their name means later. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import Dockerode from "dockerode";
import { type BundleOptions, bundle } from "../../src/bundle/bundle.ts";
import { dryRun } from "../../src/bundle/dry-run.ts";
import { readLock } from "../../src/bundle/lock-file.ts";
import { silentReporter } from "../../src/reporter.ts";
import { makeImage, makeLayer } from "../lab/images.ts";
import { startService, waitFor } from "../lab/process.ts";
import { startRegistry, type TestRegistry } from "../lab/registry.ts";
import { pushNamed } from "../lab/upstream.ts";

const stops: (() => Promise<unknown>)[] = [];
let folder: string;
let registry: TestRegistry;
let docker: Dockerode;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-lock-"));
  stops.push(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  registry = await startRegistry({ folder });
  stops.push(registry.stop);
  await pushNamed(registry.host, "library/registry:2", makeImage({ files: { registry: "none" } }));
  const socket = join(folder, "docker.sock");
  // In a mount namespace of its own: where mounts are private, it leaves its data mounted over itself.
  const settings = [
    "--mount",
    "dockerd",
    `--data-root=${folder}/data`,
    `--exec-root=${folder}/run`,
    `--host=unix://${socket}`,
  ];
  settings.push(`--pidfile=${folder}/docker.pid`, "--bridge=none", "--iptables=false");
  const service = await startService("unshare", settings, { log: join(folder, "dockerd.log") });
  stops.push(service.stop);
  docker = new Dockerode({ socketPath: socket });
  await waitFor("the engine", service, 60, () =>
    docker.ping().then(
      () => true,
      () => undefined,
    ),
  );
  const { DOCKER_HOST } = process.env;
  process.env.DOCKER_HOST = `unix://${socket}`;
  stops.push(async () => {
    if (DOCKER_HOST === undefined) delete process.env.DOCKER_HOST;
    else process.env.DOCKER_HOST = DOCKER_HOST;
  });
});
after(async () => {
  for (const stop of stops.reverse()) await stop();
});

/** Makes an image in the engine, and gives it the name my/app:dev. @returns its id */
async function makeApp(text: string): Promise<string> {
  const layer = Readable.from([makeLayer([{ path: "app.txt", content: text }])]);
  const answer: unknown = await docker.importImage(layer, { repo: "my/app", tag: "dev" });
  await Array.fromAsync(answer as AsyncIterable<unknown>);
  return (await docker.getImage("my/app:dev").inspect()).Id;
}

test("locked by its id, an image is saved by it; one that is gone stops the build", async () => {
  const first = await makeApp("first");
  const head = `name: plant-7\naddresses: [a.lan]\nregistry: {image: "${registry.host}/library/registry:2"}\n`;
  const manifest = join(folder, "site.yaml");
  await writeFile(manifest, `${head}images: ["docker-daemon:my/app:dev"]\n`);
  const options = (changes: Partial<BundleOptions>): BundleOptions => ({
    output: join(folder, "a.tar"),
    force: false,
    restart: false,
    reuse: [],
    plainHttp: new Set([registry.host]),
    mirrors: new Map(),
    keyStore: join(folder, "keys"),
    protection: { kind: "none" },
    ...changes,
  });
  const before = await readdir(folder);
  const plan = await dryRun(manifest, options({ locking: "lock" }), silentReporter);
  const made = (await readdir(folder)).filter((name) => !before.includes(name));
  assert.deepEqual(made, ["plant-7.lock.yaml"]);
  assert.deepEqual(plan.images, [
    { source: "docker-daemon:my/app:dev", repository: "my/app", tag: "dev", platforms: ["linux/amd64"] },
  ]);
  assert.equal(plan.unknown[0]?.what, "docker-daemon:my/app:dev");
  assert.deepEqual((await readLock(join(folder, "plant-7.lock.yaml"))).engine, { "my/app:dev": first });

  const { index } = await bundle(manifest, options({ locking: "lock" }), silentReporter);
  // Another image takes the name; the first stays without one.
  const second = await makeApp("second");
  assert.notEqual(second, first);
  const locked = await bundle(
    manifest,
    options({ locking: "locked", output: join(folder, "b.tar") }),
    silentReporter,
  );
  assert.deepEqual(locked.index.images, index.images);
  assert.deepEqual(locked.index.repositories, index.repositories);
  const whole = await readFile(locked.path, "latin1");
  assert.ok(whole.includes(first.slice("sha256:".length)), "the config is the first image's");

  await docker.getImage(first).remove();
  const late = bundle(
    manifest,
    options({ locking: "locked", output: join(folder, "c.tar") }),
    silentReporter,
  );
  await assert.rejects(late, { kind: "upstream", message: new RegExp(`"my/app:dev".* as ${first}`) });
});
