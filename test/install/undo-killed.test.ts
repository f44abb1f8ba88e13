/**
 * An install with a new CA that is killed right before one of its visible changes: somebody serves; and `rollback`,
 * another bundle, and the same command again each end where they should, on a real engine with the real registry.
 */
import assert from "node:assert/strict";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { connectEngine } from "../../src/engine/engine.ts";
import { removeContainers } from "../../src/install/containers.ts";
import { rollback } from "../../src/install/rollback.ts";
import { siteStatus } from "../../src/install/status.ts";
import { silentReporter } from "../../src/reporter.ts";
import { readJournal } from "../../src/site/journal.ts";
import { siteLayout } from "../../src/site/layout.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { makeRegistryImage } from "../lab/registry-image.ts";
import { goInside } from "./inside.ts";
import { installAt, killAt, releaseBundle } from "./releases.ts";
import { butForId, type Seen, seenAt } from "./seen.ts";

const folder = await goInside(import.meta.url);
process.env.DRYDOCK_CONFIG_DIR = join(folder, "etc-drydock");
const engine = connectEngine();
const registryImage = await makeRegistryImage();
const [one, two, three] = ["1", "2", "3"].map((text) => makeImage({ files: { "app.txt": text } }));
assert.ok(one && two && three);

const bundle = (release: number, tags: Record<string, typeof one>, files: Record<string, string>) =>
  releaseBundle({ folder, release, registryImage, tags, files });
const first = await bundle(1, { "team/app:1": one, "team/old:1": one }, { "a.txt": "a1", "b.txt": "b" });
const second = await bundle(2, { "team/app:1": two, "team/new:1": two }, { "a.txt": "a2", "sub/c.txt": "c" });
const third = await bundle(3, { "team/app:1": three }, { "d.txt": "d" });
const again = { newCertificates: true };

const layout = siteLayout(join(folder, "site"));
const seen = () => seenAt(engine, layout, ["team/app:1", "team/old:1", "team/new:1"]);
const goBack = () => rollback({ site: layout.root }, silentReporter);

afterEach(async () => {
  await removeContainers(engine, layout);
});

/** Whoever serves has a certificate and a key that fit, and an image that is whole: one of the sites' CAs vouches. */
async function someoneServes(what: string): Promise<void> {
  const url = "https://127.0.0.1/v2/team/app/manifests/1";
  const accept = "Accept: application/vnd.oci.image.manifest.v1+json";
  for (const set of await readdir(layout.keptCertificates)) {
    const ca = join(layout.keptCertificates, set, "ca.pem");
    const args = ["--silent", "--fail", "--cacert", ca, "-H", accept, url];
    if ((await run("curl", args, { mayFail: true })).code === 0) return;
  }
  assert.fail(`nobody serves after a kill before ${what}`);
}

interface Act {
  does: "rollback" | "another bundle" | "the same command";
}

/** In their order; each of the three follows upon some of them. */
const moments: Record<string, Act["does"]> = {
  "rename journal.json": "another bundle",
  "rename _manifests/tags/1/current/link": "rollback",
  "rename files/a.txt": "another bundle",
  run: "the same command",
  "prove tags": "another bundle",
  "rename certs/registry-key.pem": "rollback",
  "rename certs/ca.pem": "another bundle",
  "rename certs/registry.pem": "the same command",
  "rename release.json": "another bundle",
  "rename drydock.json": "rollback",
};

test("killed before each visible change, one after the other", async () => {
  await installAt(layout, first);
  // As where the CA's key is kept elsewhere: new certificates then come from a new CA.
  await rm(layout.caKey);
  await installAt(layout, first);
  const start = await seen();
  assert.deepEqual(start.releases, [1, 1]);
  for (const [moment, does] of Object.entries(moments)) {
    await killAt(layout, moment, second.path, "--new-certs");
    const what = `${moment}, then ${does}`;
    await someoneServes(what);
    await isTold(moment);
    if (does === "rollback") {
      assert.equal((await goBack()).to?.release, 1, what);
    } else if (does === "another bundle") {
      await installAt(layout, third);
      isThird(start, await seen(), what);
      await goBack();
    } else {
      await installAt(layout, second, again);
      await isSecond(start, what);
      await goBack();
    }
    assert.deepEqual(butForId(await seen()), butForId(start), what);
    assert.equal(await readJournal(layout), undefined, what);
  }
});

/** Status has one thing to do, where there is something: what completes it. */
async function isTold(moment: string): Promise<void> {
  const { findings } = await siteStatus({ site: layout.root });
  const hints = findings.flatMap(({ check, hint }) => (hint === undefined ? [] : [check]));
  assert.deepEqual(hints, moment === "rename journal.json" ? [] : ["action"], moment);
}

/** The site's CA is what it was: not that of the try that was killed. */
function isThird(start: Seen, now: Seen, what: string): void {
  assert.deepEqual(now.certificates, start.certificates, what);
  assert.deepEqual(now.files, [...start.files, "d.txt d"], what);
  assert.deepEqual(now.tags, { ...start.tags, "team/app:1": three?.digest }, what);
}

async function isSecond(start: Seen, what: string): Promise<void> {
  const now = await seen();
  assert.deepEqual(now.files, ["a.txt a2", "b.txt b", "sub/c.txt c"], what);
  assert.deepEqual(now.tags, { ...start.tags, "team/app:1": two?.digest, "team/new:1": two?.digest }, what);
  assert.notDeepEqual(now.certificates, start.certificates, what);
  assert.deepEqual([now.interrupted, now.others], [undefined, 0], what);
}

test("killed when all is complete but the journal: it is complete", async () => {
  await rm(layout.root, { recursive: true });
  await installAt(layout, first);
  await killAt(layout, "remove journal.json", second.path, "--new-certs");
  await someoneServes("the journal goes");
  assert.deepEqual((await seen()).releases, [2, 1, 2]);
  assert.equal((await goBack()).to?.release, 1);
  assert.deepEqual((await seen()).releases, [1, 1]);
});
