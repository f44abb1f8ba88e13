/** What a site serves, out of its own records. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import { rememberSite, writeRelease } from "../../src/site/record.ts";
import { readServing } from "../../src/site/serving.ts";
import { makeCurrent } from "./current.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-serving-"));
after(() => rm(folder, { recursive: true }));

/** As an install leaves it. */
async function install(layout: SiteLayout, addresses: string[], sequence: number): Promise<Digest> {
  const bundleDigest = digestOf(addresses.join());
  await claimSite(layout);
  await writeRelease(layout, {
    bundleDigest,
    name: "plant-7",
    release: 1,
    sequence,
    installedAt: "2026-01-01T00:00:00.000Z",
    tagsBefore: {},
    tagsAfter: {},
    placed: { blobs: 1, bytes: 2 },
    settings: { addresses, port: 443, access: "read-only" },
    chosen: {},
    registryImage: digestOf("registry"),
  });
  await makeCurrent(layout, bundleDigest);
  await mkdir(layout.certs, { recursive: true });
  await writeFile(layout.caCertificate, "the CA");
  return bundleDigest;
}

test("it is the release that is current, whichever was installed last", async () => {
  const layout = siteLayout(join(folder, "site"));
  const old = await install(layout, ["old.lan"], 1);
  await install(layout, ["new.lan", "10.0.0.1"], 2);
  const wanted = { ca: "the CA", addresses: ["new.lan", "10.0.0.1"], port: 443 };
  assert.deepEqual(await readServing(layout.root), wanted);
  await makeCurrent(layout, old);
  assert.deepEqual((await readServing(layout.root)).addresses, ["old.lan"]);
});

test("without --site it is the one that the host remembers", async (t) => {
  const before = process.env.DRYDOCK_CONFIG_DIR;
  t.after(() => {
    if (before === undefined) delete process.env.DRYDOCK_CONFIG_DIR;
    else process.env.DRYDOCK_CONFIG_DIR = before;
  });
  process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc");
  const layout = siteLayout(join(folder, "remembered"));
  await install(layout, ["remembered.lan"], 1);
  await rememberSite(layout);
  assert.deepEqual((await readServing()).addresses, ["remembered.lan"]);
});

test("a site with no release is an input error that says what to do", async () => {
  await assert.rejects(readServing(join(folder, "empty")), {
    kind: "input",
    message: /empty": no release is installed there/,
    hint: /Install a bundle first/,
  });
});
