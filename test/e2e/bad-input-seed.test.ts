/** Seeds that are not the ones meant, are damaged, or hold what a registry's storage cannot hold. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { blobPath } from "../../src/oci/storage.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { makeImage } from "../lab/images.ts";
import {
  compress,
  entriesOf,
  makeStorage,
  type RawEntry,
  readTree,
  type StorageTree,
  tarOf,
} from "../lab/seeds.ts";
import { startServer } from "../oci/faulty-server.ts";
import { assertRefused, type Desk, journal, manifestFile, startDesk } from "./bad-input.ts";

describe("a seed", () => {
  let desk: Desk;
  let tree: StorageTree;
  const old = makeImage({ platform: hostPlatform, files: { "old.txt": "as it was in 2017\n" } });
  const other = makeImage({ platform: hostPlatform, files: { "other.txt": "something else\n" } });
  before(async () => {
    desk = await startDesk("bad-seed");
    tree = await readTree(await makeStorage(join(desk.folder, "old"), { "legacy/app:2017": old }));
  });
  after(() => desk.stop());

  async function refused(
    seeds: { file: string; bytes: Buffer; sha256?: string }[],
    exit: number,
    says: (string | RegExp)[],
    more: object = {},
  ): Promise<void> {
    const listed = seeds.map(({ file, sha256 }) => ({ file, ...(sha256 && { sha256 }) }));
    const files = Object.fromEntries(seeds.map(({ file, bytes }) => [file, bytes]));
    const tried = await desk.bundle({ ...files, ...manifestFile(desk.manifest, { seeds: listed }, more) });
    assertRefused(tried, { exit, says });
    assert.deepEqual(tried.left, ["manifest.yaml", journal, ...Object.keys(files)].sort());
  }

  const whole = () => compress(tarOf(entriesOf(tree)), "gzip");

  it("with another sha256 than the manifest's", async () => {
    const bytes = whole();
    const sha256 = createHash("sha256").update("another file").digest("hex");
    const got = createHash("sha256").update(bytes).digest("hex");
    await refused([{ file: "old.tar.gz", bytes, sha256 }], 4, [
      "old.tar.gz",
      `wanted sha256 ${sha256}, got ${got}`,
      "get it again",
    ]);
  });

  it("that is truncated", async () => {
    const bytes = whole();
    const cut = bytes.subarray(0, bytes.length / 2);
    await refused([{ file: "old.tar.gz", bytes: cut }], 4, [
      /read ".*old\.tar\.gz": truncated/,
      "Copy or download it again",
    ]);
  });

  it("that is truncated, or another one, at its URL: what may still be right is kept", async () => {
    const bytes = whole();
    const server = await startServer((request, response) => {
      response.setHeader("content-length", bytes.length);
      if (request.url?.startsWith("/another")) response.end(bytes);
      else response.write(bytes.subarray(0, bytes.length / 2), () => response.destroy());
    });
    try {
      const sha256 = "0123456789abcdef".repeat(4);
      const at = (name: string) => ({
        seeds: [{ url: `http://${server.host}/${name}?token=secret`, sha256 }],
      });
      const another = await desk.bundle(manifestFile(desk.manifest, at("another.tar.gz")));
      const url = `http://${server.host}/another.tar.gz"`;
      assertRefused(another, { exit: 4, says: [url, `wanted sha256 ${sha256}`, "get it again"] });
      const cut = await desk.bundle(manifestFile(desk.manifest, at("cut.tar.gz")));
      assertRefused(cut, {
        exit: 7,
        says: [
          `http://${server.host}/cut.tar.gz"`,
          "broke off",
          "Run it again",
          'bytes are kept in "site.tar.seed-0123456789abcdef.partial"; the same command',
        ],
      });
      assert.deepEqual(another.left, ["manifest.yaml", journal]);
      assert.deepEqual(cut.left, ["manifest.yaml", journal, "site.tar.seed-0123456789abcdef.partial"]);
      for (const { stderr } of [another, cut]) assert.doesNotMatch(stderr, /secret/);
    } finally {
      await server.stop();
    }
  });

  it("that is something else", async () => {
    await refused([{ file: "old.tar", bytes: Buffer.from("not found\n") }], 3, [
      "old.tar",
      "not a tar archive",
      "gzip or zstd",
    ]);
    const saved = tarOf([{ path: "manifest.json", content: Buffer.from("[]") }]);
    await refused([{ file: "saved.tar", bytes: saved }], 3, [
      "saved.tar",
      "no registry storage",
      "docker/registry/v2/",
    ]);
  });

  const inTree = "docker/registry/v2/repositories/legacy/app";
  const hostile: { entry: RawEntry; why: string }[] = [
    { entry: { path: `${inTree}/../../../../../../etc/cron.d/x` }, why: 'its name has ".." in it' },
    {
      entry: { path: `${inTree}/x`, type: "SymbolicLink", linkpath: "/etc/passwd" },
      why: "it is a symbolic link",
    },
    { entry: { path: `${inTree}/x`, type: "Link", linkpath: "/etc/passwd" }, why: "it is a hard link" },
  ];
  for (const { entry, why } of hostile) {
    it(`with an entry that is refused: ${why}`, async () => {
      const bytes = tarOf([...entriesOf(tree), entry]);
      await refused([{ file: "hostile.tar", bytes }], 3, [
        "hostile.tar",
        `entry ${JSON.stringify(entry.path)} refused: ${why}`,
      ]);
    });
  }

  it("whose link points at a blob that is not there", async () => {
    const [, layer] = old.blobs;
    assert.ok(layer);
    const holed = new Map(tree);
    assert.ok(holed.delete(blobPath(layer.digest)));
    const bytes = tarOf(entriesOf(holed));
    await refused([{ file: "holed.tar", bytes }], 3, [
      "holed.tar",
      "legacy/app",
      "2017",
      layer.digest,
      "is not in the seed",
      "Pack it again",
    ]);
  });

  it("that sets a tag which another seed, or an image, sets to something else", async () => {
    const storage = await makeStorage(join(desk.folder, "other"), { "legacy/app:2017": other });
    const seeds = [
      { file: "one.tar", bytes: tarOf(entriesOf(tree)) },
      { file: "two.tar", bytes: tarOf(entriesOf(await readTree(storage))) },
    ];
    await refused(seeds, 3, [
      "one.tar",
      "two.tar",
      '"legacy/app:2017"',
      "different images",
      "leave one seed out",
    ]);
    const image = `${desk.proxy.host}/team/app:1`;
    const images = [{ reference: image, as: "legacy/app:2017" }];
    await refused(seeds.slice(0, 1), 3, ["one.tar", image, '"legacy/app:2017"', "`as`"], { images });
  });
});
