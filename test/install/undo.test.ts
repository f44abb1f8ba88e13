/**
 * "As it was" after a failure: tags, files, certificates and container are what they were, on a real engine with
 * the real registry, of which the broken one is made too.
 */
import assert from "node:assert/strict";
import { readdirSync, rmSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { inspectContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import type { DrydockError } from "../../src/errors.ts";
import { removeContainers } from "../../src/install/containers.ts";
import { install } from "../../src/install/install.ts";
import { rollback } from "../../src/install/rollback.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { type Reporter, silentReporter } from "../../src/reporter.ts";
import { readJournal } from "../../src/site/journal.ts";
import { readCertificates } from "../../src/site/kept-certificates.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { makeImage, type TestImage } from "../lab/images.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { filesBelow } from "./bundles.ts";
import { goInside } from "./inside.ts";
import { installAt, type ReleaseOf, releaseBundle, served } from "./releases.ts";
import { butForId, seenAt } from "./seen.ts";

const folder = await goInside(import.meta.url);
process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc-drydock");
const engine = connectEngine();
const registryImage = await makeRegistryImage();
const image = (text: string) => makeImage({ files: { "app.txt": text } });
const [one, two] = [image("1"), image("2")];

const bundle = (release: number, tags: ReleaseOf["tags"], more: Partial<ReleaseOf> = {}) =>
  releaseBundle({ folder, release, registryImage, tags, ...more });
const first = await bundle(
  1,
  { "team/app:1": one, "team/old:1": one },
  { files: { "a.txt": "a1", "b.txt": "b" } },
);
const second = { "team/app:1": two, "team/new:1": two };
const files = { "a.txt": "a2", "sub/c.txt": "c" };

/** A release whose registry ends at once: it is told to read a configuration that is not there. */
function broken(): TestImage {
  const [config, ...layers] = registryImage.blobs;
  assert.ok(config);
  const text = JSON.parse(config.bytes.toString());
  text.config.Cmd = ["serve", "/no-such-config.yml"];
  const bytes = Buffer.from(JSON.stringify(text));
  const manifest = JSON.parse(registryImage.manifest.toString());
  manifest.config = { ...manifest.config, digest: digestOf(bytes), size: bytes.length };
  const whole = Buffer.from(JSON.stringify(manifest));
  return {
    ...registryImage,
    ...{ manifest: whole, digest: digestOf(whole), blobs: [{ digest: digestOf(bytes), bytes }, ...layers] },
  };
}

let count = 0;
let layout: SiteLayout;
function newSite(): void {
  count += 1;
  layout = siteLayout(join(folder, `site-${count}`));
}
afterEach(async () => {
  await removeContainers(engine, layout);
});

const seen = () => seenAt(engine, layout, ["team/app:1", "team/old:1", "team/new:1"]);
const keptSets = async () => (await readdir(layout.keptCertificates)).length;

/** The port of the next release is taken by somebody while it is installed, after preflight has seen it free. */
let taker: Server | undefined;
function takePort(): void {
  taker = createServer().listen(8443, "0.0.0.0");
}
afterEach(() => void taker?.close());

/** Does something when a step begins. */
function when(step: string, work: () => void): Reporter {
  return {
    ...silentReporter,
    step(title) {
      if (title === step) work();
      return silentReporter.step(title);
    },
  };
}

test("a port that is taken between preflight and run: all is as it was, who has it, and what to type", async () => {
  newSite();
  await installAt(layout, first);
  const start = await seen();
  const next = await bundle(2, second, { files, port: 8443 });
  const typed = ["drydock", "install", "/media/stick/site.tar", "--new-certs"];
  const options = { typed, newCertificates: true, onFindings: takePort };
  await assert.rejects(installAt(layout, next, options), (error: DrydockError) => {
    assert.equal(error.kind, "host");
    assert.match(
      error.message,
      /^start the registry: port 8443 is taken by .*process \d+.*; the one before it/,
    );
    assert.match(error.message, /\nAll is as it was before: plant-7, release 1, is served\.$/);
    assert.match(error.hint ?? "", /`drydock install \/media\/stick\/site\.tar --new-certs --port \d+`/);
    return true;
  });
  assert.deepEqual(await seen(), start);
  assert.equal(await keptSets(), 1, "the new CA's key is gone");
  taker?.close();
  const result = await installAt(layout, next, { newCertificates: true });
  assert.deepEqual(result.placed, { blobs: 0, bytes: 0 });
  assert.deepEqual(await served(layout, ["team/app:1"], 8443), { "team/app:1": two.digest });
  assert.equal(await readFile(join(layout.files, "a.txt"), "utf8"), "a2");

  // Back to the first again, whose port somebody has by now: the way back is as good.
  const there = { certificates: await readCertificates(layout), files: await filesBelow(layout.files) };
  const server = createServer();
  const reporter = when("tags", () => server.listen(443, "0.0.0.0"));
  await assert.rejects(rollback({ site: layout.root }, reporter), {
    kind: "host",
    message: /^start the registry: port 443 is taken .*\nAll is as it was before: plant-7, release 2/s,
    hint: "Stop what listens there. Then run the same command again.",
  });
  server.close();
  assert.deepEqual(await served(layout, ["team/app:1"], 8443), { "team/app:1": two.digest });
  assert.deepEqual(
    { certificates: await readCertificates(layout), files: await filesBelow(layout.files) },
    there,
  );
  await rollback({ site: layout.root }, silentReporter);
  assert.deepEqual(butForId(await seen()), butForId(start));
});

test("a registry that does not start: all is as it was, with its last words", async () => {
  newSite();
  await installAt(layout, first);
  const start = await seen();
  const next = await bundle(2, second, { files, registryImage: broken() });
  await assert.rejects(installAt(layout, next), {
    kind: "host",
    message:
      /^start the registry: it ended with code 1; the one before it is started again\nIts last output:\n.*no-such-config.*\nAll is as it was before: plant-7, release 1, is served\.$/s,
    hint: /^When that is mended, run the same command again: `drydock install .*`$/,
  });
  assert.deepEqual(await seen(), start);
});

test("a registry that serves, but not all of it: all is as it was", async () => {
  newSite();
  await installAt(layout, first);
  const start = await seen();
  const next = await bundle(2, second, { files, access: "push" });
  // A disk that loses a blob right then.
  const reporter = when("prove tags", () => rmSync(join(layout.storage, blobPath(two.digest))));
  const options = { site: layout.root, bundle: next.path, newCertificates: true, askPassphrase: undefined };
  await assert.rejects(install(options, reporter), {
    kind: "host",
    message: /team\/app:1: .*; the one before it is started again\n.*\nAll is as it was before: plant-7/s,
    hint: /run the same command again/,
  });
  assert.deepEqual(await seen(), start);
  assert.equal(await keptSets(), 1);
});

test("a site's first install that fails leaves nothing that is seen", async () => {
  newSite();
  const next = await bundle(1, second, { files, registryImage: broken() });
  await assert.rejects(installAt(layout, next), {
    message: /^start the registry: .*\nAll is as it was before: nothing is served\.$/s,
  });
  assert.equal(await inspectContainer(engine, "registry"), undefined);
  assert.equal(await readJournal(layout), undefined);
  assert.deepEqual([...(await filesBelow(layout.files)), ...(await filesBelow(layout.certs))], []);
  assert.deepEqual(await readdir(layout.keptCertificates), []);
  const tags = readdirSync(layout.storage, { recursive: true }).filter((path) =>
    /\/current\/link$/.test(String(path)),
  );
  assert.deepEqual(tags, []);
});

test("a file that cannot be shown stops it: all is as it was", async () => {
  newSite();
  await installAt(layout, first);
  const start = await seen();
  // Where a name should be there is a folder of somebody's that is not empty.
  const next = await bundle(2, second, { files: { ...files, mine: "m" } });
  await mkdir(join(layout.files, "mine"));
  await writeFile(join(layout.files, "mine/own.txt"), "own");
  await assert.rejects(installAt(layout, next), {
    kind: "host",
    message: /^write ".*\/files\/mine": .*\nAll is as it was before: plant-7, release 1, is served\.$/s,
  });
  assert.deepEqual(await seen(), { ...start, files: [...start.files, "mine/own.txt own"] });
});
