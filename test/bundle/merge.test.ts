/** What several sources add, brought together; and what two of them must not both add. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BlobRole } from "../../src/archive/bundle-index.ts";
import { storedBlobs } from "../../src/archive/contents.ts";
import type { Content } from "../../src/bundle/content.ts";
import { mergeContents } from "../../src/bundle/merge.ts";
import { DrydockError } from "../../src/errors.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";

const [one, two, three, four] = ["1", "2", "3", "4"].map(digestOf) as [Digest, Digest, Digest, Digest];

function content(name: string, blobs: [Digest, number, BlobRole][], more: Partial<Content> = {}): Content {
  return {
    name,
    blobs: blobs.map(([digest, size, role]) => ({ digest, size, role })),
    repositories: {},
    fill: async () => {},
    ...more,
  };
}

/** An image of one manifest and one layer. */
function image(name: string, repository: string, tags: Record<string, Digest>, revisions: Digest[]): Content {
  const blobs = [...revisions, three].map((digest) => [digest, 10, "image"] as [Digest, number, BlobRole]);
  return content(name, blobs, { repositories: { [repository]: { tags, revisions, layers: [three] } } });
}

function collision(contents: Content[]): DrydockError {
  try {
    mergeContents(contents);
  } catch (error) {
    assert.ok(error instanceof DrydockError, String(error));
    return error;
  }
  throw new Error("nothing was thrown");
}

test("each blob stands once, where it came first", () => {
  const { blobs } = mergeContents([
    content("a", [
      [two, 2, "image"],
      [one, 1, "image"],
    ]),
    content("b", [
      [three, 3, "file"],
      [two, 2, "seed"],
      [four, 4, "image"],
    ]),
  ]);
  assert.deepEqual(blobs, [
    { digest: two, size: 2, role: "image" },
    { digest: one, size: 1, role: "image" },
    { digest: three, size: 3, role: "file" },
    { digest: four, size: 4, role: "image" },
  ]);
});

test("merging changes none of the contents", () => {
  const a = image("a", "app", { "1": one }, [one]);
  const b = image("b", "app", { "2": two }, [two]);
  const before = structuredClone([a, b].map(({ fill: _, ...rest }) => rest));
  const merged = mergeContents([a, b]);
  for (const blob of merged.blobs) blob.size = -1;
  assert.deepEqual(
    [a, b].map(({ fill: _, ...rest }) => rest),
    before,
  );
});

test("a blob of the registry's image stays one, and is stored for the repository that needs it, too", () => {
  const merged = mergeContents([
    content("registry:2", [
      [one, 10, "registry"],
      [three, 10, "registry"],
      [four, 7, "registry"],
    ]),
    image("registry:2 as an image", "library/registry", { "2": one }, [one]),
  ]);
  assert.deepEqual(
    merged.blobs.map(({ digest, role }) => [digest, role]),
    [
      [one, "registry"],
      [three, "registry"],
      [four, "registry"],
    ],
  );
  assert.deepEqual([...storedBlobs(merged)].sort(), [[one, 10] as const, [three, 10] as const].sort());
});

test("a blob with two sizes is an integrity error naming the source and both", () => {
  const error = collision([content("a", [[one, 5, "image"]]), content("b", [[one, 6, "image"]])]);
  assert.equal(error.kind, "integrity");
  assert.match(error.message, new RegExp(`b: blob ${one} has 6 bytes here and 5 elsewhere`));
});

test("one tag for two digests is an error naming both sources and the tag", () => {
  const error = collision([
    image("quay.io/team/app:1", "team/app", { "1": one }, [one]),
    image("ghcr.io/team/app:1", "team/app", { "1": two }, [two]),
  ]);
  assert.equal(error.kind, "input");
  assert.match(error.message, /"quay.io\/team\/app:1" and "ghcr.io\/team\/app:1".*"team\/app:1"/);
  assert.ok(error.hint);
});

test("one tag for one digest, from two sources, is no error; nor are two tags", () => {
  const merged = mergeContents([
    image("seed.tar", "team/app", { b: one }, [one]),
    image("image", "team/app", { b: one, a: two }, [two, one]),
  ]);
  assert.deepEqual(merged.repositories, {
    "team/app": { tags: { a: two, b: one }, revisions: [one, two].sort(), layers: [three] },
  });
  assert.deepEqual(Object.keys(merged.repositories["team/app"]?.tags ?? {}), ["a", "b"]);
});

test("tags and repositories with the names of an object's own members are like any other", () => {
  const [tag, repository] = ["__proto__", "constructor"];
  const merged = mergeContents([
    image("a", repository, { [tag]: one, toString: one }, [one]),
    image("b", repository, { [tag]: one }, [one]),
  ]);
  const text = JSON.parse(JSON.stringify(merged.repositories));
  assert.deepEqual(Object.keys(text), ["constructor"]);
  assert.deepEqual(Object.keys(text.constructor.tags), ["__proto__", "toString"]);
  const error = collision([
    image("a", repository, { [tag]: one }, [one]),
    image("b", repository, { [tag]: two }, [two]),
  ]);
  assert.match(error.message, /constructor:__proto__/);
});

test("repositories, tags, revisions and layers are sorted, whatever the sources' order", () => {
  const a = image("a", "zoo", { "2": two, "1": one }, [two, one]);
  const b = image("b", "ape", { x: four }, [four]);
  const forwards = JSON.stringify(mergeContents([a, b]).repositories);
  assert.equal(JSON.stringify(mergeContents([b, a]).repositories), forwards);
  assert.deepEqual(Object.keys(mergeContents([a, b]).repositories), ["ape", "zoo"]);
  assert.deepEqual(mergeContents([a]).repositories.zoo?.revisions, [one, two].sort());
});

test("seeds, files, images and what is left out are all there, in order; a name stands once", () => {
  const seed = { sha256: one.slice(7), size: 1, source: "a.tar", repositories: {}, leftOut: [] };
  const name = { mediaType: "application/x", digest: one, size: 1, name: "app:1" };
  const merged = mergeContents([
    content("a", [], { seed, names: [name], leftOut: [{ what: "x", why: "y" }] }),
    content("b", [], { files: [{ name: "f", digest: two }], names: [name, { ...name, name: "app:2" }] }),
  ]);
  assert.deepEqual(merged.seeds, [seed]);
  assert.deepEqual(merged.files, [{ name: "f", digest: two }]);
  assert.deepEqual(merged.leftOut, [{ what: "x", why: "y" }]);
  assert.deepEqual(
    merged.names.map((each) => each.name),
    ["app:1", "app:2"],
  );
});
