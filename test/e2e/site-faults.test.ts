/**
 * What goes wrong at a site while a release is installed over another: the disk is full or fails, the engine
 * stops, somebody removes the container, the clock is wrong, two people do the same. Each time the command
 * ends with the right exit code and says what it was and what to do, the registry serves on what it served,
 * and when the fault is gone the same command completes. With the built command, held with SIGSTOP while the
 * fault is made.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { hexOf } from "../../src/oci/digest.ts";
import { startEngine } from "../lab/engine.ts";
import { type Site, startSite } from "../lab/site.ts";
import { makeSmallDisk, type SmallDisk } from "../lab/small-disk.ts";
import { makeFolder } from "./connected.ts";
import { type Eyes, openEyes } from "./eyes.ts";
import { begin, type Ended } from "./killed.ts";
import { blobsIn, countBlobs, putBack, type Snapshot, takeSnapshot } from "./snapshot.ts";
import { makeTwoReleases, type TwoReleases } from "./two-releases.ts";

/** How many tags of the first release name something else in the second. */
const movedTags = 6;

describe("an install over another release", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let site: Site;
  let disk: SmallDisk;
  let releases: TwoReleases;
  let eyes: Eyes;
  /** with the first release alone */
  let start: Snapshot;

  before(async () => {
    const folder = await makeFolder("faults");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      const started = await startSite({ folder: join(folder.path, "site"), name: "faults", clients: false });
      parts.defer(started.stop);
      await mkdir(started.siteDir);
      const path = "/srv/docker-registry";
      disk = await makeSmallDisk(started, { file: join(folder.path, "disk"), size: 128 * 1024 * 1024, path });
      parts.defer(disk.stop);
      site = { ...started, siteDir: `/proc/${started.pid}/root${path}` };
    };
    const makeBundles = async () => {
      releases = await makeTwoReleases("faults");
      parts.defer(releases.stop);
    };
    await Promise.all([startSiteSide(), makeBundles()]);
    succeeded(await (await begin(site, ["install", releases.first.bundle])).ended);
    start = takeSnapshot(site.siteDir);
    eyes = await openEyes(site, releases);
    parts.defer(() => eyes.stop());
  });
  after(() => parts.disposeAsync());

  const beginSecond = (options?: Parameters<typeof begin>[2]) =>
    begin(site, ["install", releases.second.bundle], options);
  const install = async (options?: Parameters<typeof begin>[2]) => (await beginSecond(options)).ended;
  const docker = async (...args: string[]) => (await site.run("docker", args)).stdout.trim();

  function toTheFirst(): void {
    putBack(site.siteDir, start);
    eyes.forget();
  }

  /** The second release's install is in the middle of placing: a third of its blobs have their names. */
  const someArePlaced = () =>
    countBlobs(site.siteDir) > blobsIn(start) + Object.values(releases.second.images).length * 2;

  /** Of the first release's tags so many name what the second has; each is whole, and all its blobs are pulled. */
  async function serves(moved: 0 | typeof movedTags): Promise<void> {
    assert.equal(await eyes.look({ pull: true }), moved);
  }

  /** The same command, now that nothing is in its way. */
  async function completes(): Promise<void> {
    succeeded(await install());
    await isComplete();
  }

  /** Nothing tells any more what went wrong. */
  async function isComplete(): Promise<void> {
    await serves(movedTags);
    const { current } = JSON.parse(await readFile(join(site.siteDir, "drydock.json"), "utf8"));
    assert.equal(current, releases.second.digest);
    const at = join(site.siteDir, "releases", hexOf(releases.second.digest));
    assert.deepEqual((await readdir(at)).sort(), [
      ...["bundle.json", "receipt.json", "receipt.txt", "registry", "release.json"],
    ]);
    for (const name of ["journal.json", "storage/.drydock", "releases/.reserve"])
      assert.ok(!existsSync(join(site.siteDir, name)), name);
    assert.equal(await docker("ps", "--all", "--format", "{{.Names}} {{.State}}"), "registry running");
  }

  function failed({ code, stdout, stderr }: Ended, exit: number, ...says: RegExp[]): void {
    assert.equal(code, exit, `${stdout}${stderr}`);
    const error = stderr.slice(stderr.search(/^Error: /m));
    for (const one of says) assert.match(error, one);
    assert.doesNotMatch(error, /\bbug\b|^ +at /m);
    if (process.env.SHOW_ERRORS !== undefined) process.stderr.write(`exit ${code}\n${error}\n`);
  }

  const full =
    /^Error: write "\/srv\/docker-registry\/\S+": .*no space left[\s\S]*\nThe file system is full: free some space and run the same command again\.$/m;
  const asItWas = /^All is as it was before: plant-7, release 1, is served\.$/m;

  for (const step of ["place", "link"] as const) {
    it(`while the disk gets full in the step "${step}"`, async () => {
      toTheFirst();
      const running = await beginSecond();
      await running.during(step, disk.fill, step === "place" ? someArePlaced : undefined);
      failed(await running.ended, 9, full, ...(step === "link" ? [asItWas] : []));
      await serves(0);
      assert.ok(!existsSync(join(site.siteDir, "storage/.drydock")), "nothing half written takes room");
      if (step === "place")
        failed(
          await install(),
          6,
          /^Error: space: \d+ MB are needed in \/srv\/docker-registry\S*, \d+ MB are free\nFree \d+ MB there/,
        );
      await disk.free();
      await completes();
    });
  }

  it("while the disk gets full when the tags have moved: there is room to put all back, or to complete", async () => {
    toTheFirst();
    const unproven = await beginSecond();
    await unproven.during("prove tags", async () => {
      await disk.fill();
      await docker("rm", "--force", "registry");
    });
    failed(await unproven.ended, 9, /the registry doesn't serve every tag/, asItWas);
    await serves(0);
    await disk.free();
    await completes();

    toTheFirst();
    const proven = await beginSecond();
    await proven.during("prove tags", disk.fill);
    succeeded(await proven.ended);
    await disk.free();
    await isComplete();
  });

  it("while the disk fails, and the kernel lets nobody write to it any more", async () => {
    toTheFirst();
    const running = await beginSecond();
    await running.during("place", disk.fail, someArePlaced);
    failed(
      await running.ended,
      9,
      /^Error: write "\/srv\/docker-registry\/\S+": /,
      /`dmesg` shows .* it goes on\.$/m,
    );
    await serves(0);
    // Which of the two it is depends on the kernel's age.
    failed(await install(), 6, /: .*(mounted read-only|on a file system that has failed)/, /mount it/i);
    await docker("stop", "--time=1", "registry");
    await disk.repair();
    await docker("start", "registry");
    await completes();
  });

  it("while the engine is stopped, what is there next time is whole; while it hangs, it is waited for", async () => {
    toTheFirst();
    const running = await beginSecond();
    const stop = 'pid=$(cat /run/docker.pid); kill "$pid"; while [ -d "/proc/$pid" ]; do sleep 0.1; done';
    const stopped = async () => void (await site.run("/bin/sh", ["-c", stop]));
    await running.during("place", stopped, someArePlaced);
    failed(
      await running.ended,
      9,
      /engine|image/,
      /^The engine stopped answering: see whether it still runs .* run the same command again\.$/m,
    );
    failed(await install(), 6, /^Error: engine: .*does not answer/);
    const engine = await startEngine(site, {
      ...{ folder: join(site.folder, "host"), name: site.netns, args: ["--bridge=site0"] },
    });
    parts.defer(engine.stop);
    await answers();
    assert.equal(await docker("ps", "--format", "{{.Names}}"), "registry");
    await serves(0);
    await completes();

    toTheFirst();
    const patient = await beginSecond();
    await patient.step("place");
    await engine.whileHanging(async () => {
      await sleep(2500);
    });
    succeeded(await patient.ended);
    await isComplete();
  });

  /** The engine starts the containers that ran, and a registry takes a moment. */
  async function answers(): Promise<void> {
    const url = "https://127.0.0.1/v2/";
    const args = ["--silent", "--insecure", "--retry", "40", "--retry-delay", "1", "--retry-all-errors"];
    await site.run("curl", [...args, "--output", "/dev/null", url]);
  }

  it("after somebody removed the container, and while somebody does", async () => {
    toTheFirst();
    await docker("rm", "--force", "registry");
    const placing = await beginSecond();
    const made = await placing.ended;
    succeeded(made);
    assert.match(made.stderr, /^✓ run +made/m);
    await isComplete();

    toTheFirst();
    const proving = await beginSecond();
    await proving.during("prove tags", async () => {
      await docker("rm", "--force", "registry");
    });
    failed(
      await proving.ended,
      9,
      /the registry doesn't serve every tag/,
      asItWas,
      /run the same command again/,
    );
    await serves(0);
    await completes();
  });

  it("with a clock that is a year slow: nothing is done; a year fast: the order of releases is right", async () => {
    toTheFirst();
    const clock = (by: string) => ({
      before: ["faketime", "-m", "-f", by],
      env: { FAKETIME_DONT_FAKE_MONOTONIC: "1" },
    });
    const before_ = takeSnapshot(site.siteDir);
    const slow = await install(clock("-1y"));
    failed(slow, 6, /stand in the way: clock, certificates/);
    assert.match(slow.stderr, /clock says .*, and the certificate begins on /);
    assert.match(slow.stderr, /Set the clock \(timedatectl/);
    assert.deepEqual(takeSnapshot(site.siteDir), before_);
    await serves(0);
    const fast = await install(clock("+1y"));
    succeeded(fast);
    await serves(movedTags);
    succeeded(await (await begin(site, ["rollback"])).ended);
    await serves(0);
  });

  it("by two at once: the second says so and changes nothing, the first goes on", async () => {
    toTheFirst();
    const running = await beginSecond();
    await running.during("place", async () => {
      const others = [["install", releases.second.bundle], ["install", releases.first.bundle], ["rollback"]];
      for (const args of others) {
        const other = await (await begin(site, args)).ended;
        failed(other, 6, /^Error: lock site "\/srv\/docker-registry": another drydock .*is working there/);
        assert.match(other.stderr, /^Wait until it is done, then run the same command again\.$/m);
      }
      await serves(0);
    });
    succeeded(await running.ended);
    await isComplete();
  });
});

function succeeded({ code, stdout, stderr }: Ended): void {
  assert.equal(code, 0, `${stdout}${stderr}`);
}
