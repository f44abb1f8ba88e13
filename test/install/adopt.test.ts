/** Taking over a registry that was set up by hand, and giving it back, on a real engine, asked over TLS. */
import assert from "node:assert/strict";
import { cp, readdir, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  inspectContainer,
  removeContainer,
  renameContainer,
  startContainer,
  stopContainer,
} from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { dryRun } from "../../src/install/dry-run.ts";
import { prune } from "../../src/install/prune.ts";
import { rollback } from "../../src/install/rollback.ts";
import { siteStatus } from "../../src/install/status.ts";
import { uninstall } from "../../src/install/uninstall.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { silentReporter } from "../../src/reporter.ts";
import { readAdopted } from "../../src/site/adopted.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { type DocumentedOptions, makeDocumentedCertificates, runDocumented } from "../lab/documented.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { filesBelow, snapshot, type WrittenBundle } from "./bundles.ts";
import { goInside, hostAddress } from "./inside.ts";
import { installAt, killAt, listedTags, releaseBundle, served } from "./releases.ts";
import { load, registryName, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
const remembered = join(folder, "etc-drydock");
process.env.DRYDOCK_CONFIG_DIR = remembered;
const engine = connectEngine();
const registryImage = await makeRegistryImage();
await load(registryImage, "registry:2");
const image = (text: string) => makeImage({ files: { "app.txt": text } });
type Image = ReturnType<typeof image>;
const [old, older, one, two, pushed] = [
  image("old"),
  image("older"),
  image("1"),
  image("2"),
  image("pushed"),
];

const hosts = [registryName, hostAddress];
const origin = join(folder, "origin");
await makeDocumentedCertificates(run, { root: origin, hosts });
const bundle = (release: number, tags: Record<string, Image>) =>
  releaseBundle({ folder, release, registryImage, tags, addresses: [...hosts, "127.0.0.1"] });
const first = await bundle(1, { "team/app:latest": one, "team/new:1": one });
const second = await bundle(2, { "team/app:latest": two, "team/app:2": two });

const names = ["team/app:latest", "legacy/tool:5", "team/new:1", "team/app:2"];
const answers = (...list: string[]) =>
  Object.fromEntries(names.map((name, number) => [name, list[number] ?? "404"]));
const before = answers(old.digest, older.digest);
const afterFirst = answers(one.digest, older.digest, one.digest);
const afterSecond = answers(two.digest, older.digest, one.digest, two.digest);

let count = 0;
let layout: SiteLayout;
let id: string;
type Documented = Partial<DocumentedOptions>;
async function documented(options: Documented = {}): Promise<void> {
  await directories(options);
  id = await runDocumented(run, { root: layout.root, hosts, ...options });
  await untilItServes(options.port);
}
async function untilItServes(port = 443): Promise<void> {
  const url = `https://${hostAddress}:${port}/v2/`;
  const asked = ["--silent", "--show-error", "--fail", "--cacert", layout.caCertificate, url];
  const late = AbortSignal.timeout(60_000);
  for (;;) {
    const { code, stderr } = await run("curl", asked, { mayFail: true });
    if (code === 0) return;
    assert.ok(!late.aborted, stderr);
    await sleep(50);
  }
}
/** Its clients know it by its address: the certificate does not name 127.0.0.1. */
const serves = (wanted: readonly string[], port = 443) => served(layout, wanted, port, hostAddress);

async function directories({ certificateName }: Pick<Documented, "certificateName"> = {}): Promise<void> {
  count += 1;
  layout = siteLayout(join(folder, `site-${count}`));
  await cp(origin, layout.root, { recursive: true });
  if (certificateName !== undefined)
    await rename(layout.serverCertificate, join(layout.certs, certificateName));
  await storeImage(layout, "team/app", "latest", old);
  await storeImage(layout, "legacy/tool", "5", older);
}
afterEach(async () => {
  for (const name of ["registry", "registry-previous", "registry-next", "registry-adopted", "other"])
    await removeContainer(engine, name);
});

const adopt = (what: WrittenBundle, more: Parameters<typeof installAt>[2] = {}) =>
  installAt(layout, what, { adopt: true, ...more });
const goBack = (release?: string) =>
  rollback({ site: layout.root, ...(release === undefined ? {} : { release }) }, silentReporter);

/** What shows whether a container is as it was. */
async function stateOf(name: string): Promise<string> {
  const info = await inspectContainer(engine, name);
  if (info === undefined) return "none";
  return `${info.Id} ${info.Name} ${info.HostConfig.RestartPolicy?.Name} ${info.State.Running}`;
}

/** All files of the site but the storage's, with what is in them. */
async function files(): Promise<Record<string, string>> {
  const paths = (await filesBelow(layout.root)).filter((path) => !path.startsWith("storage/"));
  const found = paths.map(async (path) => {
    const { mode } = await stat(join(layout.root, path));
    return [path, `${mode.toString(8)} ${digestOf(await readFile(join(layout.root, path)))}`] as const;
  });
  return Object.fromEntries(await Promise.all(found));
}

/** As it was: the container, the files, the tags. */
async function isGivenBack(filesBefore: Record<string, string>, what = ""): Promise<void> {
  assert.equal(await stateOf("registry"), `${id} /registry always true`, what);
  assert.equal(await stateOf("registry-adopted"), "none", what);
  assert.deepEqual(await files(), filesBefore, what);
  assert.deepEqual((await readdir(layout.root)).sort(), ["certs", "storage"], what);
  assert.deepEqual(await serves(names), before, what);
  assert.deepEqual(await listedTags(layout, "team/app", 443, hostAddress), ["latest"], what);
  await assert.rejects(readdir(remembered), { code: "ENOENT" }, what);
}

test("old and new content with the same certificates; rollback gives it back, and it can be taken over again", async () => {
  await documented();
  const filesBefore = await files();
  assert.deepEqual(await serves(names), before);
  const result = await adopt(first);
  assert.deepEqual([result.certificates, result.adopted], ["keep", { containerKept: true }]);
  assert.equal(result.container, 'made; the one before it is kept as "registry-adopted"');
  // The certificate does not name 127.0.0.1, and clients never ask there.
  assert.deepEqual(result.settings, { addresses: hosts, port: 443, access: "push" });
  assert.deepEqual(await serves(names), afterFirst);
  assert.equal(await stateOf("registry-adopted"), `${id} /registry-adopted no false`);
  for (const [path, content] of Object.entries(filesBefore)) assert.equal((await files())[path], content);
  assert.equal((await stat(layout.adopted.record)).mode & 0o777, 0o600);
  const record = await readAdopted(layout);
  assert.deepEqual(record?.tagsBefore, {
    "team/app": { latest: old.digest },
    "legacy/tool": { "5": older.digest },
  });
  const { adopted, healthy, findings } = await siteStatus({ site: layout.root });
  assert.equal(adopted?.container, "registry-adopted");
  assert.ok(healthy, JSON.stringify(findings));

  const state = await stateOf("registry");
  assert.equal((await adopt(first)).changed, false);
  assert.equal((await installAt(layout, first)).changed, false);
  assert.equal(await stateOf("registry"), state);
  await storeImage(layout, "team/pushed", "x", pushed);

  const back = await goBack();
  assert.deepEqual(back.givenBack, { container: "registry", running: true });
  assert.deepEqual([back.tagsMoved, back.tagsRemoved, back.certificates], [1, 1, "unchanged"]);
  await isGivenBack(filesBefore);
  assert.deepEqual(await serves(["team/pushed:x"]), { "team/pushed:x": pushed.digest });
  await assert.rejects(goBack(), { kind: "input", message: /no release is served/ });
  assert.equal((await adopt(first)).placed.bytes < 30_000_000, true);
  assert.deepEqual(await serves(names), afterFirst);
  await goBack();
  await isGivenBack(filesBefore);
});

test("a second release is gone back from first; then what was there is given back, over both", async () => {
  await documented();
  const filesBefore = await files();
  await adopt(first);
  const access = (await installAt(layout, second)).settings.access;
  assert.equal(access, "push");
  assert.deepEqual(await serves(names), afterSecond);
  assert.equal((await goBack()).to?.release, 1);
  assert.deepEqual(await serves(names), afterFirst);
  await goBack();
  await isGivenBack(filesBefore);
});

test("a prune in between leaves what is needed to give it back", async () => {
  await documented();
  const filesBefore = await files();
  await adopt(first);
  await installAt(layout, second);
  const { removed } = await prune({ site: layout.root, keep: 1 }, silentReporter);
  assert.deepEqual(
    removed.releases.map(({ release }) => release),
    [1],
  );
  assert.deepEqual(await serves(names), answers(two.digest, older.digest, "404", two.digest));
  await goBack();
  await isGivenBack(filesBefore);
});

test("without --adopt nothing is touched, and the hints name it", async () => {
  await documented();
  const site = await snapshot(layout.root);
  const state = await stateOf("registry");
  await assert.rejects(installAt(layout, first), (error: Error & { data?: { findings: object[] } }) => {
    const text = JSON.stringify(error.data?.findings);
    assert.match(text, /"container".*To take it over: `drydock install \S+ --adopt`/);
    assert.match(
      text,
      /hold what drydock did not put there.*To take it over, .*: `drydock install \S+ --adopt`/,
    );
    return true;
  });
  assert.deepEqual(await snapshot(layout.root), site);
  assert.equal(await stateOf("registry"), state);
  const { findings, plan } = await dryRun(
    { site: layout.root, bundle: first.path, adopt: true, askPassphrase: undefined },
    silentReporter,
  );
  assert.deepEqual(
    findings.filter(({ level }) => level === "error"),
    [],
  );
  const text = findings.map((found) => `${found.check}: ${found.text}`).join("\n");
  assert.match(
    text,
    /adopt: container "registry" \(image registry:2, runs, port 443, takes pushes\) is replaced, and kept/,
  );
  assert.match(text, /registry\.pem stays: for registry\.plant7\.lan, 198\.18\.21\.10, until \d{4}-/);
  assert.match(text, /storage stays, with 2 tags in 2 repositories/);
  assert.match(text, /whoever reaches it may push, as before, and the bundle says read-only/);
  assert.match(plan.container ?? "", /kept as "registry-adopted"/);
  assert.deepEqual(await snapshot(layout.root), site);
  assert.equal(await stateOf("registry"), state);
});

test("killed at any step: the old one serves, or the new one does; run again, or given back", async () => {
  for (const step of ["place", "link", "run", "prove addresses", "prove tags"]) {
    for (const then of ["run", "prove addresses"].includes(step) ? ["again", "back"] : ["again"]) {
      const what = `${step}, then ${then}`;
      await documented();
      const filesBefore = await files();
      await killAt(layout, step, first.path, "--adopt");
      assert.equal((await serves(names))["legacy/tool:5"], older.digest, what);
      if (then === "again") await goesOn(what);
      await goBack();
      await isGivenBack(filesBefore, what);
      await removeContainer(engine, "registry");
    }
  }
});

/** The same command after a kill. */
async function goesOn(what: string): Promise<void> {
  await adopt(first);
  assert.deepEqual(await serves(names), afterFirst, what);
  assert.equal(await stateOf("registry-adopted"), `${id} /registry-adopted no false`, what);
}

test("killed while the containers changed places", async () => {
  const halves: [string, () => Promise<void>][] = [
    ["stopped", () => stopContainer(engine, "registry")],
    ["renamed", () => renameContainer(engine, "registry", "registry-adopted")],
    [
      "made, and never started",
      async () => {
        const Labels = { "org.drydock.site": layout.root };
        await engine.docker.createContainer({ name: "registry", Image: "registry:2", Labels });
      },
    ],
    ["both run after a power cut", () => startContainer(engine, "registry-adopted")],
  ];
  for (const steps of halves.keys()) {
    for (const then of steps % 2 === 1 ? ["again", "back"] : ["again"]) {
      await documented();
      const filesBefore = await files();
      await killAt(layout, "run", first.path, "--adopt");
      const done = halves.slice(0, steps + 1);
      for (const [, half] of done) await half();
      const what = `${done.at(-1)?.[0]}, then ${then}`;
      if (then === "again") await goesOn(what);
      await goBack();
      await isGivenBack(filesBefore, what);
      await removeContainer(engine, "registry");
    }
  }
});

test("a giving back that was killed goes on; an install in between is refused", async () => {
  for (const step of ["tags", "container", "records"]) {
    await documented();
    const filesBefore = await files();
    await adopt(first);
    await killAt(layout, step, "rollback");
    await assert.rejects(adopt(first), {
      kind: "preflight",
      message: /giving the registry back .* was cut short/,
    });
    await assert.rejects(prune({ site: layout.root }, silentReporter), {
      message: /giving back .* cut short/,
    });
    await assert.rejects(goBack("1"), { kind: "input", message: /giving back what was here was begun/ });
    assert.equal((await goBack()).givenBack?.container, "registry", step);
    await isGivenBack(filesBefore, step);
    await removeContainer(engine, "registry");
  }
});

test("a new registry that does not answer: the old one is back, with its name, and its policy", async () => {
  await documented();
  const filesBefore = await files();
  const broken = await releaseBundle({
    ...{ folder, release: 1, addresses: [...hosts, "127.0.0.1"], tags: { "team/new:1": one } },
    registryImage: makeImage({ cmd: ["/no-such-program"] }),
  });
  await assert.rejects(adopt(broken), {
    kind: "host",
    message:
      /no-such-program.*the one before it is started again\nAll is as it was before: the registry that was/s,
  });
  assert.equal(await stateOf("registry"), `${id} /registry always true`);
  await untilItServes();
  assert.deepEqual(await serves(names), before);
  // Another bundle is taken then.
  await adopt(second);
  assert.deepEqual(await serves(names), answers(two.digest, older.digest, "404", two.digest));
  await goBack();
  await isGivenBack(filesBefore);
});

test("certificates under other names are copied, and the copies go when it is given back", async () => {
  await documented({ certificateName: "registry.crt" });
  const filesBefore = await files();
  await adopt(first);
  const crt = await readFile(join(layout.certs, "registry.crt"), "utf8");
  assert.equal(await readFile(layout.serverCertificate, "utf8"), crt);
  assert.deepEqual(await serves(names), afterFirst);
  await goBack();
  await isGivenBack(filesBefore);
});

test("--new-certs: the others are put back when it is given back", async () => {
  await documented();
  const filesBefore = await files();
  const { certificates, settings } = await adopt(first, { newCertificates: true });
  assert.equal(certificates, "make");
  assert.deepEqual(settings.addresses, [...hosts, "127.0.0.1"]);
  assert.notEqual((await files())["certs/ca.pem"], filesBefore["certs/ca.pem"]);
  assert.deepEqual(await serves(names), afterFirst);
  const { certificates: back } = await goBack();
  assert.equal(back, "put back");
  await isGivenBack(filesBefore);
});

test("one that is stopped is taken over, and stays stopped when it is given back", async () => {
  await documented();
  await stopContainer(engine, "registry");
  await adopt(first);
  assert.deepEqual(await serves(names), afterFirst);
  const { givenBack } = await goBack();
  assert.deepEqual(givenBack, { container: "registry", running: false });
  assert.equal(await stateOf("registry"), `${id} /registry always false`);
});

test("another port stays; --port and --access say otherwise", async () => {
  await documented({ port: 5443 });
  const kept = await adopt(first);
  assert.deepEqual([kept.settings.port, kept.settings.access], [5443, "push"]);
  assert.match(JSON.stringify(kept.findings), /it stays on port 5443, and the bundle says 443/);
  assert.deepEqual(await serves(names, 5443), afterFirst);
  assert.equal((await installAt(layout, second)).settings.port, 5443);
  await goBack();
  await goBack();
  assert.deepEqual(await serves(names, 5443), before);
  const said = await adopt(first, { choices: { port: 443, access: "read-only" } });
  assert.deepEqual([said.settings.port, said.settings.access], [443, "read-only"]);
  assert.deepEqual(await serves(names), afterFirst);
  await goBack();
  assert.deepEqual(await serves(names, 5443), before);
});

test("directories without a container, as uninstall leaves them too, are taken over and given back", async () => {
  await directories();
  const filesBefore = await files();
  const { adopted } = await adopt(first);
  assert.deepEqual(adopted, { containerKept: false });
  assert.deepEqual(await serves(names), afterFirst);
  assert.deepEqual((await goBack()).givenBack, {});
  assert.equal(await stateOf("registry"), "none");
  assert.deepEqual(await files(), filesBefore);
  await adopt(first);
  await uninstall({ site: layout.root, deleteData: false }, silentReporter);
  assert.deepEqual(await files(), filesBefore);
  await assert.rejects(installAt(layout, second), { hint: /--adopt/ });
  await adopt(second);
  assert.deepEqual(await serves(names), afterSecond);
  await goBack();
  await adopt(second, { newCertificates: true });
});

test("uninstall gives the container back on the data as they are; with the data it goes too", async () => {
  await documented();
  await adopt(first);
  const address = process.env.DOCKER_HOST;
  process.env.DOCKER_HOST = "unix:///run/no-engine.sock";
  const blind = await uninstall({ site: layout.root, deleteData: false }, silentReporter);
  process.env.DOCKER_HOST = address;
  assert.equal(blind.left.length, 2);
  assert.ok((await readdir(layout.root)).includes("adopted"));
  const { givenBack, left } = await uninstall({ site: layout.root, deleteData: false }, silentReporter);
  assert.deepEqual([givenBack, left], ["registry", []]);
  assert.equal(await stateOf("registry"), `${id} /registry always true`);
  assert.deepEqual(await serves(names), afterFirst);
  assert.deepEqual((await readdir(layout.root)).sort(), ["certs", "storage"]);
  await assert.rejects(uninstall({ site: layout.root, deleteData: true }, silentReporter), {
    message: /is not drydock's/,
  });
  await adopt(first);
  const all = await uninstall({ site: layout.root, deleteData: true }, silentReporter);
  assert.deepEqual(all.left, []);
  assert.ok(all.removed.includes("container registry-adopted"));
  assert.equal((await stateOf("registry")) + (await stateOf("registry-adopted")), "nonenone");
  await assert.rejects(readdir(layout.root), { code: "ENOENT" });
});

test("a container that was removed meanwhile cannot be given back, and nothing is changed", async () => {
  await documented();
  await adopt(first);
  await removeContainer(engine, "registry-adopted");
  const state = await snapshot(layout.root);
  await assert.rejects(goBack(), { kind: "preflight", message: /was removed/, hint: /drydock uninstall/ });
  assert.deepEqual(await snapshot(layout.root), state);
  const { left } = await uninstall({ site: layout.root, deleteData: false }, silentReporter);
  assert.deepEqual(left, []);
});
