/** Going back and forward between releases, on a real engine with the real registry, asked over TLS. */
import assert from "node:assert/strict";
import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { inspectContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { removeContainers } from "../../src/install/containers.ts";
import { rollback } from "../../src/install/rollback.ts";
import { shortDigest } from "../../src/oci/digest.ts";
import { blobPath } from "../../src/oci/storage.ts";
import { silentReporter } from "../../src/reporter.ts";
import { readJournal } from "../../src/site/journal.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { currentRelease, readRelease } from "../../src/site/record.ts";
import { makeImage } from "../lab/images.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { snapshot, type WrittenBundle } from "./bundles.ts";
import { goInside } from "./inside.ts";
import { installAt, killAt, listedTags, type ReleaseOf, releaseBundle, served } from "./releases.ts";
import { makeCertificates, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc-drydock");
const engine = connectEngine();
const registryImage = await makeRegistryImage();
const image = (text: string) => makeImage({ files: { "app.txt": text } });
const [one, two, three, pushed] = [image("1"), image("2"), image("3"), image("pushed")];

let count = 0;
let layout: SiteLayout;
function newSite(): SiteLayout {
  count += 1;
  layout = siteLayout(join(folder, `site-${count}`));
  return layout;
}
afterEach(async () => {
  await removeContainers(engine, layout);
});

const bundle = (release: number, tags: ReleaseOf["tags"], more: Partial<ReleaseOf> = {}) =>
  releaseBundle({ folder, release, registryImage, tags, ...more });

const first = await bundle(1, { "team/app:latest": one, "team/app:1": one });
const second = await bundle(2, { "team/app:latest": two, "team/app:2": two, "team/new:2": two });
const third = await bundle(3, { "team/app:latest": three, "team/app:1": three });
const names = ["team/app:latest", "team/app:1", "team/app:2", "team/new:2", "team/pushed:x"];

/** What the registry must answer for `names`, in their order. */
function answers(...list: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name, number) => [name, list[number] ?? "404"]));
}
const afterFirst = answers(one.digest, one.digest);
const afterSecond = answers(two.digest, one.digest, two.digest, two.digest);

async function startedAt(): Promise<string | undefined> {
  const info = await inspectContainer(engine, "registry");
  return info && `${info.Id} ${info.State.StartedAt}`;
}

const goBack = (release?: string) =>
  rollback({ site: layout.root, ...(release === undefined ? {} : { release }) }, silentReporter);

async function isCurrent({ digest }: WrittenBundle): Promise<void> {
  assert.equal((await currentRelease(layout))?.bundleDigest, digest);
  assert.equal(await readJournal(layout), undefined);
}

test("back to the first of two, and forward again; the container goes on, and a pushed tag is left alone", async () => {
  newSite();
  await installAt(layout, first);
  await storeImage(layout, "team/pushed", "x", pushed);
  await installAt(layout, second);
  const [before] = [await startedAt(), await isCurrent(second)];
  assert.deepEqual(await served(layout, names), { ...afterSecond, "team/pushed:x": pushed.digest });

  const back = await goBack();
  assert.deepEqual([back.from.release, back.to?.release, back.interrupted], [2, 1, false]);
  assert.deepEqual(
    [back.tagsMoved, back.tagsRemoved, back.certificates, back.container],
    [...[1, 2, "unchanged", undefined]],
  );
  assert.equal(back.proof?.tags, 2);
  assert.deepEqual(await served(layout, names), { ...afterFirst, "team/pushed:x": pushed.digest });
  assert.deepEqual(await listedTags(layout, "team/app"), ["1", "latest"]);
  assert.deepEqual(await listedTags(layout, "team/new"), []);
  await isCurrent(first);
  assert.ok((await readRelease(layout, second.digest))?.rolledBackAt);

  const forth = await goBack("2");
  assert.deepEqual([forth.from.release, forth.to?.release, forth.tagsMoved], [1, 2, 3]);
  assert.deepEqual(await served(layout, names), { ...afterSecond, "team/pushed:x": pushed.digest });
  assert.equal((await readRelease(layout, second.digest))?.rolledBackAt, undefined);
  await isCurrent(second);
  assert.equal(await startedAt(), before);
});

test("over several releases at once, and by another way after one was installed over a rolled back one", async () => {
  newSite();
  for (const each of [first, second, third]) await installAt(layout, each);
  assert.deepEqual(await served(layout, names), answers(three.digest, three.digest, two.digest, two.digest));
  await goBack("1");
  assert.deepEqual(await served(layout, names), afterFirst);
  await goBack("3");
  assert.deepEqual(await served(layout, names), answers(three.digest, three.digest, two.digest, two.digest));
  await goBack("1");
  // Over the first, as if there had been no second.
  await installAt(layout, third);
  assert.deepEqual(await served(layout, names), answers(three.digest, three.digest));
  assert.equal((await goBack()).to?.release, 1);
  assert.deepEqual(await served(layout, names), afterFirst);
  await goBack("2");
  assert.deepEqual(await served(layout, names), afterSecond);
  await goBack("3");
  assert.deepEqual(await served(layout, names), answers(three.digest, three.digest));
});

test("what is there to go to is told where there is none, several, or none before", async () => {
  newSite();
  await assert.rejects(goBack(), { kind: "input", message: /no release is served/ });
  await installAt(layout, first);
  await assert.rejects(goBack(), { kind: "input", message: /no release before it:\n.*plant-7, release 1/ });
  await installAt(layout, second);
  const before = await snapshot(layout.root);
  const other = await bundle(2, { "other/app:1": one }, { name: "plant-8" });
  for (const name of ["9", "plant", "abcdef0", shortDigest(first.digest).slice(0, 5)])
    await assert.rejects(
      goBack(name),
      { kind: "input", message: /no such release here:\n.*release 1.*\n.*release 2.*\(current\)/ },
      name,
    );
  await assert.rejects(goBack("plant-7"), { kind: "input", message: /one of several:\n.*\n.*/ });
  assert.deepEqual(await snapshot(layout.root), before);
  await installAt(layout, other);
  await assert.rejects(goBack("2"), { kind: "input", message: /one of several:\n.*plant-7.*\n.*plant-8/ });
  assert.equal((await goBack(first.digest)).to?.digest, first.digest.slice(7));
  assert.equal((await goBack("plant-8")).to?.name, "plant-8");
  assert.equal((await goBack(shortDigest(second.digest).slice(0, 6))).to?.name, "plant-7");
});

test("where a blob, a link or the registry's image is missing, it is named and nothing is changed", async () => {
  newSite();
  await installAt(layout, first);
  await installAt(layout, second);
  const [config] = one.blobs;
  const [registryLayer] = registryImage.blobs;
  assert.ok(config && registryLayer);
  const paths = [
    join(layout.storage, blobPath(one.digest)),
    join(layout.storage, blobPath(config.digest)),
    join(
      layout.storage,
      "docker/registry/v2/repositories/team/app/_manifests/revisions/sha256",
      one.digest.slice(7),
      "link",
    ),
    layout.release(first.digest).registryBlob(registryLayer.digest),
  ];
  for (const path of paths) {
    await rename(path, `${path}.aside`);
    const before = await snapshot(layout.root);
    await assert.rejects(goBack(), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, "preflight");
      assert.match(
        error.message,
        new RegExp([one, config, registryLayer].map(({ digest }) => digest.slice(7)).join("|")),
      );
      return true;
    });
    assert.deepEqual(await snapshot(layout.root), before);
    await rename(`${path}.aside`, path);
  }
  await goBack();
  assert.deepEqual(await served(layout, names), afterFirst);
});

test("a release comes back with its own port, access, registry image and certificates", async () => {
  newSite();
  await installAt(layout, first);
  const ca = await readFile(layout.caCertificate, "utf8");
  const otherImage = makeImage({
    layers: registryLayers(),
    files: { "etc/another": "x" },
    ...{ entrypoint: ["/bin/registry"], cmd: ["serve", "/etc/docker/registry/config.yml"] },
  });
  const next = await bundle(
    2,
    { "team/app:latest": two },
    {
      ...{
        registryImage: otherImage,
        port: 8443,
        access: "push",
        addresses: ["other.plant7.lan", "127.0.0.1"],
      },
    },
  );
  await installAt(layout, next);
  const later = await readFile(layout.serverCertificate, "utf8");
  assert.deepEqual(await served(layout, ["team/app:latest"], 8443), { "team/app:latest": two.digest });

  const back = await goBack();
  assert.deepEqual([back.certificates, back.port, back.warnings], ["put back", 443, []]);
  assert.match(back.container ?? "", /^replaced: /);
  assert.deepEqual(await served(layout, names), afterFirst);
  assert.equal(
    (await inspectContainer(engine, "registry"))?.Config.Env.some((text) => text.includes("READONLY")),
    true,
  );
  assert.equal((await stat(layout.serverKey)).mode & 0o777, 0o600);
  const forth = await goBack("2");
  assert.deepEqual([forth.port, forth.certificates], [8443, "put back"]);
  assert.equal(await readFile(layout.serverCertificate, "utf8"), later);
  assert.equal(await readFile(layout.caCertificate, "utf8"), ca);
});

/** Those of the registry's own image, unpacked. */
function registryLayers(): Buffer[] {
  return registryImage.blobs.slice(1).map(({ bytes }) => gunzipSync(bytes));
}

test("another CA is warned of; certificates that would not serve are not put back", async () => {
  newSite();
  await installAt(layout, first);
  await installAt(layout, second);
  await makeCertificates(layout, ["registry.plant7.lan", "127.0.0.1"]);
  const now = await readFile(layout.serverCertificate, "utf8");
  const { certificates } = (await readRelease(layout, first.digest)) ?? {};
  assert.ok(certificates);
  const kept = layout.certificateSet(certificates);
  const own = await readFile(kept.serverKey);
  await writeFile(kept.serverKey, "no key");
  const back = await goBack();
  assert.equal(back.certificates, "kept");
  assert.match(back.warnings.join(), /would not serve \(the server's key cannot be read/);
  assert.equal(await readFile(layout.serverCertificate, "utf8"), now);
  await goBack("2");
  await makeCertificates(layout, ["registry.plant7.lan", "127.0.0.1"]);
  await writeFile(kept.serverKey, own);
  const again = await goBack();
  assert.equal(again.certificates, "put back");
  assert.match(again.warnings.join(), /drydock trust/);
  assert.deepEqual(await served(layout, names), afterFirst);
});

test("an install that was killed after its tags moved: run again, its record knows what was before", async () => {
  for (const step of ["link", "run", "prove addresses", "prove tags"]) {
    newSite();
    await installAt(layout, first);
    await killAt(layout, step, second.path);
    assert.equal((await readJournal(layout))?.bundleDigest, second.digest, step);
    await isStillFirst(step);
    assert.equal((await installAt(layout, second)).changed, true);
    await isCurrent(second);
    const record = await readRelease(layout, second.digest);
    assert.deepEqual(record?.tagsBefore, { "team/app": { latest: one.digest } }, step);
    await goBack();
    assert.deepEqual(await served(layout, names), afterFirst, step);
    await removeContainers(engine, layout);
  }
});

async function isStillFirst(step: string): Promise<void> {
  assert.equal((await currentRelease(layout))?.bundleDigest, first.digest, step);
}

test("rollback of an install that was killed puts its tags back, and stays at the release before it", async () => {
  newSite();
  await installAt(layout, first);
  await killAt(layout, "run", second.path);
  assert.deepEqual(await served(layout, names), afterSecond);
  const undone = await goBack();
  assert.deepEqual([undone.interrupted, undone.from.release, undone.to?.release], [true, 2, 1]);
  assert.deepEqual([undone.tagsMoved, undone.tagsRemoved], [1, 2]);
  assert.deepEqual(await served(layout, names), afterFirst);
  await isCurrent(first);
});

test("another install after one that was killed puts the killed one's tags back first", async () => {
  newSite();
  await installAt(layout, first);
  await killAt(layout, "run", second.path);
  await installAt(layout, third);
  assert.deepEqual(await served(layout, names), answers(three.digest, three.digest));
  await isCurrent(third);
  await goBack();
  assert.deepEqual(await served(layout, names), afterFirst);
});

test("a site's first install that was killed can be undone", async () => {
  newSite();
  await killAt(layout, "prove tags", first.path);
  const undone = await goBack();
  assert.deepEqual([undone.to, undone.tagsRemoved, undone.container], [undefined, 2, "removed"]);
  assert.equal(await inspectContainer(engine, "registry"), undefined);
  assert.equal(await readJournal(layout), undefined);
  await installAt(layout, first);
  assert.deepEqual(await served(layout, names), afterFirst);
});

test("a rollback that was killed goes on when it is run again, and is undone by an install", async () => {
  for (const step of ["run", "prove tags"]) {
    newSite();
    for (const each of [first, second, third]) await installAt(layout, each);
    await killAt(layout, step, "rollback");
    assert.equal((await currentRelease(layout))?.bundleDigest, third.digest);
    assert.equal((await goBack()).to?.release, 2);
    assert.deepEqual(await served(layout, names), afterSecond);
    await isCurrent(second);
    await goBack("3");
    await killAt(layout, step, "rollback");
    assert.equal((await goBack("3")).to?.release, 3);
    assert.deepEqual(
      await served(layout, names),
      answers(three.digest, three.digest, two.digest, two.digest),
    );
    await isCurrent(third);
    await killAt(layout, step, "rollback");
    await installAt(layout, third);
    assert.deepEqual(
      await served(layout, names),
      answers(three.digest, three.digest, two.digest, two.digest),
    );
    await isCurrent(third);
    await removeContainers(engine, layout);
  }
});

test("an older release is refused without the flag, and taken with it", async () => {
  newSite();
  await installAt(layout, second);
  const before = await snapshot(layout.root);
  await assert.rejects(installAt(layout, first), {
    kind: "preflight",
    message: /release 2, is served.*older release 1/,
    hint: /--allow-downgrade/,
  });
  assert.deepEqual(await snapshot(layout.root), before);
  await installAt(layout, await bundle(1, { "other/app:1": one }, { name: "plant-8" }));
  await installAt(layout, second);
  await installAt(layout, first, { allowDowngrade: true });
  await isCurrent(first);
  assert.deepEqual(await served(layout, names), answers(one.digest, one.digest, two.digest, two.digest));
});

test("many tags go back and forth, the container untouched", async () => {
  newSite();
  const tags = (text: string) =>
    Object.fromEntries(
      Array.from({ length: 41 }, (_, number) => [`many/app-${number}:1`, image(`${text} ${number}`)]),
    );
  await installAt(layout, await bundle(1, tags("old"), { name: "many" }));
  await installAt(layout, await bundle(2, tags("new"), { name: "many" }));
  const before = await startedAt();
  for (const release of ["1", "2"]) {
    const { tagsMoved, container } = await goBack(release);
    assert.deepEqual([tagsMoved, container], [41, undefined]);
  }
  assert.equal(await startedAt(), before);
});
