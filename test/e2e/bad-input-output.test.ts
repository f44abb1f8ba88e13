/** Places that a bundle cannot be written to: nothing stays there but what the next try can use. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { atEnd } from "../lab/at-end.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { makeImage } from "../lab/images.ts";
import { run } from "../lab/process.ts";
import { assertRefused, type Desk, journal, manifestFile, startDesk } from "./bad-input.ts";
import { drydockWords } from "./drydock.ts";

const MiB = 1024 ** 2;

describe("an output", () => {
  let desk: Desk;
  /** a file system of 8 MiB */
  let small: string;
  let unmount: () => Promise<void>;
  /** of 3 MiB, which nothing makes smaller */
  const big = makeImage({
    platform: hostPlatform,
    files: { noise: randomBytes(3 * MiB).toString("latin1") },
  });
  before(async () => {
    desk = await startDesk("bad-output");
    await desk.push("team/big:1", big);
    small = join(desk.folder, "small");
    await mkdir(small);
    await run("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", small]);
    const forget = atEnd(() => unmount());
    unmount = async () => {
      forget();
      await run("umount", [small]);
    };
  });
  after(async () => {
    await unmount?.();
    await desk.stop();
  });

  const withBig = () => manifestFile(desk.manifest, { images: [`${desk.proxy.host}/team/big:1`] });

  it("that exists", async () => {
    const files = { ...manifestFile(desk.manifest), "site.tar": "the one before" };
    const tried = await desk.bundle(files);
    assertRefused(tried, { exit: 2, says: [/write bundle ".*site\.tar": it exists/, "--force", "-o"] });
    assert.deepEqual(tried.left, ["manifest.yaml", "site.tar"]);
    assert.equal(await readFile(join(tried.folder, "site.tar"), "utf8"), "the one before");
  });

  it("that is a folder, or in none", async () => {
    const isFolder = await desk.bundle(manifestFile(desk.manifest), { output: small });
    assertRefused(isFolder, {
      exit: 2,
      says: [`write bundle "${small}": it is there, and is a folder`, "-o"],
    });
    const inNone = await desk.bundle(manifestFile(desk.manifest), { output: "no/such/site.tar" });
    assertRefused(inNone, { exit: 2, says: [/there is no folder ".*no\/such"/, "-o"] });
    assert.deepEqual(inNone.left, ["manifest.yaml"]);
    assert.deepEqual(desk.proxy.asked, []);
  });

  it("on a file system that is too small from the beginning", async () => {
    const ballast = join(small, "ballast");
    await writeFile(ballast, Buffer.alloc(6 * MiB));
    const tried = await desk.bundle(withBig(), { output: join(small, "site.tar") });
    const says = [
      `write bundle "${join(small, "site.tar")}": it needs `,
      `"${small}" has `,
      "larger file system",
    ];
    assertRefused(tried, { exit: 6, says });
    assert.deepEqual((await readdir(small)).sort(), ["ballast", journal]);
    for (const name of ["ballast", journal]) await rm(join(small, name));
  });

  it("on a file system that holds no such large files, as FAT32", async () => {
    const folder = join(desk.folder, "fat");
    await mkdir(folder);
    await writeFile(join(folder, "manifest.yaml"), withBig()["manifest.yaml"]);
    const args = ["bundle", "manifest.yaml", "-o", "site.tar", "--plain-http", desk.proxy.host];
    // The kernel here has no FAT; a limit of the process ends with the same error, EFBIG.
    const tried = await run("prlimit", [`--fsize=${2 * MiB}`, ...drydockWords, ...args], {
      ...{ cwd: folder, mayFail: true },
      env: { ...process.env, HOME: folder, XDG_DATA_HOME: join(folder, "data"), DOCKER_CONFIG: folder },
    });
    assertRefused(tried, {
      exit: 6,
      says: [/write bundle ".*site\.tar": its file system holds no file of [\d,]+ bytes/, "--split fat32"],
    });
    assert.deepEqual((await readdir(folder)).sort(), ["data", "manifest.yaml", journal]);
  });

  it("on a file system that something else fills meanwhile", async () => {
    const [, layer] = big.blobs;
    assert.ok(layer);
    const ballast = join(small, "ballast");
    const fill = async () => {
      const { bavail, bsize } = await statfs(small);
      await writeFile(ballast, Buffer.alloc(bavail * bsize - MiB));
    };
    desk.proxy.fault = { at: layer.digest, is: { kind: "answers later", during: fill } };
    const tried = await desk.bundle(withBig(), { output: join(small, "site.tar") });
    desk.proxy.fault = undefined;
    assertRefused(tried, {
      exit: 9,
      says: [`write bundle "${join(small, "site.tar")}": the disk is full`, "needs"],
    });
    const kept = ["site.tar.partial", journal];
    assert.deepEqual((await readdir(small)).sort(), ["ballast", ...kept]);
    for (const name of ["ballast", ...kept]) await rm(join(small, name));
  });

  it("on a file system that is mounted read-only", async () => {
    const asked = desk.proxy.asked.length;
    await run("mount", ["-o", "remount,ro", small]);
    const tried = await desk.bundle(withBig(), { output: join(small, "site.tar") });
    assertRefused(tried, { exit: 2, says: ["site.tar", "mounted read-only", "-o"] });
    assert.equal(desk.proxy.asked.length, asked);
  });
});
