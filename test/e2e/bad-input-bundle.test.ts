/** What is no bundle, given as one to the commands that read bundles; nothing is made of it. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { tarOf } from "../lab/seeds.ts";
import { assertRefused, type Desk, manifestFile, startDesk } from "./bad-input.ts";
import { drydock, drydockFromPipe } from "./drydock.ts";

describe("a bundle", () => {
  let desk: Desk;
  let whole: string;
  before(async () => {
    desk = await startDesk("bad-bundle");
    const made = await desk.bundle(manifestFile(desk.manifest), { flags: ["--unencrypted-key"] });
    assert.equal(made.code, 0, made.stderr);
    whole = join(made.folder, "site.tar");
  });
  after(() => desk.stop());

  /** With install no engine answers, and the site's directory is not there, before nor after. */
  async function refused(
    command: string,
    args: string[],
    exit: number,
    says: (string | RegExp)[],
  ): Promise<void> {
    const site = join(desk.folder, "site");
    const env = { DOCKER_HOST: `unix://${site}.sock`, DRYDOCK_CONFIG_DIR: join(desk.folder, "config") };
    const words = [command, ...args, ...(command === "install" ? ["--site", site] : [])];
    assertRefused(await drydock(words, { cwd: desk.folder, env }), { exit, says });
    assert.ok(!existsSync(site) && !existsSync(env.DRYDOCK_CONFIG_DIR));
  }

  async function file(name: string, bytes: Buffer): Promise<string> {
    await writeFile(join(desk.folder, name), bytes);
    return name;
  }

  it("that is not there, or is a folder", async () => {
    await refused("install", ["site.tra"], 3, ['open bundle "site.tra": there is no such file']);
    await refused("verify", ["."], 3, ['open bundle ".": it is a folder', "Name the bundle's file in it."]);
  });

  it("that is compressed", async () => {
    const bytes = await readFile(whole);
    const gzipped = await file("site.tar.gz", gzipSync(bytes));
    await refused("install", [gzipped], 3, [
      'open bundle "site.tar.gz": it is compressed with gzip',
      "gzip -dc FILE | drydock install -",
    ]);
    const zstd = await file("site.tar.zst", zstdCompressSync(bytes));
    await refused("verify", [zstd], 3, ['"site.tar.zst": it is compressed with zstd', "zstd -dc FILE |"]);
    const piped = await drydockFromPipe('cat "$0"', join(desk.folder, gzipped), ["inspect", "-"]);
    assertRefused(piped, { exit: 3, says: ['"standard input": it is compressed with gzip'] });
  });

  it("that is another archive, or none", async () => {
    const saved = tarOf([{ path: "manifest.json", content: Buffer.from("[]") }]);
    const says = [
      '"saved.tar": it begins with entry "manifest.json", wanted entry "SHA256SUMS"',
      "`drydock bundle`",
    ];
    await refused("install", [await file("saved.tar", saved)], 4, says);
    const manifest = await file("plant.yaml", Buffer.from("name: plant-7\n"));
    await refused("inspect", [manifest], 4, [
      '"plant.yaml": it begins with something that is no tar header',
      "no bundle",
    ]);
    await refused("verify", [await file("empty.tar", Buffer.alloc(0))], 4, [
      '"empty.tar": it is truncated: it ends at byte 0',
      "Copy the bundle again",
    ]);
  });

  it("that is cut behind its top: inspect tells what was inside, and what is not there", async () => {
    const bytes = await readFile(whole);
    const cut = await file("cut.tar", bytes.subarray(0, bytes.length - 2048));
    const { code, stdout, stderr } = await drydock(["inspect", cut], { cwd: desk.folder });
    assert.equal(code, 4, stderr);
    assert.equal(stdout, (await drydock(["inspect", whole])).stdout);
    assert.match(
      stderr,
      new RegExp(`^Warning: the bundle is cut: it has \\d+ bytes, wanted ${bytes.length}$`, "m"),
    );
  });

  it("that ends too early in a pipe: what came before it is to blame", async () => {
    for (const script of ["true", 'head -c 9000 "$0"', 'head -c -600 "$0"']) {
      const cut = await drydockFromPipe(script, whole, ["verify", "-"]);
      assertRefused(cut, {
        exit: 4,
        says: ['"standard input"', "it is truncated", "before the pipe ended too early"],
      });
    }
  });

  it("that is whole, with a digest that is none", async () => {
    const half = "0123456789abcdef".repeat(2);
    for (const command of ["install", "verify", "inspect"]) {
      await refused(command, [whole, "--digest", half], 2, [
        `--digest "${half}": wanted 64 hexadecimal digits`,
        "all of it",
      ]);
    }
  });
});
