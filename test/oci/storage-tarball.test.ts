import assert from "node:assert/strict";
import { createReadStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DrydockError, type ErrorKind } from "../../src/errors.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type Compression, detectCompression, readStorageTarball } from "../../src/oci/storage-tarball.ts";
import { makeImage } from "../lab/images.ts";
import {
  compress,
  entriesOf,
  makeStorage,
  packStorage,
  type RawEntry,
  readTree,
  type StorageTree,
  tarOf,
} from "../lab/seeds.ts";

const compressions: Compression[] = ["none", "gzip", "zstd"];
let folder: string;
let storage: string;
let tree: StorageTree;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-tarball-"));
  storage = await makeStorage(folder, {
    "team/app:1": makeImage(),
    "team/app:RC": makeImage({ docker: true }),
  });
  tree = await readTree(storage);
});
after(() => rm(folder, { recursive: true, force: true }));

async function* chunked(bytes: Buffer, size = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** kind and bytes of all files */
async function readAll(source: AsyncIterable<Uint8Array>, compression: Compression = "none") {
  const kinds: Record<string, number> = {};
  const blobs = new Set<string>();
  const { prefix } = await readStorageTarball(
    source,
    { compression, where: "seed.tar" },
    async (entry, size, body) => {
      kinds[entry.kind] = (kinds[entry.kind] ?? 0) + 1;
      const parts: Uint8Array[] = [];
      for await (const part of body) parts.push(part);
      const bytes = Buffer.concat(parts);
      assert.equal(bytes.length, size);
      if (entry.kind !== "blob") return;
      assert.equal(digestOf(bytes), entry.digest);
      blobs.add(entry.digest);
    },
  );
  return { prefix, kinds, blobs };
}

async function refused(
  source: Buffer | AsyncIterable<Uint8Array>,
  kind: ErrorKind,
  text: RegExp,
  compression?: Compression,
) {
  await assert.rejects(readAll(Buffer.isBuffer(source) ? chunked(source) : source, compression), (error) => {
    assert.ok(error instanceof DrydockError, String(error));
    assert.match(error.message, text);
    assert.equal(error.kind, kind);
    return true;
  });
}

describe("a tarball of a registry's storage", () => {
  for (const compression of compressions) {
    for (const prefix of ["", "./", "docker-registry/storage/", "var/lib/registry/", "docker/registry/"]) {
      test(`packed by tar, ${compression}, below ${JSON.stringify(prefix)}`, async () => {
        const name = `${compression}-${prefix.replaceAll(/\W/g, "_")}.tar`;
        const file = await packStorage(storage, join(folder, name), { compression, prefix });
        const { kinds, blobs, prefix: found } = await readAll(createReadStream(file), compression);
        assert.equal(found, prefix.replace("./", ""));
        assert.deepEqual(kinds, { blob: 4, layer: 2, revision: 2, "tag-current": 2, "tag-index": 2 });
        assert.equal(blobs.size, kinds.blob);
      });
    }
  }

  test("a long folder name, in GNU's and in pax's way, cut after any of its slashes", async () => {
    for (const format of ["gnu", "pax"] as const) {
      for (let length = 1; length <= 100; length += 9) {
        const file = join(folder, `long-${format}-${length}.tar`);
        await packStorage(storage, file, { format, prefix: `${"x".repeat(length)}/` });
        assert.equal((await readAll(createReadStream(file))).kinds.blob, 4);
      }
    }
  });

  test("comes in chunks of any size", async () => {
    const bytes = tarOf(entriesOf(tree));
    for (const size of [1, 511, 512, 513, 4096, bytes.length]) {
      assert.equal((await readAll(chunked(bytes, size))).kinds.blob, 4);
    }
  });

  test("several gzip members or zstd frames are one", async () => {
    const bytes = tarOf(entriesOf(tree));
    const half = Math.floor(bytes.length / 2);
    for (const compression of ["gzip", "zstd"] as const) {
      const parts = [bytes.subarray(0, half), bytes.subarray(half)].map((part) =>
        compress(part, compression),
      );
      assert.equal((await readAll(chunked(Buffer.concat(parts)), compression)).kinds.blob, 4);
    }
  });

  test("what the visitor leaves unread is skipped", async () => {
    let files = 0;
    const visit = async (_: unknown, size: number, body: AsyncIterable<Uint8Array>) => {
      files++;
      if (size > 2) for await (const _chunk of body) break;
    };
    await readStorageTarball(
      chunked(tarOf(entriesOf(tree)), 100),
      { compression: "none", where: "x" },
      visit,
    );
    assert.equal(files, tree.size);
  });

  test("an error of the visitor ends the reading and the source", async () => {
    let closed = false;
    async function* source() {
      try {
        for (;;) yield* chunked(tarOf(entriesOf(tree)));
      } finally {
        closed = true;
      }
    }
    const visit = () => Promise.reject(new Error("enough"));
    await assert.rejects(readStorageTarball(source(), { compression: "none", where: "x" }, visit), /enough/);
    assert.ok(closed);
  });

  test("an error of the source is passed on as it is", async () => {
    for (const compression of compressions) {
      const bytes = compress(tarOf(entriesOf(tree)), compression);
      async function* source() {
        yield bytes.subarray(0, bytes.length - 100);
        throw new DrydockError("upstream", "the line is cut");
      }
      await refused(source(), "upstream", /the line is cut/, compression);
    }
  });

  test("files outside of the tree are named, and there may be no tree", async () => {
    const { kinds, prefix } = await readAll(chunked(tarOf([{ path: "certs/ca.pem" }, { path: "README" }])));
    assert.deepEqual(kinds, { foreign: 2 });
    assert.equal(prefix, undefined);
  });
});

describe("a damaged tarball is an integrity error", () => {
  for (const compression of compressions) {
    test(`${compression}: truncated, wherever`, async () => {
      const bytes = compress(tarOf(entriesOf(tree)), compression);
      // The two blocks of zeros at a plain tar's end are the only bytes that it can lose.
      const last = compression === "none" ? bytes.length - 1024 : bytes.length - 1;
      for (let at = 600; at <= last; at += 997)
        await refused(bytes.subarray(0, at), "integrity", /truncated/, compression);
      await refused(bytes.subarray(0, last), "integrity", /truncated/, compression);
    });

    test(`${compression}: something follows its end`, async () => {
      const bytes = Buffer.concat([
        compress(tarOf(entriesOf(tree)), compression),
        Buffer.from("and so on".repeat(99)),
      ]);
      await refused(bytes, "integrity", /damaged/, compression);
    });
  }

  test("something follows the archive's end inside of the compression", async () => {
    const bytes = Buffer.concat([tarOf(entriesOf(tree)), tarOf(entriesOf(tree))]);
    await refused(compress(bytes, "gzip"), "integrity", /something follows the archive's end/, "gzip");
  });

  test("a header with a flipped bit", async () => {
    const bytes = tarOf(entriesOf(tree));
    const second = bytes.indexOf("docker/registry", 600);
    bytes.writeUInt8(bytes.readUInt8(second) ^ 1, second);
    await refused(bytes, "integrity", /no tar header/);
  });

  test("compressed bytes with a flipped bit", async () => {
    for (const compression of ["gzip", "zstd"] as const) {
      const bytes = compress(tarOf(entriesOf(tree)), compression);
      const at = bytes.length - 6;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      await refused(bytes, "integrity", /damaged|truncated/, compression);
    }
  });
});

describe("what a storage directory cannot hold is refused", () => {
  const inTree = "docker/registry/v2/repositories/team/app/_layers/sha256";
  const hostile: Record<string, { entries: RawEntry[]; text: RegExp }> = {
    "a name that leads out": {
      entries: [{ path: "docker/registry/v2/../../../etc/passwd" }],
      text: /"\.\."/,
    },
    "a pax name that leads out": { entries: [{ path: "a", paxPath: "x/../../y" }], text: /"\.\."/ },
    "an absolute name": { entries: [{ path: "a", paxPath: "/etc/passwd" }], text: /absolute/ },
    "a symbolic link": {
      entries: [{ path: `${inTree}/x`, type: "SymbolicLink", linkpath: "/etc" }],
      text: /symbolic link/,
    },
    "a hard link": {
      entries: [{ path: `${inTree}/x`, type: "Link", linkpath: "other" }],
      text: /a hard link/,
    },
    "a device": { entries: [{ path: "dev/null", type: "CharacterDevice" }], text: /a device/ },
    "a pipe": { entries: [{ path: "pipe", type: "FIFO" }], text: /a named pipe/ },
    "a file with a link target": { entries: [{ path: "a", linkpath: "b" }], text: /link target/ },
    "the same file twice": { entries: [{ path: "a" }, { path: "./a" }], text: /"\.\/a".*twice/ },
    "a file that is a directory too": {
      entries: [{ path: "a", type: "Directory" }, { path: "a" }],
      text: /twice/,
    },
    "names that differ by case": { entries: [{ path: "a/b" }, { path: "A/b" }], text: /twice/ },
    "two trees": {
      entries: [{ path: "one/docker/registry/v2/x" }],
      text: /two storage trees, in "\." and in "one\/"/,
    },
  };
  for (const [defect, { entries, text }] of Object.entries(hostile)) {
    test(defect, () => refused(tarOf([...entriesOf(tree), ...entries]), "input", text));
  }

  test("a name with a NUL", () => refused(tarOf([{ path: "a", paxPath: "a\0b" }]), "integrity", /NUL/));

  test("a directory twice, and tags that differ by case, are no harm", async () => {
    const tags = "docker/registry/v2/repositories/team/app/_manifests/tags";
    const more: RawEntry[] = [
      { path: "docker", type: "Directory" },
      { path: "docker/", type: "Directory" },
      { path: `${tags}/rc/current/link` },
    ];
    assert.equal((await readAll(chunked(tarOf([...entriesOf(tree), ...more])))).kinds["tag-current"], 3);
  });

  test("what is no tar at all", async () => {
    await refused(Buffer.from("hello"), "input", /not a tar archive/);
    await refused(Buffer.alloc(0), "input", /not a tar archive/);
    await refused(Buffer.alloc(5000, "hello "), "input", /not a tar archive/);
    await refused(compress(Buffer.alloc(5000, "hello "), "gzip"), "input", /not a tar archive/, "gzip");
  });
});

test("the compression is known by the first bytes", () => {
  for (const compression of compressions) {
    assert.equal(detectCompression(compress(tarOf([]), compression)), compression);
  }
  assert.equal(detectCompression(Buffer.from([0x50, 0x2a, 0x4d, 0x18])), "zstd");
  assert.equal(detectCompression(Buffer.alloc(0)), "none");
});
