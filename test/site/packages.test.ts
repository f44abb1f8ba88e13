/** Which packages a site has for clients, out of its own records. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { BundlePackages } from "../../src/archive/packages.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type SiteLayout, siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import { readPackages } from "../../src/site/packages.ts";
import { completeAction, writeRelease } from "../../src/site/record.ts";
import { makeIndex } from "../archive/bundles.ts";
import { makeCurrent } from "./current.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-site-packages-"));
after(() => rm(folder, { recursive: true }));

const bytes = Buffer.from("a package");
const files = [{ name: "docker_1.deb", digest: digestOf(bytes) }];

/** As an install leaves it. */
async function install(layout: SiteLayout, sequence: number, packages: BundlePackages[]): Promise<void> {
  const bundleDigest = digestOf(String(sequence));
  const index = { ...makeIndex([Buffer.from("{}"), bytes]), packages };
  await claimSite(layout);
  await mkdir(layout.release(bundleDigest).folder, { recursive: true });
  await writeFile(layout.release(bundleDigest).bundleIndex, JSON.stringify(index));
  await writeRelease(layout, {
    ...{ bundleDigest, name: "plant-7", release: sequence, sequence },
    ...{ installedAt: "2026-01-01T00:00:00.000Z", tagsBefore: {}, tagsAfter: {} },
    placed: { blobs: 1, bytes: 2 },
    settings: { addresses: ["registry.lan"], port: 443, access: "read-only" },
    chosen: {},
    registryImage: digestOf("registry"),
  });
  await makeCurrent(layout, bundleDigest);
}

test("the current release's come first, then those of others from the last one back", async () => {
  const layout = siteLayout(join(folder, "site"));
  await install(layout, 1, [{ match: { architecture: "amd64", id: "one" }, files }]);
  await install(layout, 2, []);
  await install(layout, 3, [{ match: { architecture: "amd64", id: "three" }, files }]);
  await install(layout, 4, [{ match: { architecture: "amd64", id: "undone" }, files }]);
  const ids = async () => (await readPackages(layout.root)).map(({ match }) => match.id);
  await completeAction(layout, {
    ...{ current: digestOf("2"), certificates: digestOf("certificates"), begunAt: "" },
    undone: [digestOf("4")],
  });
  assert.deepEqual(await ids(), ["three", "one"]);
  await makeCurrent(layout, digestOf("1"));
  assert.deepEqual(await ids(), ["one", "three"]);
  const path = layout.release(digestOf("1")).packageFile(digestOf(bytes));
  assert.deepEqual((await readPackages(layout.root))[0], {
    match: { architecture: "amd64", id: "one" },
    kind: "deb",
    files: [{ name: "docker_1.deb", digest: digestOf(bytes), size: bytes.length, path }],
  });
});

test("a site with nothing installed has none", async () => {
  assert.deepEqual(await readPackages(join(folder, "empty")), []);
});
