/** The running registry is asked as clients will ask it: a real one, over TLS, on a host of its own. */
import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";
import { type ProveInput, prove } from "../../src/install/prove.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobPath, layerLinkPath, tagCurrentLinkPath } from "../../src/oci/storage.ts";
import type { Reporter } from "../../src/reporter.ts";
import { silentReporter } from "../../src/reporter.ts";
import { makeArtifact, makeImage, makeIndex, type TestImage } from "../lab/images.ts";
import { startRegistry } from "../lab/registry.ts";
import { goInside, hostAddress, secondAddress } from "./inside.ts";
import { makeSite, registryName, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
const addresses = [registryName, hostAddress, "10.99.99.99", "127.0.0.1"];
const layout = await makeSite(join(folder, "site"), addresses);
const images = {
  oci: makeImage({ files: { a: "oci" } }),
  docker: makeImage({ docker: true, files: { a: "docker" } }),
  index: makeIndex([makeImage(), makeImage({ platform: "linux/arm64" })]),
  artifact: makeArtifact(),
};
for (const [tag, image] of Object.entries(images)) await storeImage(layout, "team/kinds", tag, image);
const registry = await startRegistry({
  folder,
  storage: layout.storage,
  address: "0.0.0.0",
  tls: { certificate: layout.serverCertificate, key: layout.serverKey },
  readOnly: true,
});
after(() => registry.stop());
const port = Number(registry.host.split(":")[1]);

function input(tags: Record<string, Digest>, changes: Partial<ProveInput> = {}): ProveInput {
  const repositories = { "team/kinds": { tags, revisions: [], layers: [] } };
  return { ca, addresses, port, repositories, patienceSeconds: 2, ...changes };
}

const ca = await readFile(layout.caCertificate);
const tags = Object.fromEntries(Object.entries(images).map(([tag, { digest }]) => [tag, digest]));

function fails(kind: ErrorKind, ...texts: RegExp[]) {
  return (error: unknown) => {
    assert.ok(error instanceof DrydockError, String(error));
    assert.equal(error.kind, kind, error.message);
    for (const text of texts) assert.match(error.message, text);
    return true;
  };
}

test("each name and address, and each kind of image manifest", async () => {
  assert.deepEqual(await prove(input(tags)), {
    kind: "tags",
    addresses: [
      { connect: "127.0.0.1", as: registryName },
      { connect: "127.0.0.1", as: hostAddress },
      { connect: "127.0.0.1", as: "10.99.99.99" },
      { connect: "127.0.0.1", as: "127.0.0.1" },
      { connect: hostAddress, as: hostAddress },
    ],
    tags: 4,
  });
});

test("a name and an address that the certificate lacks are both named", async () => {
  const wrong = [...addresses, "other.lan", secondAddress];
  const texts = [/127\.0\.0\.1 as "other\.lan"/, new RegExp(`${secondAddress} as "${secondAddress}"`)];
  const started = performance.now();
  await assert.rejects(
    prove(input(tags, { addresses: wrong, patienceSeconds: 20 })),
    fails("host", ...texts),
  );
  assert.ok(performance.now() - started < 5000, "a certificate that is wrong is not waited for");
});

test("another CA is not trusted, whatever the system trusts", async () => {
  const other = await makeSite(join(folder, "other"), addresses);
  const anotherCa = await readFile(other.caCertificate);
  await assert.rejects(prove(input(tags, { ca: anotherCa })), fails("host", /certificate/));
});

test("a tag that isn't there, and one that names something else", async () => {
  await assert.rejects(
    prove(input({ ...tags, gone: digestOf("x") })),
    fails("host", /team\/kinds:gone.*404/),
  );
  const moved = { ...tags, oci: images.docker.digest };
  await assert.rejects(prove(input(moved)), fails("integrity", /team\/kinds:oci: wanted sha256:.*, got/));
});

test("an image manifest whose bytes are others than its digest says", async () => {
  const tampered = makeImage({ files: { a: "tampered with" } });
  await storeImage(layout, "team/kinds", "tampered", tampered);
  const bytes = Buffer.from(tampered.manifest.toString().replace("schemaVersion", "schemaversion"));
  await writeFile(join(layout.storage, blobPath(tampered.digest)), bytes);
  await assert.rejects(prove(input({ tampered: tampered.digest })), fails("integrity", /kinds:tampered/));
});

test("a link to a manifest that isn't there", async () => {
  const path = join(layout.storage, tagCurrentLinkPath("team/kinds", "oci"));
  const before = await readFile(path);
  await writeFile(path, digestOf("nothing"));
  await assert.rejects(prove(input(tags)), fails("host", /team\/kinds:oci/));
  await writeFile(path, before);
});

/** Everything that an image and those below it hold. */
function heldBy(image: TestImage): { revisions: Digest[]; layers: Digest[]; sizes: [Digest, number][] } {
  const all = [image, ...(image.children ?? [])];
  const blobs = all.flatMap((one) => one.blobs);
  return {
    revisions: all.map(({ digest }) => digest),
    layers: [...new Set(blobs.map(({ digest }) => digest))],
    sizes: [
      ...all.map(({ digest, manifest }): [Digest, number] => [digest, manifest.length]),
      ...blobs.map(({ digest, bytes }): [Digest, number] => [digest, bytes.length]),
    ],
  };
}

/** A full proof of these images in team/kinds, and of the first also in team/copy. */
function fullInput(of: Record<string, TestImage>): ProveInput {
  const held = Object.values(of).map(heldBy);
  const [first] = Object.entries(of);
  assert.ok(first);
  const tagsOf = (some: Record<string, TestImage>) =>
    Object.fromEntries(Object.entries(some).map(([tag, { digest }]) => [tag, digest]));
  const { revisions, layers } = heldBy(first[1]);
  const repositories = {
    "team/kinds": {
      tags: tagsOf(of),
      revisions: held.flatMap((one) => one.revisions),
      layers: [...new Set(held.flatMap((one) => one.layers))],
    },
    "team/copy": { tags: tagsOf({ [first[0]]: first[1] }), revisions, layers },
  };
  const sizes = new Map(held.flatMap((one) => one.sizes));
  const full: BundleIndex = {
    ...{ formatVersion: 1, name: "plant-7", release: 1, created: "2026-01-02T03:04:05Z", addresses },
    registry: { reference: "registry:2", images: {}, port, access: "read-only" },
    totals: { blobs: 0, bytes: 0, inodes: 0 },
    certificates: { from: "site" },
    ...{ seeds: [], files: [], packages: [], images: [], leftOut: [], repositories },
    blobs: [...sizes].map(([digest, size]) => ({ digest, size, role: "image" })),
  };
  return { ...input({}), repositories, full };
}

/** Another file's bytes for the time of `work`; undefined for none. */
async function withFile(path: string, content: Buffer | undefined, work: () => Promise<void>): Promise<void> {
  const full = join(layout.storage, path);
  const before = await readFile(full);
  if (content === undefined) await rm(full);
  else await writeFile(full, content);
  await work().finally(() => writeFile(full, before));
}

const layer = (image: TestImage): { digest: Digest; bytes: Buffer } => {
  const found = image.blobs.at(-1);
  assert.ok(found);
  return found;
};

test("the full proof pulls and hashes every blob once, with its bytes counted", async () => {
  await storeImage(layout, "team/copy", "oci", images.oci);
  let told = 0;
  let total = 0;
  const reporter: Reporter = {
    ...silentReporter,
    step: (title) => ({
      ...silentReporter.step(title),
      total: (bytes) => {
        total = bytes;
      },
      advance: (bytes) => {
        told += bytes;
      },
    }),
  };
  const proof = await prove(fullInput(images), reporter);
  const all = new Map(Object.values(images).flatMap((image) => heldBy(image).sizes));
  const bytes = [...all.values()].reduce((sum, size) => sum + size, 0);
  assert.equal(proof.kind, "full");
  assert.deepEqual(proof.pulled, { blobs: all.size, bytes });
  assert.deepEqual([told, total], [bytes, bytes]);
});

test("the full proof finds a layer with other bytes of the same size, and names the images", async () => {
  const { digest, bytes } = layer(images.oci);
  const other = Buffer.from(bytes);
  other[40] = (other[40] ?? 0) ^ 1;
  await withFile(blobPath(digest), other, async () => {
    assert.equal((await prove(input(tags))).tags, 4);
    const text = new RegExp(`${digest}, needed by team/kinds:oci and team/copy:oci: .*digest sha256:`);
    await assert.rejects(prove(fullInput(images)), fails("integrity", text, /serve a blob as/));
  });
});

test("the full proof finds a layer that is gone, one cut short, and a link that is missing", async () => {
  const { digest, bytes } = layer(images.docker);
  const named = new RegExp(`${digest}, needed by team/kinds:docker`);
  for (const content of [undefined, bytes.subarray(0, 60), Buffer.concat([bytes, Buffer.from("more")])]) {
    await withFile(blobPath(digest), content, () =>
      assert.rejects(prove(fullInput(images)), fails("integrity", named)),
    );
  }
  const copied = layer(images.oci).digest;
  await withFile(layerLinkPath("team/copy", copied), undefined, () =>
    assert.rejects(
      prove(fullInput(images)),
      fails("integrity", new RegExp(`${copied}, .*team/copy:oci.*404`)),
    ),
  );
});

test("the full proof finds what is wrong below an index: an image manifest, and one of its layers", async () => {
  const [, child] = images.index.children ?? [];
  assert.ok(child);
  await withFile(blobPath(child.digest), undefined, () =>
    assert.rejects(
      prove(fullInput(images)),
      fails("integrity", new RegExp(`${child.digest}, needed by team/kinds:index`)),
    ),
  );
  const { digest } = child.blobs[0] ?? {};
  assert.ok(digest);
  await withFile(blobPath(digest), Buffer.from("{}"), () =>
    assert.rejects(prove(fullInput(images)), fails("integrity", new RegExp(`${digest}, .*kinds:index`))),
  );
});

test("a registry that comes up late is waited for, one that never does is not for long", async () => {
  const reserved = createServer().listen(0, "0.0.0.0");
  await new Promise((resolve) => reserved.once("listening", resolve));
  const address = reserved.address();
  assert.ok(typeof address === "object" && address !== null);
  await new Promise((resolve) => reserved.close(resolve));
  const late = { port: address.port };
  await assert.rejects(prove(input(tags, { ...late, patienceSeconds: 0.3 })), fails("host", /ECONNREFUSED/));
  const proof = prove(input(tags, { ...late, patienceSeconds: 20 }));
  const second = await startRegistry({
    folder,
    storage: layout.storage,
    address: "0.0.0.0",
    port: address.port,
    tls: { certificate: layout.serverCertificate, key: layout.serverKey },
  });
  try {
    assert.equal((await proof).tags, 4);
  } finally {
    await second.stop();
  }
});
