/** The running registry is asked as clients will ask it: a real one, over TLS, on a host of its own. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";
import { type ProveInput, prove } from "../../src/install/prove.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { blobPath, tagCurrentLinkPath } from "../../src/oci/storage.ts";
import { makeArtifact, makeImage, makeIndex } from "../lab/images.ts";
import { startRegistry } from "../lab/registry.ts";
import { goInside, hostAddress, secondAddress } from "./inside.ts";
import { makeSite, registryName, storeImage } from "./site-parts.ts";

const folder = await goInside(import.meta.url);
const addresses = [registryName, hostAddress, "10.99.99.99"];
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
