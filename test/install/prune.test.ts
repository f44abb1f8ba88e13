/** What a prune removes and what it leaves, on a real engine with the real registry, pulled over TLS. */
import assert from "node:assert/strict";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterEach, test } from "node:test";
import {
  createContainer,
  inspectContainer,
  removeContainer,
  startContainer,
  stopContainer,
} from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { removeContainers } from "../../src/install/containers.ts";
import { install } from "../../src/install/install.ts";
import { type PruneResult, prune } from "../../src/install/prune.ts";
import { rollback } from "../../src/install/rollback.ts";
import { imageRepository } from "../../src/install/serve.ts";
import { siteStatus } from "../../src/install/status.ts";
import { readStorageTree } from "../../src/install/storage-tree.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobPath, repositoryPath, tagCurrentLinkPath } from "../../src/oci/storage.ts";
import { silentReporter } from "../../src/reporter.ts";
import { readJournal } from "../../src/site/journal.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { listReleases } from "../../src/site/record.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { makeImage, makeIndex, makeLayer, type TestImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { filesContent, registryContent, snapshot, type WrittenBundle, writeBundleOf } from "./bundles.ts";
import { goInside } from "./inside.ts";
import { killPrune, pullAll, pulled, push, treeContent } from "./prunes.ts";
import { installAt, killAt, listedTags } from "./releases.ts";
import { storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc-drydock");
const engine = connectEngine();
const registryImage = await makeRegistryImage();

const shared = makeLayer([{ path: "shared.txt", content: "in every image" }]);
const image = (text: string) => makeImage({ layers: [shared], files: { "app.txt": text } });
const [one, two, three, old, other] = [image("1"), image("2"), image("3"), image("old"), image("other")];
const [pushed, foreign] = [image("pushed"), image("foreign")];
const [forAmd, forArm] = [
  image("amd"),
  makeImage({ platform: "linux/arm64", layers: [shared], files: { a: "arm" } }),
];
const multi = makeIndex([forAmd, forArm]);

let written = 0;
async function bundle(
  release: number,
  tags: Record<string, TestImage>,
  more: { name?: string; files?: Record<string, Buffer>; access?: "push" | "read-only" } = {},
): Promise<WrittenBundle> {
  const images = Object.entries(tags).map(([full, of]) => {
    const at = full.lastIndexOf(":");
    return treeContent(of, full.slice(0, at), full.slice(at + 1));
  });
  const files = more.files === undefined ? [] : [filesContent(more.files)];
  const contents = [registryContent(registryImage), ...files, ...images];
  written += 1;
  return await writeBundleOf(join(folder, `bundle-${written}.tar`), contents, {
    ...{ name: more.name ?? "plant-7", release, addresses: ["registry.plant7.lan", "127.0.0.1"] },
    registry: {
      reference: "docker.io/library/registry:2",
      images: { [hostPlatform]: registryImage.digest },
      port: 443,
      access: more.access ?? "push",
    },
  });
}

const first = await bundle(1, {
  ...{ "team/app:latest": one, "team/app:1": one, "team/old:1": old, "team/multi:1": multi },
  ...{ "team/changed:1": old, "team/foreign:1": other, "team/again:1": one },
});
const second = await bundle(2, { "team/app:latest": two, "team/app:2": two });
const third = await bundle(3, { "team/app:latest": three, "team/app:3": three, "team/new:3": three });

let count = 0;
let layout: SiteLayout;
function newSite(): void {
  count += 1;
  layout = siteLayout(join(folder, `site-${count}`));
}
afterEach(async () => {
  await removeContainers(engine, layout);
});

const pruneTo = (keep?: number): Promise<PruneResult> =>
  prune({ site: layout.root, ...(keep === undefined ? {} : { keep }) }, silentReporter);
const goBack = (release?: string) =>
  rollback({ site: layout.root, ...(release === undefined ? {} : { release }) }, silentReporter);
const numbers = (list: { release: number }[]) => list.map(({ release }) => release);
const ofTag = (name: string) => pulled(layout, name.replace(/:([^:]+)$/, "/manifests/$1"));

async function onDisk(digest: Digest): Promise<boolean> {
  return (await stat(join(layout.storage, blobPath(digest))).catch(() => undefined)) !== undefined;
}

/** What the image has alone: its config, its own layer and itself. */
const ownOf = ({ digest, blobs }: TestImage): Digest[] => [
  digest,
  ...blobs.map((blob) => blob.digest).filter((blob) => !two.blobs.some((of) => of.digest === blob)),
];

const isGone = (repository: string, ...images: TestImage[]) => areGone(repository, images, true);

/** @param freed whether no other repository has them */
async function areGone(repository: string, images: TestImage[], freed: boolean): Promise<void> {
  for (const of of images) {
    assert.equal(await pulled(layout, `${repository}/manifests/${of.digest}`), "404");
    for (const digest of ownOf(of)) {
      assert.equal(await pulled(layout, `${repository}/blobs/${digest}`), "404");
      if (freed) assert.equal(await onDisk(digest), false, digest);
    }
  }
}

async function isWhole(repository: string, ...images: TestImage[]): Promise<void> {
  const index = {
    repositories: {
      [repository]: {
        tags: {},
        revisions: images.map(({ digest }) => digest),
        layers: images.flatMap(({ blobs }) => blobs.map(({ digest }) => digest)),
      },
    },
  };
  assert.deepEqual(await pullAll(layout, index), {});
}

async function isWell(): Promise<void> {
  assert.equal(await readJournal(layout), undefined);
  const { findings } = await siteStatus({ site: layout.root, deep: true });
  assert.deepEqual(
    findings.filter(({ level, check }) => level === "error" && check !== "port"),
    [],
  );
}

async function startedAt(): Promise<string | undefined> {
  const info = await inspectContainer(engine, "registry");
  return info && `${info.Id} ${info.State.StartedAt}`;
}

/** Whenever a prune was cut short: no link, and so no request, leads to a blob that is gone. */
async function leadsToWhatIsThere(when: string): Promise<void> {
  const { tags, revisions, layers, blobs } = await readStorageTree(layout);
  for (const { repository, digest } of [...tags, ...revisions, ...layers])
    assert.ok(blobs.has(digest), `${when}: ${repository}@${digest}`);
}

/** All three, and what others have put there. */
async function fullSite(): Promise<void> {
  newSite();
  await storeImage(layout, "team/foreign", "1", foreign);
  await storeImage(layout, "foreign/app", "x", foreign);
  await install(
    { site: layout.root, bundle: first.path, askPassphrase: undefined, adopt: true },
    silentReporter,
  );
  await push(layout, "team/mine", "1", pushed);
  await push(layout, "team/app", "mine", pushed);
  await push(layout, "team/changed", "1", pushed);
  await push(layout, "team/again", "mine", one);
  await push(layout, "team/multi", "client", makeIndex([forArm]));
  for (const each of [second, third]) await installAt(layout, each);
}

async function asPruned(): Promise<void> {
  for (const { index } of [second, third]) assert.deepEqual(await pullAll(layout, index), {});
  await areGone("team/app", [one], false);
  await isGone("team/old", old);
  await isGone("team/multi", multi, forAmd);
  await isGone("team/foreign", other);
  assert.deepEqual(await listedTags(layout, "team/app"), ["2", "3", "latest", "mine"]);
  assert.deepEqual(await listedTags(layout, "team/multi"), ["client"]);
  // What clients have pushed, or named; what was there before drydock.
  await isWhole("team/app", pushed);
  await isWhole("team/mine", pushed);
  await isWhole("team/changed", pushed);
  await isWhole("team/again", one);
  await isWhole("team/multi", forArm);
  await isWhole("foreign/app", foreign);
  assert.equal(await ofTag("team/again:mine"), one.digest);
  assert.equal(await ofTag("team/changed:1"), pushed.digest);
  assert.equal(await ofTag("team/foreign:1"), foreign.digest);
  await isWell();
}

test("of three releases two are kept: they pull whole, what went is gone, what others put there stays", async () => {
  await fullSite();
  const before = await snapshot(layout.root);
  const told = await prune({ site: layout.root, dryRun: true }, silentReporter);
  assert.deepEqual(await snapshot(layout.root), before);
  const started = await startedAt();
  const used = async () => Number((await run("du", ["-sb", layout.root])).stdout.split("\t")[0]);
  const full = await used();

  const { proof, ...result } = await pruneTo();
  assert.deepEqual({ ...told, dryRun: false }, result);
  assert.deepEqual([numbers(result.removed.releases), numbers(result.kept)], [[1], [3, 2]]);
  assert.deepEqual(result.removed.tags, ["team/again:1", "team/app:1", "team/multi:1", "team/old:1"]);
  assert.deepEqual(result.putBack, ["team/foreign:1"]);
  // Of the old and the other one config, layer and manifest; of the index itself and one child; `one` is used.
  assert.equal(result.removed.blobs, 3 + 3 + 1 + 3);
  assert.equal(proof?.tags, 4);
  const freed = full - (await used());
  assert.ok(freed >= result.removed.bytes && freed < result.removed.bytes + 400_000, `${freed}`);
  assert.notEqual(await startedAt(), started);
  assert.equal(await stat(layout.release(first.digest).folder).catch(() => undefined), undefined);
  assert.equal(
    await stat(join(layout.storage, repositoryPath("team/old"))).catch(() => undefined),
    undefined,
  );
  await asPruned();

  const back = await goBack();
  assert.equal(back.to?.release, 2);
  assert.equal(await ofTag("team/app:latest"), two.digest);
  assert.deepEqual(await pullAll(layout, second.index), {});
  await goBack("3");
  assert.equal(await ofTag("team/app:latest"), three.digest);
  await asPruned();

  // What was here before drydock, taken over by the first release, is given back whole.
  await goBack();
  assert.equal((await goBack()).to, undefined);
  for (const [repository, tag] of [
    ["team/foreign", "1"],
    ["foreign/app", "x"],
  ] as const) {
    const link = join(layout.storage, tagCurrentLinkPath(repository, tag));
    assert.equal(await readFile(link, "utf8"), foreign.digest);
  }
  for (const digest of ownOf(foreign)) assert.ok(await onDisk(digest));
});

test("one is kept; then there is nothing to prune, and the registry runs on", async () => {
  newSite();
  for (const each of [first, second]) await installAt(layout, each);
  const { removed, kept } = await pruneTo(1);
  assert.deepEqual([numbers(removed.releases), numbers(kept)], [[1], [2]]);
  assert.deepEqual(await pullAll(layout, second.index), {});
  await isGone("team/app", one);
  const [started, before] = [await startedAt(), await snapshot(layout.root)];
  const again = await pruneTo(1);
  assert.deepEqual(
    [again.removed, again.proof],
    [{ releases: [], tags: [], blobs: 0, bytes: 0, files: [] }, undefined],
  );
  assert.equal(await startedAt(), started);
  assert.deepEqual(await snapshot(layout.root), before);
  await assert.rejects(goBack(), { kind: "input", message: /no release before it/ });
  await isWell();
  // What went can come again.
  await installAt(layout, first, { allowDowngrade: true });
  assert.deepEqual(await pullAll(layout, first.index), {});
  await isWell();
});

test("install --prune: the last thing that it does", async () => {
  newSite();
  await installAt(layout, first);
  await installAt(layout, second);
  const options = { site: layout.root, bundle: third.path, askPassphrase: undefined };
  const { pruned, proof } = await install({ ...options, prune: { keep: 1 } }, silentReporter);
  assert.deepEqual([numbers(pruned?.removed.releases ?? []), proof.tags], [[1, 2], 3]);
  assert.deepEqual(await pullAll(layout, third.index), {});
  await isGone("team/app", one, two);
  const again = await install({ ...options, prune: { keep: 1 } }, silentReporter);
  assert.deepEqual([again.changed, again.pruned?.removed.blobs], [false, 0]);
  await isWell();
});

test("killed at any step: what is left serves; prune, install or rollback go on from there", async () => {
  const places: [string, number?][] = [
    ["stop registry"],
    ["prune history"],
    ["prune tags"],
    ["prune images"],
    ["prune blobs"],
    ["prune blobs", 1],
    ["prune blobs", 5],
    ["prune releases"],
    ["run"],
    ["prove tags"],
  ];
  await fullSite();
  const copy = `${layout.root}.copy`;
  // By links: a file that is there is never written to, it is replaced.
  await run("cp", ["-al", layout.root, copy]);
  for (const [number, [step, blobs]] of places.entries()) {
    await stopContainer(engine, "registry");
    await rm(layout.root, { recursive: true });
    await run("cp", ["-al", copy, layout.root]);
    await startContainer(engine, "registry");
    await killPrune(layout, 2, step, blobs);
    assert.equal((await readJournal(layout))?.action, "prune", step);
    await leadsToWhatIsThere(step);
    const { findings } = await siteStatus({ site: layout.root });
    assert.ok(
      findings.some(({ level, text }) => level === "error" && /^a prune, .* was interrupted/.test(text)),
      step,
    );
    if (number % 3 === 1) {
      // The same bundle again: it serves, and its own prune completes the other one.
      const options = { site: layout.root, bundle: third.path, askPassphrase: undefined, prune: {} };
      assert.deepEqual(numbers((await install(options, silentReporter)).pruned?.kept ?? []), [3, 2]);
    } else if (number % 3 === 2) {
      assert.equal((await goBack()).to?.release, 2, step);
      assert.deepEqual(await pullAll(layout, second.index), {}, step);
      assert.equal((await goBack("3")).to?.release, 3, step);
      await pruneTo();
    } else await pruneTo();
    await asPruned();
    assert.deepEqual(numbers(await listReleases(layout)), [2, 3]);
    assert.equal((await pruneTo()).removed.blobs, 0);
  }
});

test("what cannot be removed is named, the registry runs again, and the next prune completes it", async () => {
  await fullSite();
  const path = dirname(join(layout.storage, blobPath(old.digest)));
  await run("mount", ["--bind", path, path]);
  try {
    await assert.rejects(pruneTo(), { kind: "host", message: new RegExp(old.digest.slice(7)) });
    assert.equal((await inspectContainer(engine, "registry"))?.State.Running, true);
    assert.deepEqual(await pullAll(layout, third.index), {});
  } finally {
    await run("umount", [path]);
  }
  await pruneTo();
  await asPruned();
});

test("an image manifest of an unknown media type, and a repository without _layers: what they lead to stays", async () => {
  newSite();
  await installAt(layout, first);
  const config = old.blobs[0]?.digest ?? old.digest;
  const odd = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: "application/vnd.example+json",
      parts: [config, old.digest],
    }),
  );
  await storeImage(layout, "team/old", "odd", {
    mediaType: "",
    manifest: odd,
    digest: digestOf(odd),
    blobs: [],
  });
  await storeImage(layout, "bare/app", "1", foreign);
  await rm(join(layout.storage, repositoryPath("bare/app"), "_layers"), { recursive: true });
  await installAt(layout, second);
  const { removed } = await pruneTo(1);
  assert.ok(removed.tags.includes("team/old:1"));
  await isGone("team/app", one);
  await isWhole("team/old", old);
  assert.ok(await onDisk(digestOf(odd)));
  assert.equal(await ofTag("bare/app:1"), foreign.digest);
  for (const digest of ownOf(foreign)) assert.ok(await onDisk(digest));
});

test("a value that a rollback needs stays as long as that rollback is possible", async () => {
  newSite();
  const sets = (release: number, ...tags: [string, TestImage][]) => bundle(release, Object.fromEntries(tags));
  const [a, b] = [await sets(1, ["team/app:t", one]), await sets(2, ["team/other:x", two])];
  const [c, d] = [await sets(3, ["team/app:t", three]), await sets(4, ["team/new:y", old])];
  for (const each of [a, b, c]) await installAt(layout, each);
  const before = await pruneTo();
  assert.deepEqual(
    [numbers(before.removed.releases), before.removed.tags, before.removed.blobs],
    [[1], [], 0],
  );
  assert.deepEqual(await pullAll(layout, a.index), {});
  assert.deepEqual((await pruneTo()).removed.bytes, 0);
  await goBack();
  assert.equal(await ofTag("team/app:t"), one.digest);
  await goBack("3");
  await installAt(layout, d);
  const { removed } = await pruneTo();
  assert.deepEqual([numbers(removed.releases), removed.tags], [[1, 2], ["team/other:x"]]);
  await isGone("team/app", one);
  await isGone("team/other", two);
  assert.deepEqual(await pullAll(layout, c.index), {});
  await goBack();
  assert.equal(await ofTag("team/app:t"), three.digest);
  await isWell();
  // The third goes last: nobody had the tag before it but the first, which is gone.
  await goBack("4");
  assert.deepEqual((await pruneTo(1)).removed.tags, ["team/app:t"]);
  await isGone("team/app", three);
});

test("a release that was rolled back goes; the last one of another bundle stays beside the kept ones", async () => {
  newSite();
  const base = await bundle(1, { "base/os:1": old }, { name: "base" });
  for (const each of [base, first, second, third]) await installAt(layout, each);
  await goBack();
  await push(layout, "team/app", "3", pushed);
  const { removed, kept } = await pruneTo(1);
  assert.deepEqual([numbers(removed.releases), removed.tags.includes("team/app:3")], [[1, 3], false]);
  assert.deepEqual(
    kept.map(({ name }) => name),
    ["plant-7", "base"],
  );
  for (const { index } of [base, second]) assert.deepEqual(await pullAll(layout, index), {});
  assert.equal(await ofTag("team/app:3"), pushed.digest);
  await isGone("team/new", three);
  // Over the one that is gone: the tags that only it had before have no value now.
  const back = await goBack();
  assert.deepEqual([back.to?.name, back.tagsRemoved], ["base", 2]);
  assert.deepEqual(await pullAll(layout, base.index), {});
  assert.equal(await ofTag("team/app:latest"), "404");
});

test("files go unless a kept release has that name, or somebody changed them", async () => {
  newSite();
  const files = (...names: string[]) =>
    Object.fromEntries(names.map((name) => [name, Buffer.from(`of ${name}`)]));
  const tags = { "team/app:1": one };
  await installAt(layout, await bundle(1, tags, { files: files("a/gone.txt", "stays.txt", "changed.txt") }));
  await installAt(layout, await bundle(2, tags, { files: files("stays.txt") }));
  await writeFile(join(layout.files, "changed.txt"), "by hand");
  await mkdir(join(layout.files, "own"));
  const { removed } = await pruneTo(1);
  assert.deepEqual(removed.files, [join(layout.files, "a/gone.txt")]);
  assert.equal(await stat(join(layout.files, "a")).catch(() => undefined), undefined);
  assert.equal(await readFile(join(layout.files, "stays.txt"), "utf8"), "of stays.txt");
  assert.equal(await readFile(join(layout.files, "changed.txt"), "utf8"), "by hand");
});

test("refused, with nothing changed: beside an install, after one that was cut short, beside another user", async () => {
  newSite();
  await assert.rejects(pruneTo(), { kind: "input", message: /no release is served/ });
  for (const each of [first, second]) await installAt(layout, each);
  await killAt(layout, "run", third.path);
  const before = await snapshot(layout.root);
  await assert.rejects(pruneTo(1), {
    kind: "preflight",
    message: /the install of plant-7, release 3, was cut short/,
  });
  assert.deepEqual(await snapshot(layout.root), before);
  await goBack();
  const names = (await engine.docker.listImages()).flatMap(({ RepoTags }) => RepoTags ?? []);
  const Image = names.find((name) => name.startsWith(imageRepository)) ?? "";
  const Mounts = [{ Type: "bind" as const, Source: layout.root, Target: "/var/lib/registry" }];
  await createContainer(engine, { name: "another", Image, HostConfig: { Mounts } });
  try {
    await startContainer(engine, "another");
    await assert.rejects(pruneTo(1), { kind: "preflight", message: /container "another" runs, and uses/ });
  } finally {
    await removeContainer(engine, "another");
  }
  const both = await Promise.allSettled([installAt(layout, third), pruneTo(1)]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ["fulfilled", "rejected"]);
  // What the install placed that was undone is nobody's until the bundle comes again.
  await installAt(layout, third);
  assert.deepEqual(numbers((await pruneTo(1)).kept), [3]);
  assert.deepEqual(await pullAll(layout, third.index), {});
  await isWell();
});
