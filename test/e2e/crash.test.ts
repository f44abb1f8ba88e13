/**
 * `kill -9` at any moment of an install over another release: the registry serves on, what it serves is
 * whole, the same command goes on where the killed one stood, and in the end all is as if nothing had
 * happened. With the built command, a real engine and the real registry.
 *
 * A power cut differs from this in what the disk's cache loses: that is for test/install/disk-order.test.ts.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Digest, hexOf } from "../../src/oci/digest.ts";
import type { ReleaseRecord } from "../../src/site/record.ts";
import { randomFrom } from "../lab/faulty-proxy.ts";
import { type Site, startSite } from "../lab/site.ts";
import { makeFolder } from "./connected.ts";
import { type Eyes, openEyes } from "./eyes.ts";
import { begin, type Ended } from "./killed.ts";
import { containerOf } from "./site-state.ts";
import { blobsIn, countBlobs, putBack, type Snapshot, takeSnapshot } from "./snapshot.ts";
import { makeTwoReleases, type TwoReleases } from "./two-releases.ts";

const seed = Number(process.env.CRASH_SEED ?? Date.now() % 1_000_000);
const kills = 50;
/** So many installs from the first release on are killed again and again, each time a little later. */
const rounds = 3;

describe("an install that is killed", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let site: Site;
  let releases: TwoReleases;
  let eyes: Eyes;
  let container: string;
  /** with the first release alone */
  let start: Snapshot;
  /** after an undisturbed install of the second one */
  let wanted: Outcome;
  let undisturbed: Ended;

  before(async () => {
    const folder = await makeFolder("crash");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "crash", clients: false });
      parts.defer(site.stop);
    };
    const makeBundles = async () => {
      releases = await makeTwoReleases("crash");
      parts.defer(releases.stop);
    };
    await Promise.all([startSiteSide(), makeBundles()]);
    succeeded(await (await begin(site, ["install", releases.first.bundle])).ended);
    container = await containerOf(site);
    start = takeSnapshot(site.siteDir);
    eyes = await openEyes(site, releases);
    parts.defer(eyes.stop);
    undisturbed = await install();
    succeeded(undisturbed);
    wanted = await outcome();
    toTheFirst();
  });
  after(() => parts.disposeAsync());

  const beginSecond = (...flags: string[]) =>
    begin(site, ["install", releases.second.bundle, "--json", ...flags]);
  const install = async (...flags: string[]) => (await beginSecond(...flags)).ended;

  function toTheFirst(): void {
    putBack(site.siteDir, start);
    eyes.forget();
  }

  /** What stands at the site when the second release is complete: everything but times, and what was written how. */
  async function outcome(): Promise<Outcome> {
    const { installedAt, placed, ...record } = await recordOf(releases.second.digest);
    assert.ok(Date.parse(installedAt) > 0 && placed.blobs >= 0);
    const format = "{{.Names}} {{.State}}";
    const containers = (await site.run("docker", ["ps", "--all", "--format", format])).stdout.trim();
    const table: Outcome["table"] = { containers };
    for (const [path, { is }] of takeSnapshot(site.siteDir)) {
      const told = /^drydock\.json$|^releases\/[0-9a-f]+\/(release\.json|receipt\.(json|txt))$/.test(path);
      table[path] = told ? is.replace(/ [0-9a-f]{64}$/, "") : is;
    }
    return { record, table };
  }

  async function recordOf(digest: Digest): Promise<ReleaseRecord> {
    return JSON.parse(await readFile(join(site.siteDir, "releases", hexOf(digest), "release.json"), "utf8"));
  }

  /** Lets the same command run to its end; then nothing may tell that one before it was killed. */
  async function complete(...flags: string[]): Promise<Ended> {
    const ended = await install(...flags);
    succeeded(ended);
    await eyes.look({ pull: true });
    const { tagsBefore } = await recordOf(releases.second.digest);
    const moved = Object.entries(releases.first.images).map(([name, { digest }]) => {
      const [repository = "", tag = ""] = name.split(":");
      return [repository, { [tag]: digest }] as const;
    });
    assert.deepEqual(tagsBefore, Object.fromEntries(moved));
    const { table, record } = await outcome();
    assert.deepEqual(record, wanted.record);
    assert.deepEqual(differences(table, wanted.table), []);
    return ended;
  }

  it("at the begin of each step, one after the other: then the same command completes it", async () => {
    const stop = eyes.watch();
    for (const step of ["open", "preflight", "place", "link", "run", "prove addresses", "prove tags"]) {
      const killed = await beginSecond();
      await killed.step(step);
      killed.kill();
      const { code, stderr } = await killed.ended;
      assert.equal(code, null, stderr);
      await eyes.look();
    }
    await complete();
    await stop();
    assert.equal(await containerOf(site), container, "the container ran on");
  });

  it("goes on without reading again what was placed", async () => {
    // All is there: what is read is the program, the bundle's top, and files to be compared.
    const idle = await install();
    succeeded(idle);
    const final = takeSnapshot(site.siteDir);
    toTheFirst();
    const half = (blobsIn(start) + blobsIn(final)) / 2;
    const killed = await beginSecond();
    await killed.step("place");
    while (countBlobs(site.siteDir) < half) await sleep(2);
    killed.kill();
    assert.equal((await killed.ended).code, null, "it was killed in the middle of placing");
    const there = takeSnapshot(site.siteDir);
    const missing = [...final].filter(([path, { is }]) => isPlaced(path) && there.get(path)?.is !== is);
    const bytes = missing.reduce((sum, [, { size }]) => sum + size, 0);
    const { stdout, read } = await complete();
    const { placed } = JSON.parse(stdout);
    assert.deepEqual(placed, { blobs: missing.length, bytes });
    assert.ok(bytes > 0 && read > 0);
    // Of a packed seed all is read if anything is missing. What is read besides is compared with the idle run.
    const limit = idle.read + bytes + releases.seedSize + 500_000;
    assert.ok(read < limit, `it read ${read} bytes, wanted less than ${limit}`);
    const all = undisturbed.read - idle.read;
    assert.ok(read - idle.read < all * 0.9, `it read ${read - idle.read} of ${all} bytes`);
  });

  it("between two names that belong together: all that is left over goes", async () => {
    toTheFirst();
    const killed = await beginSecond();
    await killed.step("run");
    killed.kill();
    assert.equal((await killed.ended).code, null);
    const journal = await readFile(join(site.siteDir, "journal.json"));
    await complete();
    // Its record was written, and was not yet said to be the current one.
    await writeFile(join(site.siteDir, "journal.json"), journal);
    await writeFile(join(site.siteDir, "drydock.json"), start.get("drydock.json")?.content ?? "");
    // What is written goes under such a name first.
    const [set] = await readdir(join(site.siteDir, "releases/certs"));
    const moved = "storage/docker/registry/v2/repositories/team/app-0/_manifests/tags/current/current";
    for (const name of [
      ".drydock.json",
      "certs/.registry-key.pem",
      `${moved}/.link`,
      `releases/${hexOf(releases.first.digest)}/.release.json`,
      `releases/certs/${set}/.ca-key.pem`,
      "releases/..reserve",
    ])
      await writeFile(join(site.siteDir, `${name}.0123456789ab`), "half of it", { mode: 0o600 });
    await writeFile(join(site.siteDir, "releases/files/.pump.tgz"), "one more name");
    await mkdir(join(site.siteDir, "storage/.drydock"));
    await writeFile(join(site.siteDir, "storage/.drydock", "0".repeat(64)), "half of it");
    await complete();
  });

  it(`at ${kills} random moments: the registry serves what is whole, and all is well in the end`, async (t) => {
    t.diagnostic(`CRASH_SEED=${seed}`);
    const random = randomFrom(seed);
    // One in each fiftieth of the time from the first step's begin to the end.
    const moments = Array.from({ length: kills }, (_, at) => (at + random()) / kills);
    const waiting = Array.from({ length: rounds }, (_, round) =>
      moments.filter((_, at) => at % rounds === round),
    );
    // One that goes on where another one stood is quicker than one from the beginning.
    const duration = {
      begins: undisturbed.took - undisturbed.spoke,
      goesOn: undisturbed.took - undisturbed.spoke,
    };
    const during = new Map<string, number>();
    for (let round = waiting.shift(); round !== undefined; round = waiting.shift()) {
      toTheFirst();
      const stop = eyes.watch();
      let kind: keyof typeof duration = "begins";
      for (let moment = round.shift(); moment !== undefined; moment = round.shift()) {
        const killed = await beginSecond();
        await killed.step("open");
        await Promise.race([sleep(moment * duration[kind]), killed.ended]);
        killed.kill();
        const { code, stderr, took, spoke } = await killed.ended;
        if (code !== null) {
          assert.equal(code, 0, stderr);
          duration[kind] = (took - spoke) * 0.95;
          // It was over before: what is left of the round is for another one.
          waiting.push([moment, ...round]);
          break;
        }
        const step = stderr.match(/^\S.*(?= \.\.\.$)/gm)?.at(-1) ?? "none";
        during.set(step, (during.get(step) ?? 0) + 1);
        await eyes.look();
        kind = "goesOn";
      }
      await complete();
      await stop();
      assert.equal(await containerOf(site), container, "the container ran on");
    }
    assert.equal(
      [...during.values()].reduce((sum, count) => sum + count, 0),
      kills,
    );
    t.diagnostic([...during].map(([step, count]) => `${count} × ${step}`).join(", "));
  });

  it("while one container takes the place of another: there is one in the end, and it is the new one", async (t) => {
    t.diagnostic(`CRASH_SEED=${seed}`);
    const random = randomFrom(seed);
    const registry = { image: releases.registryImage, access: "push" };
    const third = await releases.make(3, { registry });
    toTheFirst();
    for (let number = 0; number < 6; number++) {
      const killed = await begin(site, ["install", third.bundle]);
      await killed.step("run");
      await sleep(random() * 800);
      killed.kill();
      const { code, stderr } = await killed.ended;
      if (code !== null) assert.equal(code, 0, stderr);
    }
    succeeded(await (await begin(site, ["install", third.bundle])).ended);
    const format = "{{.Names}} {{.State}}";
    const { stdout } = await site.run("docker", ["ps", "--all", "--format", format]);
    assert.equal(stdout.trim(), "registry running");
    const environment = await site.run("docker", ["inspect", "--format", "{{.Config.Env}}", "registry"]);
    assert.doesNotMatch(environment.stdout, /READONLY/);
    await eyes.look({ pull: true });
  });
});

/** Whether the step "place" puts it there. */
function isPlaced(path: string): boolean {
  return /^releases\/files\/|\/blobs\/sha256\/([0-9a-f]{2}\/[0-9a-f]{64}\/data|[0-9a-f]{64})$/.test(path);
}

interface Outcome {
  record: object;
  /** the containers, and what stands at each path */
  table: Record<string, string>;
}

function differences(got: Outcome["table"], wanted: Outcome["table"]): string[] {
  const names = [...new Set([...Object.keys(got), ...Object.keys(wanted)])];
  const other = names.filter((name) => got[name] !== wanted[name]);
  return other.map((name) => `${name}: wanted ${wanted[name]}, got ${got[name]}`);
}

function succeeded({ code, stdout, stderr }: Ended): void {
  assert.equal(code, 0, `${stdout}${stderr}`);
}
