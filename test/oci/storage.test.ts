import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DrydockError } from "../../src/errors.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import {
  blobPath,
  layerLinkPath,
  linkContent,
  parseStoragePath,
  revisionLinkPath,
  tagCurrentLinkPath,
  tagIndexLinkPath,
} from "../../src/oci/storage.ts";

const digest = digestOf("content");
const hex = hexOf(digest);

describe("the paths of the registry's storage", () => {
  test("a blob stands below the first two digits of its digest", () => {
    assert.equal(blobPath(digest), `docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`);
  });

  test("each path is read back as what it was made of", () => {
    const repository = "team/app";
    const pairs = [
      [blobPath(digest), { kind: "blob", digest }],
      [revisionLinkPath(repository, digest), { kind: "revision", repository, digest }],
      [layerLinkPath(repository, digest), { kind: "layer", repository, digest }],
      [tagCurrentLinkPath(repository, "1.0"), { kind: "tag-current", repository, tag: "1.0" }],
      [tagIndexLinkPath(repository, "1.0", digest), { kind: "tag-index", repository, tag: "1.0", digest }],
    ] as const;
    for (const [path, entry] of pairs) assert.deepEqual(parseStoragePath(path), entry);
  });

  test("a link holds the digest and nothing else", () => {
    assert.equal(linkContent(digest), `sha256:${hex}`);
  });

  test("what is no path of the tree is told apart", () => {
    const root = "docker/registry/v2";
    const kinds = {
      "some/where/else": undefined,
      [`${root}/repositories/a/_uploads/3fa7/data`]: "upload",
      [`${root}/blobs/sha256/00/${hex}/data`]: hex.startsWith("00") ? "blob" : "other",
      [`${root}/blobs/sha512/${hex.slice(0, 2)}/${hex}/data`]: "other",
      [`${root}/repositories/Team/_layers/sha256/${hex}/link`]: "other",
      [`${root}/repositories/a/_manifests/tags/.hidden/current/link`]: "other",
      [`${root}/repositories/a/_manifests/revisions/sha256/${hex}/signatures/sha256/${hex}/link`]: "other",
      [`${root}/repositories/a/_layers/sha256/${hex}`]: "other",
    };
    for (const [path, kind] of Object.entries(kinds)) assert.equal(parseStoragePath(path)?.kind, kind, path);
  });

  test("a name or digest that could lead elsewhere makes no path", () => {
    const refused = (work: () => string) => assert.throws(work, DrydockError);
    refused(() => revisionLinkPath("../etc", digest));
    refused(() => layerLinkPath("a//b", digest));
    refused(() => tagCurrentLinkPath("a", "../../x"));
    refused(() => blobPath("sha256:../../etc/passwd" as Digest));
    refused(() => linkContent("sha256:ABC" as Digest));
  });
});
