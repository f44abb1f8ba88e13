/** How an install ends before it has begun: its lock, its source. The whole of it runs in test/e2e. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type InstallOptions, install } from "../../src/install/install.ts";
import { takeLock } from "../../src/lock.ts";
import { silentReporter } from "../../src/reporter.ts";
import { makeImage } from "../lab/images.ts";
import { contentOf, imageContent, type WrittenBundle, writeBundleOf } from "./bundles.ts";

let folder: string;
let site: string;
let bundle: WrittenBundle;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-install-"));
  site = join(folder, "site");
  bundle = await writeBundleOf(join(folder, "bundle.tar"), [
    contentOf("file", [Buffer.from("x")]),
    imageContent(makeImage(), "team/app", "1"),
  ]);
});
after(() => rm(folder, { recursive: true }));

function run(options: Partial<InstallOptions>) {
  const askPassphrase = async (): Promise<string> => {
    throw new Error("asked for a passphrase");
  };
  return install({ bundle: bundle.path, site, askPassphrase, ...options }, silentReporter);
}

/** The descriptors that this process has open on a path. */
function openOn(path: string): string[] {
  const lines = execFileSync("ls", ["-l", `/proc/${process.pid}/fd`], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => line.endsWith(`-> ${path}`));
}

/** Nothing of the site is written, the lock is free, the source is closed. */
async function assertUntouched(source: string): Promise<void> {
  await assert.rejects(readdir(site), { code: "ENOENT" });
  await (await takeLock("site", site)).release();
  assert.deepEqual(openOn(source), []);
}

test("what is no bundle, or another one: the lock is free afterwards, and the file closed", async () => {
  const noBundle = join(folder, "no-bundle");
  await writeFile(noBundle, "not a bundle at all".repeat(100));
  await assert.rejects(run({ bundle: noBundle }), { kind: "integrity" });
  await assertUntouched(noBundle);
  await assert.rejects(run({ bundle: join(folder, "absent") }), { kind: "input" });
  await assertUntouched(join(folder, "absent"));
  await assert.rejects(run({ digest: "0".repeat(64) }), { kind: "integrity", message: /wanted 0{64}/ });
  await assertUntouched(bundle.path);
});

test("clients whose repo_host does not fit stop it before the first write, the same way", async () => {
  const checkAddresses = (addresses: string[]) => {
    throw new Error(`none of ${addresses.join()}`);
  };
  await assert.rejects(run({ checkAddresses }), { message: "none of registry.plant7.lan,10.0.0.10" });
  await assertUntouched(bundle.path);
});

test("a site that another install has is left alone, and the bundle not opened", async () => {
  const lock = await takeLock("site", site);
  try {
    await assert.rejects(run({ bundle: join(folder, "absent") }), {
      kind: "preflight",
      message: /another drydock .* is working there/,
    });
  } finally {
    await lock.release();
  }
});
