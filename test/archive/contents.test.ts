/** What a bundle index means for the storage: blobs, links, totals. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  contentLinks,
  countInodes,
  storedBlobs,
  tagLinks,
  totalsOf,
  usersOf,
} from "../../src/archive/contents.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";

const [manifest, config, inner, registry, file] = ["m", "c", "i", "r", "f"].map(digestOf) as [
  Digest,
  Digest,
  Digest,
  Digest,
  Digest,
];
const seed = digestOf("seed");
const index = {
  blobs: [
    { digest: registry, size: 1, role: "registry" as const },
    { digest: manifest, size: 2, role: "image" as const },
    { digest: config, size: 4, role: "registry" as const },
    { digest: seed, size: 8, role: "seed" as const },
    { digest: file, size: 16, role: "file" as const },
  ],
  seeds: [
    {
      sha256: seed.slice(7),
      size: 8,
      source: "seed.tar.gz",
      packed: { compression: "gzip" as const, blobs: [{ digest: inner, size: 32 }] },
    },
    { sha256: file.slice(7), size: 3, source: "unpacked.tar" },
  ],
  repositories: {
    "team/app": { tags: { "1": manifest, "2": manifest }, revisions: [manifest], layers: [config, inner] },
    other: { tags: {}, revisions: [], layers: [inner] },
  },
};

test("stored is what a repository needs, whatever its role, and what packed seeds hold", () => {
  assert.deepEqual(
    storedBlobs(index),
    new Map([
      [manifest, 2],
      [config, 4],
      [inner, 32],
    ]),
  );
});

test("each layer, revision and tag has its link; a tag that moves is the last thing", () => {
  const links = [...contentLinks(index)].map(({ path, digest }) => `${path} ${digest}`);
  const at = "docker/registry/v2/repositories";
  const hex = (digest: Digest) => digest.slice(7);
  assert.deepEqual(links, [
    `${at}/team/app/_layers/sha256/${hex(config)}/link ${config}`,
    `${at}/team/app/_layers/sha256/${hex(inner)}/link ${inner}`,
    `${at}/team/app/_manifests/revisions/sha256/${hex(manifest)}/link ${manifest}`,
    `${at}/team/app/_manifests/tags/1/index/sha256/${hex(manifest)}/link ${manifest}`,
    `${at}/team/app/_manifests/tags/2/index/sha256/${hex(manifest)}/link ${manifest}`,
    `${at}/other/_layers/sha256/${hex(inner)}/link ${inner}`,
  ]);
  assert.deepEqual(
    [...tagLinks(index)].map(({ path, repository, tag }) => [path, repository, tag]),
    ["1", "2"].map((tag) => [`${at}/team/app/_manifests/tags/${tag}/current/link`, "team/app", tag]),
  );
});

test("the totals count blobs and bytes once, and every file and folder", () => {
  assert.equal(countInodes(["a/b/c", "a/b/d", "e"]), 5);
  const { blobs, bytes, inodes } = totalsOf(index);
  assert.deepEqual([blobs, bytes], [3, 38]);
  // docker/registry/v2, blobs/sha256 and three times XX/hex/data; the rest are links and their folders.
  const empty = totalsOf({ ...index, repositories: {} });
  assert.deepEqual(empty, { blobs: 1, bytes: 32, inodes: 3 + 2 + 3 });
  assert.ok(inodes > empty.inodes + 2 * 3);
});

test("an error's text names who needs a blob", () => {
  assert.equal(usersOf(index, manifest), "team/app");
  assert.equal(usersOf(index, inner), "team/app and 1 more");
  assert.equal(usersOf(index, file), "");
});
