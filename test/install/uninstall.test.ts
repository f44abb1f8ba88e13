/** What is left after an uninstall, on a real engine: after whole and broken installs, and where it is refused. */
import assert from "node:assert/strict";
import { lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { inspectContainer, removeContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { isDeletable } from "../../src/install/deletable.ts";
import { siteLabel } from "../../src/install/registry-container.ts";
import { imageRepository } from "../../src/install/serve.ts";
import { uninstall } from "../../src/install/uninstall.ts";
import { silentReporter } from "../../src/reporter.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { filesBelow, snapshot } from "./bundles.ts";
import { goInside } from "./inside.ts";
import { installAt, killAt, releaseBundle } from "./releases.ts";

const folder = await goInside(import.meta.url);
const remembered = join(folder, "etc-drydock");
process.env.DRYDOCK_CONFIG_DIR = remembered;
const engine = connectEngine();
const registryImage = await makeRegistryImage();
const bundle = await releaseBundle({
  ...{ folder, release: 1, registryImage },
  tags: { "team/app:1": makeImage() },
});

let count = 0;
const newSite = () => siteLayout(join(folder, `site-${++count}`));
afterEach(() => removeContainer(engine, "registry"));

const remove = (layout: SiteLayout, deleteData = false) =>
  uninstall({ site: layout.root, deleteData }, silentReporter);

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

async function ourImages(): Promise<string[]> {
  const all = await engine.docker.listImages();
  return all.flatMap(({ RepoTags }) => RepoTags ?? []).filter((name) => name.startsWith(imageRepository));
}

/** Where no engine answers. */
async function withoutEngine(work: () => Promise<void>): Promise<void> {
  const address = process.env.DOCKER_HOST;
  process.env.DOCKER_HOST = "unix:///run/no-engine.sock";
  await work().finally(() => {
    process.env.DOCKER_HOST = address;
  });
}

async function nothingInEngine(what: string): Promise<void> {
  for (const name of ["registry", "registry-previous", "registry-next"])
    assert.equal(await inspectContainer(engine, name), undefined, `${what}: ${name}`);
  assert.deepEqual(await ourImages(), [], what);
}

test("only the data is left, as it was; a second run finds nothing", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  await mkdir(layout.incoming);
  await writeFile(join(layout.incoming, "unfinished"), "x");
  const data = async () => [await filesBelow(layout.storage), await filesBelow(layout.certs)];
  await rm(layout.incoming, { recursive: true });
  const before = await data();
  await mkdir(layout.incoming);
  const { removed, kept, left } = await remove(layout);
  assert.deepEqual(left, []);
  assert.ok(removed.includes("container registry"));
  assert.deepEqual(kept, [layout.storage, layout.certs]);
  assert.deepEqual(await data(), before);
  assert.deepEqual((await readdir(layout.root)).sort(), ["certs", "drydock.json", "storage"]);
  assert.equal(await exists(remembered), false);
  await nothingInEngine("uninstalled");
  const state = await snapshot(layout.root);
  assert.deepEqual((await remove(layout)).removed, []);
  assert.deepEqual(await snapshot(layout.root), state);
});

test("data that were kept can be deleted later, but are not taken for a site", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  await remove(layout);
  await assert.rejects(installAt(layout, bundle), {
    kind: "preflight",
    message: /hold data kept by `drydock uninstall` on 20/,
    hint: /--adopt/,
  });
  assert.deepEqual((await remove(layout, true)).left, []);
  assert.equal(await exists(layout.root), false);
});

test("where a record is damaged, what is said to do leads back to the same certificates", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  const certs = await filesBelow(layout.certs);
  await writeFile(layout.release(bundle.digest).record, "x");
  await assert.rejects(installAt(layout, bundle), { kind: "host", hint: /`drydock uninstall`.*--adopt/ });
  assert.deepEqual((await remove(layout)).left, []);
  const { certificates, proof } = await installAt(layout, bundle, { adopt: true });
  assert.deepEqual([certificates, proof.tags], ["keep", 1]);
  assert.deepEqual(await filesBelow(layout.certs), certs);
});

test("data are not deleted under a container that uses them, nor where the engine cannot say", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  const image = (await ourImages())[0] ?? "";
  const whole = await snapshot(layout.root);
  await withoutEngine(async () => {
    await assert.rejects(remove(layout, true), { kind: "preflight", message: /no-engine\.sock/ });
    await assert.rejects(isDeletable(layout.root), { kind: "preflight" });
  });
  assert.deepEqual(await snapshot(layout.root), whole);
  const ours = await inspectContainer(engine, "registry");
  assert.equal(ours?.State.Running, true);

  // Somebody serves from it with a container of their own, which does not even run.
  const HostConfig = { Binds: [`${layout.storage}:/var/lib/registry`] };
  await engine.docker.createContainer({ name: "their-registry", Image: image, HostConfig });
  try {
    await assert.rejects(remove(layout, true), {
      kind: "preflight",
      message: /container "their-registry" uses it/,
      hint: /docker rm -f their-registry/,
    });
    assert.deepEqual(await snapshot(layout.root), whole);
    await remove(layout);
    await assert.rejects(remove(layout, true), { kind: "preflight", message: /"their-registry" uses it/ });
  } finally {
    await removeContainer(engine, "their-registry");
  }
  assert.deepEqual((await remove(layout, true)).left, []);
  assert.equal(await exists(layout.root), false);
  await nothingInEngine("deleted");
});

test("with the data, nothing at all is left; a second run finds nothing", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  assert.deepEqual((await remove(layout, true)).left, []);
  assert.equal(await exists(layout.root), false);
  assert.equal(await exists(remembered), false);
  await nothingInEngine("deleted");
  assert.deepEqual(await remove(layout, true), {
    ...{ site: layout.root, removed: [], kept: [], emptied: [], left: [] },
  });
});

test("an install that was killed leaves nothing behind either", async () => {
  for (const step of ["place", "link", "run", "prove tags"]) {
    for (const deleteData of [false, true]) {
      const layout = newSite();
      await killAt(layout, step, bundle.path);
      assert.deepEqual((await remove(layout, deleteData)).left, [], step);
      await nothingInEngine(step);
      const names = await readdir(layout.root).catch(() => []);
      assert.deepEqual(
        names.filter((name) => !["storage", "certs", "drydock.json"].includes(name)),
        [],
        step,
      );
      if (deleteData || step === "place") assert.equal(await exists(layout.root), false, step);
    }
  }
});

test("a marker and records that are no JSON any more are no obstacle", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  await writeFile(layout.marker, "");
  await writeFile(layout.journal, "{");
  await writeFile(layout.release(bundle.digest).record, "{");
  assert.deepEqual((await remove(layout, true)).left, []);
  assert.equal(await exists(layout.root), false);
});

test("a folder that is not drydock's is neither deleted nor touched, nor is the whole file system", async () => {
  const layout = newSite();
  await mkdir(layout.releases, { recursive: true });
  await writeFile(join(layout.releases, "theirs"), "theirs");
  const before = await snapshot(layout.root);
  await assert.rejects(remove(layout, true), { kind: "preflight", message: /is not drydock's/ });
  assert.deepEqual((await remove(layout)).removed, []);
  assert.deepEqual(await snapshot(layout.root), before);
  const link = join(folder, "link-to-all");
  await symlink("/", link);
  for (const root of ["/", link])
    await assert.rejects(remove(siteLayout(root), true), { kind: "preflight", message: /whole file system/ });
});

test("a container of another site, and the image it uses, are left alone", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  const [image] = await ourImages();
  assert.ok(image);
  await removeContainer(engine, "registry");
  const Labels = { [siteLabel]: "/another/site" };
  const { id } = await engine.docker.createContainer({ name: "registry", Image: image, Labels });
  assert.deepEqual((await remove(layout, true)).left, []);
  assert.equal((await inspectContainer(engine, "registry"))?.Id, id);
  assert.deepEqual(await ourImages(), [image]);
});

test("with the engine gone the rest is removed, and the engine's part by a later run", async () => {
  const layout = newSite();
  await installAt(layout, bundle);
  await withoutEngine(async () => {
    const { left } = await remove(layout);
    assert.deepEqual(
      left.map(({ what }) => what),
      ["the registry's container and image"],
    );
    assert.match(left[0]?.why ?? "", /no-engine\.sock/);
  });
  assert.deepEqual((await readdir(layout.root)).sort(), ["certs", "drydock.json", "storage"]);
  assert.ok(await inspectContainer(engine, "registry"));
  assert.deepEqual((await remove(layout)).removed.slice(0, 1), ["container registry"]);
  await nothingInEngine("the engine is back");
});

test("mount points, the site itself or a folder in it, are emptied and stay; what a link leads to stays", async () => {
  const layout = newSite();
  const outside = join(folder, "outside");
  await mkdir(outside);
  await writeFile(join(outside, "mine"), "mine");
  await mkdir(layout.root);
  await run("mount", ["-t", "tmpfs", "tmpfs", layout.root]);
  await mkdir(layout.storage);
  await run("mount", ["-t", "tmpfs", "tmpfs", layout.storage]);
  try {
    await installAt(layout, bundle);
    await symlink(outside, join(layout.root, "elsewhere"));
    const { emptied, left } = await remove(layout, true);
    assert.deepEqual(left, []);
    assert.deepEqual(emptied, [layout.storage, layout.root]);
    assert.deepEqual(await readdir(layout.root), ["storage"]);
    assert.deepEqual(await readdir(layout.storage), []);
    assert.equal(await readFile(join(outside, "mine"), "utf8"), "mine");
    assert.deepEqual((await remove(layout, true)).removed, []);
  } finally {
    await run("umount", [layout.storage]);
    await run("umount", [layout.root]);
  }
});

test("a site that is reached through a link is deleted, with the link", async () => {
  const real = newSite();
  const layout = siteLayout(join(folder, "the-site"));
  await mkdir(real.root);
  await symlink(real.root, layout.root);
  await installAt(layout, bundle);
  assert.deepEqual((await remove(layout, true)).left, []);
  assert.equal(await exists(layout.root), false);
  assert.equal(await exists(real.root), false);
});
