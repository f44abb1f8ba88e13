/** What `status` finds, at a site made as an install leaves it, on a host of its own with a real engine and registry. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { beforeEach, test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { totalsOf } from "../../src/archive/contents.ts";
import { removeContainer, stopContainer } from "../../src/engine/container.ts";
import { connectEngine } from "../../src/engine/engine.ts";
import { setFiles } from "../../src/install/files.ts";
import { serveCurrent } from "../../src/install/serve.ts";
import { type SiteStatus, siteStatus, whatIsWrong } from "../../src/install/status.ts";
import { takeLock } from "../../src/lock.ts";
import { type Digest, digestOf, shortDigest } from "../../src/oci/digest.ts";
import { blobPath, layerLinkPath, tagCurrentLinkPath, tagIndexLinkPath } from "../../src/oci/storage.ts";
import { writeJournal } from "../../src/site/journal.ts";
import { type ReleaseRecord, writeRelease } from "../../src/site/record.ts";
import { makeImage, makeIndex, type TestImage } from "../lab/images.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { makeCurrent } from "../site/current.ts";
import { goInside, hostAddress } from "./inside.ts";
import { load, makeCertificates, makeSite, registryName, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
const engine = connectEngine();
const addresses = [registryName, hostAddress, "127.0.0.1"];
const layout = await makeSite(join(folder, "site"), addresses);
const registryImage = await makeRegistryImage();
const images = {
  app: makeImage({ files: { a: "app" } }),
  both: makeIndex([makeImage({ files: { a: "one" } }), makeImage({ platform: "linux/arm64" })]),
  older: makeImage({ files: { a: "older" } }),
};
const day = 86_400_000;
const deb = Buffer.from("!<arch>\nbytes of a package");
const older = await installRelease(1, { "team/older": images.older });
const current = await installRelease(2, { "team/app": images.app, "team/both": images.both });
await serveCurrent(engine, layout, current);

beforeEach(async () => {
  assert.deepEqual(await wrong(), [undefined, ""]);
});

/** Content, records and the registry's image of a release whose images all have the tag 1. */
async function installRelease(release: number, of: Record<string, TestImage>): Promise<ReleaseRecord> {
  const bundleDigest = digestOf(`bundle ${release}`);
  const at = layout.release(bundleDigest);
  const repositories: BundleIndex["repositories"] = {};
  const sizes = new Map<Digest, number>();
  for (const [name, image] of Object.entries(of)) {
    await storeImage(layout, name, "1", image);
    await writeLink(tagIndexLinkPath(name, "1", image.digest), image.digest);
    const all = [image, ...(image.children ?? [])];
    const blobs = all.flatMap((one) => one.blobs);
    for (const one of all) sizes.set(one.digest, one.manifest.length);
    for (const { digest, bytes } of blobs) sizes.set(digest, bytes.length);
    const layers = [...new Set(blobs.map(({ digest }) => digest))];
    repositories[name] = { tags: { "1": image.digest }, revisions: all.map(({ digest }) => digest), layers };
  }
  const own = [{ digest: registryImage.digest, bytes: registryImage.manifest }, ...registryImage.blobs];
  await mkdir(at.registryBlobs, { recursive: true });
  for (const { digest, bytes } of own) await writeFile(at.registryBlob(digest), bytes);
  await mkdir(dirname(at.packageFile(digestOf(deb))), { recursive: true });
  await writeFile(at.packageFile(digestOf(deb)), deb);
  const parts = {
    repositories,
    seeds: [],
    blobs: [
      ...[...sizes].map(([digest, size]) => ({ digest, size, role: "image" as const })),
      ...own.map(({ digest, bytes }) => ({ digest, size: bytes.length, role: "registry" as const })),
      { digest: digestOf(deb), size: deb.length, role: "package" as const },
    ],
  };
  const settings = { addresses, port: 443, access: "read-only" as const };
  const index: BundleIndex = {
    ...{ formatVersion: 1, name: "plant-7", release, created: "2026-01-02T03:04:05Z", addresses },
    registry: { reference: "docker.io/library/registry:2", images: {}, port: 443, access: "read-only" },
    ...{
      certificates: { from: "site" },
      files: [],
      packages: [
        {
          match: { id: "debian", version: "12", architecture: "amd64" },
          files: [{ name: "docker.io_1_amd64.deb", digest: digestOf(deb) }],
        },
      ],
      images: [],
      leftOut: [],
      totals: totalsOf(parts),
      ...parts,
    },
  };
  // What a schema asks of a bundle's index, `status` asks, too.
  const request = { ca: { CN: "Test CA" }, server: { CN: "registry" } };
  const complete = { ...index, certificates: { from: "site", request } };
  complete.registry = { ...index.registry, images: { "linux/amd64": registryImage.digest } };
  await writeFile(at.bundleIndex, JSON.stringify(complete));
  const record: ReleaseRecord = {
    ...{ bundleDigest, name: "plant-7", release, sequence: release, installedAt: new Date().toISOString() },
    tagsBefore: {},
    tagsAfter: Object.fromEntries(Object.entries(repositories).map(([name, { tags }]) => [name, tags])),
    ...{ placed: { blobs: 1, bytes: 1 }, settings, chosen: {}, registryImage: registryImage.digest },
  };
  await writeRelease(layout, record);
  await makeCurrent(layout, bundleDigest);
  return record;
}

async function writeLink(path: string, digest: Digest): Promise<void> {
  const full = join(layout.storage, path);
  await mkdir(join(full, ".."), { recursive: true });
  await writeFile(full, digest);
}

function look(options: { deep?: boolean; now?: Date } = {}): Promise<SiteStatus> {
  return siteStatus({ site: layout.root, ...options });
}

/** The kind of failure, and "level check: text | hint" of what is not well, each on a line. */
async function wrong(options: Parameters<typeof look>[0] = {}): Promise<[string | undefined, string]> {
  const { findings, healthy } = await look(options);
  const kind = whatIsWrong(findings);
  assert.equal(healthy, kind === undefined);
  const told = findings.filter(({ level }) => level !== "ok");
  return [kind, told.map((one) => `${one.level} ${one.check}: ${one.text} | ${one.hint}`).join("\n")];
}

/** Other content, or none, for the time of `work`. */
async function withFile(path: string, content: Buffer | string | undefined, work: () => Promise<void>) {
  const before = await readFile(path);
  const { mode } = await stat(path);
  if (content === undefined) await rm(path);
  else await writeFile(path, content);
  await work().finally(async () => {
    await writeFile(path, before);
    await chmod(path, mode);
  });
}

const stored = (path: string) => join(layout.storage, path);

test("two releases: what both have is counted once, and the later one is current", async () => {
  const { release, releases, images: tags, storage } = await look({ deep: true });
  assert.deepEqual([release.release, releases.map((one) => one.current), tags], [2, [false, true], 3]);
  const sizes = storage.blobs;
  // Each release has its own copy of the registry's image.
  assert.ok(sizes > 2 * registryImage.blobs.length && storage.bytes > 0 && storage.checked === "digests");
});

test("a clock before the last install, and one before the certificates begin", async () => {
  const [kind, text] = await wrong({ now: new Date(Date.now() - 600_000) });
  assert.equal(kind, "host");
  assert.match(
    text,
    /^error clock: this host's clock says .*, and the last install was on .* \| Set the clock/m,
  );
  const [, before] = await wrong({ now: new Date(Date.now() - day) });
  assert.match(before, /^error clock: the server certificate is not valid before .* \| Set the clock/m);
  assert.deepEqual(await wrong({ now: new Date(Date.now() - 60_000) }), [undefined, ""]);
});

test("certificates that end in 60 days, that ended, and that end later", async () => {
  const { server } = (await look()).certificates;
  assert.ok(server);
  const end = server.notAfter.getTime();
  assert.equal((await wrong({ now: new Date(end - 61 * day) }))[0], undefined);
  const [soon, text] = await wrong({ now: new Date(end - 59.5 * day) });
  assert.equal(soon, "certificate");
  assert.match(text, /^warning expiry: the server certificate ends on .*, in 59 days \| .*--new-certs/);
  const [ended, late] = await wrong({ now: new Date(end + day) });
  assert.equal(ended, "certificate");
  assert.match(late, /^error expiry: the server certificate ended on/);
});

test("a certificate of another CA, a key that is another's, a name that is missing", async () => {
  const other = await makeSite(join(folder, "other"), [registryName]);
  await withFile(layout.caCertificate, await readFile(other.caCertificate), async () => {
    const [kind, text] = await wrong();
    assert.equal(kind, "host");
    assert.match(
      text,
      /^error certificates: .*not issued by this CA.* \| `drydock rollback [0-9a-f]{12}` puts back/m,
    );
    assert.match(
      text,
      /^error registry: it does not answer over TLS on port 443: unable to verify the first certificate \|/m,
    );
  });
  await withFile(layout.serverKey, await readFile(other.serverKey), async () => {
    assert.match((await wrong())[1], /^error certificates: the server's key does not belong/m);
  });
  const settings = { ...current.settings, addresses: [registryName, "198.18.21.99"] };
  await writeRelease(layout, { ...current, settings });
  const [kind, text] = await wrong();
  await writeRelease(layout, current);
  assert.equal(kind, "host");
  assert.match(text, /does not name 198\.18\.21\.99 \| It names .*--new-certs/);
  assert.match(text, /error registry: it does not answer over TLS on port 443 as 198\.18\.21\.99: /);
});

test("an engine that is down: the rest is looked at, and the registry's answer counts", async () => {
  const before = process.env.DOCKER_HOST;
  process.env.DOCKER_HOST = `unix://${join(folder, "no.sock")}`;
  try {
    const status = await look();
    assert.equal(whatIsWrong(status.findings), "host");
    assert.deepEqual([status.engine.answers, status.container.state], [false, "unknown"]);
    const levels = Object.fromEntries(status.findings.map(({ check, level }) => [check, level]));
    assert.deepEqual(levels, { engine: "error", registry: "ok", certificates: "ok", storage: "ok" });
  } finally {
    process.env.DOCKER_HOST = before;
  }
});

test("a container of the name that isn't drydock's", async () => {
  await removeContainer(engine, "registry");
  const id = await load(makeImage({ cmd: ["/x"] }), "theirs:1");
  await engine.docker.createContainer({ name: "registry", Image: id });
  const status = await look();
  assert.equal(status.container.state, "not ours");
  assert.equal(whatIsWrong(status.findings), "host");
  assert.match((await wrong())[1], /^error container: there is a container "registry".* it isn't drydock's/m);
  await removeContainer(engine, "registry");
  await serveCurrent(engine, layout, current);
});

test("a container with other settings, and a new certificate that it doesn't show yet", async () => {
  await writeRelease(layout, { ...current, settings: { ...current.settings, access: "push" } });
  assert.match((await wrong())[1], /^error container: .* is not as the release has it: other settings/m);
  await writeRelease(layout, current);
  const before = await Promise.all(
    [layout.caCertificate, layout.serverCertificate, layout.serverKey].map((path) => readFile(path)),
  );
  await makeCertificates(layout, addresses);
  assert.match((await wrong())[1], /^error container: .*: another certificate/m);
  const [ca, server, key] = before;
  assert.ok(ca && server && key);
  await writeFile(layout.caCertificate, ca);
  await writeFile(layout.serverCertificate, server);
  await writeFile(layout.serverKey, key);
});

test("a layer of an index's image, of the registry's own image, and of an older release", async () => {
  const [child] = images.both.children ?? [];
  const layer = child?.blobs.at(-1)?.digest;
  assert.ok(layer);
  await withFile(stored(blobPath(layer)), undefined, async () => {
    const [kind, text] = await wrong();
    assert.equal(kind, "integrity");
    assert.match(
      text,
      /needed by team\/both:1: it is missing \| .*plant-7, release 2 .*\n {2}`drydock install BUNDLE`/,
    );
  });
  const [old] = images.older.blobs;
  assert.ok(old);
  const flipped = Buffer.from(old.bytes);
  flipped[3] = (flipped[3] ?? 0) ^ 1;
  await withFile(stored(blobPath(old.digest)), flipped, async () => {
    assert.deepEqual(await wrong(), [undefined, ""]);
    const [kind, text] = await wrong({ deep: true });
    assert.equal(kind, "integrity");
    assert.match(text, /needed by team\/older:1: other bytes.* \| .*plant-7, release 1 /);
    assert.match(text, new RegExp(`\`rm ${stored(blobPath(old.digest))}\``));
    // Its bundle is refused as it is, and is served when it was taken.
    const back = `drydock rollback ${shortDigest(current.bundleDigest)}`;
    assert.match(
      text,
      new RegExp(`install BUNDLE --allow-downgrade\`\\n.*release 2:\\n {2}\`${back}\`$`, "m"),
    );
  });
  const own = layout.release(older.bundleDigest).registryBlob(registryImage.digest);
  await withFile(own, undefined, async () => {
    assert.match((await wrong())[1], /needed by the registry's own image: it is missing \| .*release 1/);
  });
});

test("a package that is missing, and one that holds something else", async () => {
  const path = layout.release(older.bundleDigest).packageFile(digestOf(deb));
  const name = "needed by package docker\\.io_1_amd64\\.deb";
  await withFile(path, undefined, async () => {
    assert.match((await wrong())[1], new RegExp(`${name}: it is missing \\| .*release 1`));
  });
  await withFile(path, Buffer.alloc(deb.length), async () => {
    assert.deepEqual(await wrong(), [undefined, ""]);
    assert.match((await wrong({ deep: true }))[1], new RegExp(`${name}: other bytes`));
  });
});

test("an image manifest that is damaged itself is named with its tag", async () => {
  const bytes = Buffer.from(images.app.manifest.toString().replace("schemaVersion", "schemaversion"));
  await withFile(stored(blobPath(images.app.digest)), bytes, async () => {
    const { storage } = await look({ deep: true });
    const found = storage.damaged.map(({ digest, neededBy, problem }) => [digest, neededBy, problem]);
    assert.deepEqual(found, [[images.app.digest, ["team/app:1"], "other bytes"]]);
  });
});

test("a link that is missing; a tag that names something else, in a registry that takes pushes, too", async () => {
  const layer = images.app.blobs.at(-1)?.digest;
  assert.ok(layer);
  await withFile(stored(layerLinkPath("team/app", layer)), undefined, async () => {
    const [kind, text] = await wrong();
    assert.equal(kind, "integrity");
    assert.match(
      text,
      /error storage: a link is missing or changed\n.*team\/app\/_layers.* \| `drydock install/,
    );
  });
  await withFile(stored(tagCurrentLinkPath("team/app", "1")), images.older.digest, async () => {
    assert.equal((await wrong())[0], "integrity");
    const settings = { ...current.settings, access: "push" as const };
    await writeRelease(layout, { ...current, settings });
    const { findings } = await look();
    await writeRelease(layout, current);
    const tag = findings.find(({ check, level }) => check === "storage" && level !== "ok");
    assert.equal(tag?.level, "warning");
    assert.match(tag?.hint ?? "", /A client may have pushed it/);
  });
});

test("an action that was interrupted, and one that is under way: tags may be either's", async () => {
  const tags = { "team/app": { "1": images.older.digest } };
  await writeJournal(layout, {
    ...{ action: "install", bundleDigest: digestOf("bundle 3"), name: "plant-7", release: 3 },
    ...{ begunAt: "2026-11-20T10:00:00Z", tagsBefore: current.tagsAfter, tagsAfter: tags },
    command: "drydock install stick/site.tar",
  });
  try {
    await withFile(stored(tagCurrentLinkPath("team/app", "1")), images.older.digest, async () => {
      const [kind, text] = await wrong();
      assert.equal(kind, "host");
      assert.match(
        text,
        /^error action: the install of plant-7, release 3, .* was interrupted \| Run the same .*:\n`drydock install stick\/site\.tar`\n`drydock rollback` puts back/,
      );
      assert.doesNotMatch(text, /storage/);
      const lock = await takeLock("site", layout.root);
      const { findings } = await look();
      await lock.release();
      assert.equal(whatIsWrong(findings), undefined);
      const action = findings.find(({ check }) => check === "action");
      assert.match(action?.text ?? "", new RegExp(`is under way \\(process ${process.pid}\\)$`));
      // What it has stopped is told, and what to do about that is to complete it.
      await stopContainer(engine, "registry");
      const stopped = (await look()).findings.filter(({ level }) => level !== "ok");
      assert.ok(stopped.some(({ check, text: told }) => check === "container" && /is stopped/.test(told)));
      assert.deepEqual(
        stopped.filter(({ hint }) => hint !== undefined).map(({ check }) => check),
        ["action"],
      );
      await serveCurrent(engine, layout, current);
    });
  } finally {
    await rm(layout.journal);
  }
});

test("a file that is missing, or is another one; with --deep also where only its bytes are", async () => {
  const path = join(layout.files, "charts/pump.tgz");
  const [text, digest] = ["a chart", digestOf("a chart")];
  const index = layout.release(current.bundleDigest).bundleIndex;
  const of = JSON.parse(await readFile(index, "utf8"));
  of.blobs.push({ digest, size: text.length, role: "file" });
  of.files.push({ name: "charts/pump.tgz", digest });
  await mkdir(layout.keptFiles, { recursive: true });
  await writeFile(layout.keptFile(digest), text);
  await writeRelease(layout, { ...current, filesBefore: {}, filesAfter: { "charts/pump.tgz": digest } });
  await withFile(index, JSON.stringify(of), async () => {
    await setFiles([{ name: "charts/pump.tgz", digest }], layout);
    assert.deepEqual(await wrong({ deep: true }), [undefined, ""]);
    await rm(path);
    const hint = "`drydock install BUNDLE`, with the bundle of plant-7, release 2, puts it right.";
    const told = (problem: string) => [
      "integrity",
      `error files: a file is not as recorded\n  ${path}: ${problem} | ${hint}`,
    ];
    assert.deepEqual(await wrong(), told("it is missing"));
    await writeFile(path, "another one");
    assert.deepEqual(await wrong(), told("it has 11 bytes, not 7"));
    await writeFile(path, "A CHART");
    assert.deepEqual(await wrong(), [undefined, ""]);
    assert.deepEqual(await wrong({ deep: true }), told("it has other bytes"));
    await setFiles([{ name: "charts/pump.tgz", digest }], layout);
    // Written into, it is damaged as a blob is.
    await writeFile(path, "A CHART");
    const [kind, deep] = await wrong({ deep: true });
    assert.equal(kind, "integrity");
    assert.match(
      deep,
      /a blob is damaged\n.*file charts\/pump\.tgz.*: other bytes.* \| [\s\S]*`rm .*\/releases\/files\//,
    );
  }).finally(() => writeRelease(layout, current));
  await rm(layout.files, { recursive: true });
});

test("an index of a release that is gone", async () => {
  await withFile(layout.release(older.bundleDigest).bundleIndex, undefined, async () => {
    const [kind, text] = await wrong();
    assert.equal(kind, "integrity");
    assert.match(text, /^error storage: read ".*bundle\.json".* \| `drydock install BUNDLE`, .*release 1/);
  });
});

test("nothing installed, and a first install that was interrupted", async () => {
  const site = join(folder, "empty");
  await assert.rejects(siteStatus({ site }), { kind: "input", message: /nothing is installed there$/ });
});

test("a registry that is stopped doesn't count as one that answers wrongly, too", async () => {
  await stopContainer(engine, "registry");
  const [kind, text] = await wrong();
  assert.equal(kind, "host");
  assert.equal(text.split("\n").length, 1, text);
  await serveCurrent(engine, layout, current);
});
