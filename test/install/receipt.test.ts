/** The receipt: what stands in it, that its page fits, and that a rerun makes its last proof anew. */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import type { Proof } from "../../src/install/prove.ts";
import {
  type Installed,
  type Receipt,
  readReceipt,
  refreshLastProof,
  writeReceipt,
} from "../../src/install/receipt.ts";
import { timedReporter } from "../../src/install/step-times.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { runStep, silentReporter } from "../../src/reporter.ts";
import { makeSite, registryName } from "./site-parts.ts";

const folder = await mkdtemp(join(tmpdir(), "drydock-receipt-"));
after(() => rm(folder, { recursive: true }));
const addresses = [registryName, "10.0.0.10", "fd00::10", "127.0.0.1"];
const layout = await makeSite(join(folder, "site"), addresses);
const proof: Proof = { kind: "tags", addresses: [{ connect: "127.0.0.1", as: registryName }], tags: 2 };
const full: Proof = { ...proof, kind: "full", pulled: { blobs: 12, bytes: 5 * 1024 * 1024 } };
const bundleDigest = digestOf("bundle");

function indexOf(names: string[]): BundleIndex {
  const tags: Record<string, Digest> = { "1.0": digestOf("image") };
  return {
    ...{ formatVersion: 1, name: "plant-7", release: 3, created: "2026-01-02T03:04:05Z", addresses },
    registry: { reference: "registry:2", images: {}, port: 443, access: "read-only" },
    totals: { blobs: 0, bytes: 0, inodes: 0 },
    certificates: { from: "site" },
    ...{ seeds: [], files: [], packages: [], images: [], leftOut: [], blobs: [] },
    repositories: Object.fromEntries(names.map((name) => [name, { tags, revisions: [], layers: [] }])),
  };
}

function installed(changes: Partial<Installed> = {}): Installed {
  return {
    ...{ layout, index: indexOf(["team/app", "team/web"]), bundleDigest, proof, changed: true },
    settings: { addresses, port: 443, access: "read-only" },
    done: {
      placed: { blobs: 7, bytes: 3 * 1024 * 1024 },
      total: { blobs: 9, bytes: 4 * 1024 * 1024 },
      tagsMoved: 2,
      certificates: "make",
      container: "made",
    },
    times: timedReporter(silentReporter),
    ...changes,
  };
}

async function written(): Promise<{ receipt: Receipt; page: string }> {
  const receipt = await readReceipt(layout, bundleDigest);
  assert.ok(receipt);
  return { receipt, page: await readFile(layout.release(bundleDigest).receiptPage, "utf8") };
}

function assertFits(page: string): void {
  for (const line of page.split("\n")) assert.ok(line.length <= 80, `${line.length}: ${line}`);
}

test("what was installed, where, how to trust it, and how it was proven", async () => {
  const times = timedReporter(silentReporter);
  await runStep(times, "place", async () => {});
  await assert.rejects(runStep(times, "link", () => Promise.reject(new Error("no"))));
  const path = await writeReceipt(installed({ times }));
  assert.equal(path, layout.release(bundleDigest).receiptPage);
  for (const file of [path, layout.release(bundleDigest).receipt])
    assert.equal((await stat(file)).mode & 0o777, 0o644);
  const { receipt, page } = await written();
  assertFits(page);
  assert.deepEqual(
    receipt.steps.map(({ step }) => step),
    ["place"],
  );
  assert.equal(receipt.begunAt, times.begunAt.toISOString());
  assert.deepEqual(receipt.images[0], { name: "team/app:1.0", digest: digestOf("image") });
  assert.deepEqual(receipt.trust.docker, [
    `/etc/docker/certs.d/${registryName}/ca.crt`,
    "/etc/docker/certs.d/10.0.0.10/ca.crt",
    "/etc/docker/certs.d/[fd00::10]/ca.crt",
  ]);
  assert.match(page, /^Receipt: plant-7, release 3, installed and proven$/m);
  assert.match(page, new RegExp(`^digest +${bundleDigest.slice(7)}$`, "m"));
  const placed = /^ {2}placed 7 of the release's 9 blobs, 3\.0 MiB of 4\.0 MiB; the rest was here\n/m;
  assert.match(page, placed);
  assert.match(page, /^ {2}moved all tags of the release: 2$/m);
  assert.match(page, / {4}\/etc\/docker\/certs\.d\/\[fd00::10\]\/ca\.crt/);
  const { ca } = receipt.certificates;
  assert.match(page, new RegExp(`CA +ends ${String(ca.notAfter).slice(0, 10)}`));
  assert.doesNotMatch(page + JSON.stringify(receipt), /PRIVATE KEY/);
});

test("another port stands in the directories' names", async () => {
  await writeReceipt(installed({ settings: { addresses, port: 5443, access: "push" } }));
  const { receipt, page } = await written();
  assert.ok(receipt.trust.docker.includes("/etc/docker/certs.d/[fd00::10]:5443/ca.crt"));
  assert.match(page, /5443, takes pushes/);
});

test("a long list is whole in the JSON and cut in the page, and long names are broken", async () => {
  const long = `team/${"very-long/".repeat(20)}app`;
  const names = [long, ...Array.from({ length: 99 }, (_, at) => `team/app-${at}`)];
  await writeReceipt(installed({ index: indexOf(names) }));
  const { receipt, page } = await written();
  assert.equal(receipt.images.length, 100);
  assertFits(page);
  assert.match(page, /^ {2}and 40 more, in receipt\.json$/m);
  assert.ok(page.replaceAll(/\n +/g, "").includes(`${long}:1.0`));
});

test("an install that finds all there makes the last proof anew, and nothing else", async () => {
  await writeReceipt(installed());
  const before = await written();
  await writeReceipt(installed({ changed: false, proof: full, index: indexOf(["other"]) }));
  const { receipt, page } = await written();
  const { lastProof, ...rest } = receipt;
  const { lastProof: _, ...restBefore } = before.receipt;
  assert.deepEqual(rest, restBefore);
  assert.deepEqual(lastProof, { at: lastProof.at, ...full });
  assertFits(page);
  assert.match(page, /Last proof\n.*\n.*\n.*\n {2}12 blobs pulled and hashed \(5\.0 MiB\)/);
  assert.doesNotMatch(before.page, /Last proof/);
});

test("without a receipt, or with one that is no JSON, it is written whole", async () => {
  for (const damage of [undefined, "{", '{"formatVersion": 9}']) {
    const { receipt: path } = layout.release(bundleDigest);
    if (damage === undefined) await rm(path);
    else await writeFile(path, damage);
    await writeReceipt(installed({ changed: false }));
    assert.equal((await written()).receipt.proof.tags, 2);
  }
});

test("a proof of a rollback becomes the last one, if there is a receipt", async () => {
  await refreshLastProof(layout, bundleDigest, full);
  assert.equal((await written()).receipt.lastProof.kind, "full");
  await refreshLastProof(layout, digestOf("another"), full);
  assert.equal(await readReceipt(layout, digestOf("another")), undefined);
});
