/** bundle.json: what a reader lets through, and what it does not, key by key. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { BundleIndex } from "../../src/archive/bundle-index.ts";
import { parseBundleIndex } from "../../src/archive/schema.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { makeIndex } from "./bundles.ts";

const manifest = digestOf("{}");
const layer = digestOf("layer");
const absent = digestOf("absent");
const inner = digestOf("inner");
const seed = digestOf("seed");

/** One with everything in it. */
const full: BundleIndex = {
  ...makeIndex([Buffer.from("{}"), Buffer.from("layer"), Buffer.from("seed")]),
  certificates: { from: "bundle", ca: layer, server: layer, key: layer, keyEncrypted: true },
  seeds: [
    { sha256: absent.slice(7), size: 9, source: "unpacked.tar", repositories: {}, leftOut: [] },
    {
      sha256: seed.slice(7),
      repositories: {},
      leftOut: [],
      size: 4,
      source: "seed.tar.zst",
      packed: { compression: "zstd", blobs: [{ digest: inner, size: 5 }] },
    },
  ],
  files: [{ name: "charts/app 1.tgz", digest: layer }],
  packages: [
    {
      match: { id: "debian", version: "12", architecture: "amd64" },
      files: [{ name: "docker.io_20.10.24+dfsg1-1_amd64.deb", digest: layer }],
    },
    { match: { architecture: "arm64" }, files: [{ name: "docker-28.5.1.tgz", digest: layer }] },
  ],
  repositories: {
    "team/app": { tags: { "1.0_x-y": manifest }, revisions: [manifest], layers: [layer, inner] },
  },
  images: [{ source: "app", repository: "team/app", tag: "1", digest: manifest, platforms: ["linux/amd64"] }],
  leftOut: [{ what: "an upload", why: "it did not end" }],
};

const parse = (value: unknown) => parseBundleIndex(Buffer.from(JSON.stringify(value)));
const refused = (value: unknown, message: RegExp, name?: string) =>
  assert.throws(() => parse(value), { kind: "integrity", message }, name);

/** A copy with one place changed; undefined removes the key. */
function changed(path: (string | number)[], value: unknown): unknown {
  const copy: unknown = structuredClone(full);
  let at = copy as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
  const last = path.at(-1) ?? "";
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

test("a full one comes back as it is", () => {
  assert.deepEqual(parse(full), full);
});

test("what is no JSON, or no object, is refused", () => {
  assert.throws(() => parseBundleIndex(Buffer.from("{")), {
    kind: "integrity",
    message: /^read bundle\.json: /,
  });
  for (const value of [null, 1, "x", [], {}]) refused(value, /^read bundle\.json: /);
});

test("another format version is an input error that says what to use; nonsense in its place is damage", () => {
  for (const version of [0, 2, 99])
    assert.throws(() => parse({ formatVersion: version }), { kind: "input", hint: /Use the drydock that/ });
  for (const version of ["1", 1.5, null]) refused(changed(["formatVersion"], version), /formatVersion/);
});

test("every key but the optional ones must be there, and no other may", () => {
  for (const key of Object.keys(full))
    refused(changed([key], undefined), /must have required|the index/, key);
  const objects: (string | number)[][] = [
    [],
    ["registry"],
    ["totals"],
    ["certificates"],
    ["seeds", 1],
    ["seeds", 1, "packed"],
    ["files", 0],
    ["packages", 0],
    ["packages", 0, "match"],
    ["packages", 0, "files", 0],
    ["blobs", 0],
    ["repositories", "team/app"],
    ["images", 0],
    ["leftOut", 0],
  ];
  for (const path of objects)
    refused(changed([...path, "extra"], 1), /additional properties/, path.join("."));
});

test("values that are none are refused", () => {
  const cases: [(string | number)[], unknown][] = [
    [["name"], "Plant 7"],
    [["name"], "../x"],
    [["release"], 0],
    [["release"], 1.5],
    [["created"], "2026-01-02"],
    [["addresses"], []],
    [["addresses", 0], "a b"],
    [["addresses", 0], "x/../y"],
    [["registry", "port"], 0],
    [["registry", "port"], 65536],
    [["registry", "access"], "write"],
    [["registry", "images"], { "linux/amd64/../..": manifest }],
    [["totals", "bytes"], -1],
    [["certificates", "from"], "elsewhere"],
    [["seeds", 0, "sha256"], "sha256:00"],
    [["seeds", 1, "packed", "compression"], "xz"],
    [["packages", 0, "match", "architecture"], "x86_64"],
    [["packages", 0, "match", "architecture"], undefined],
    [["packages", 0, "match", "id"], "../x"],
    [["packages", 0, "match", "version"], "12\n"],
    [["packages", 0, "files", 0, "name"], "../x.deb"],
    [["packages", 0, "files", 0, "name"], "-x.deb"],
    [["packages", 0, "files", 0, "name"], "a b.deb"],
    [["blobs", 0, "size"], -1],
    [["blobs", 0, "size"], 2 ** 53],
    [["blobs", 0, "role"], "virus"],
    [["blobs", 0, "digest"], manifest.toUpperCase()],
    [["blobs", 0, "digest"], manifest.slice(7)],
  ];
  for (const [path, value] of cases)
    refused(changed(path, value), new RegExp(`/${path[0]}`), `${path.join(".")} = ${value}`);
});

test("a file's name never leads elsewhere", () => {
  const bad = ["/etc/passwd", "../x", "a/../x", "a/..", ".", "a/./b", "..", "a\\b", "a\0b", "", "a\n/../b"];
  for (const name of bad)
    refused(changed(["files", 0, "name"], name), /files\/0\/name|is no file's name/, name);
  for (const name of ["a", "a/b.tgz", "...", "a..b", ".hidden", "ä ö"])
    assert.doesNotThrow(() => parse(changed(["files", 0, "name"], name)), name);
});

test("packages are a set: of one kind, each name once", () => {
  const files = (...names: string[]) => names.map((name) => ({ name, digest: layer }));
  const change = (...names: string[]) => changed(["packages", 0, "files"], files(...names));
  for (const names of [[], ["a.deb", "b.rpm"], ["a.txt"], ["docker-1.tgz", "docker-2.tgz"], ["x-1.tgz"]])
    refused(change(...names), /packages for debian 12 amd64: they are no set/, names.join());
  refused(change("a.deb", "a.deb"), /packages for debian 12 amd64: one is listed twice/);
  for (const names of [["a.deb", "b.deb"], ["a.rpm", "b^1~2.rpm"], ["docker-28.5.1.tgz"]])
    assert.doesNotThrow(() => parse(change(...names)), names.join());
});

test("what the index refers to is among its blobs", () => {
  const cases: Record<string, [(string | number)[], unknown]> = {
    "tag team/app:1.0_x-y": [["repositories", "team/app", "tags", "1.0_x-y"], layer],
    "a revision of team/app": [
      ["repositories", "team/app", "revisions"],
      [manifest, absent],
    ],
    "a layer of team/app": [["repositories", "team/app", "layers"], [absent]],
    "the registry image": [["registry", "images"], { "linux/amd64": absent }],
    'file "charts/app 1.tgz"': [["files", 0, "digest"], absent],
    "packages for any Linux arm64: docker-28.5.1.tgz": [["packages", 1, "files", 0, "digest"], absent],
    "seed seed.tar.zst": [["seeds", 1, "sha256"], absent.slice(7)],
    "a certificate or key": [["certificates", "key"], absent],
  };
  for (const [what, [path, value]] of Object.entries(cases))
    refused(changed(path, value), new RegExp(`${what} is sha256:[0-9a-f]{64}, which is not among`), what);
  // What a packed seed holds may be a layer, but not a file: it has no entry of its own.
  refused(changed(["files", 0, "digest"], inner), /file "charts/);
});

test("names of repositories and tags are checked: they become paths", () => {
  const repository = full.repositories["team/app"];
  for (const name of ["../etc", "Team/App", "team//app", "team/app/", "_uploads", ""])
    refused(changed(["repositories"], { [name]: repository }), /is not a repository name/, name);
  for (const tag of ["a/b", "..", ".hidden", "-x", "", "x".repeat(129)]) {
    const tags: Record<string, Digest> = { [tag]: manifest };
    refused(changed(["repositories", "team/app", "tags"], tags), /is not a tag/, tag);
  }
});

test("a blob is listed once", () => {
  refused(changed(["blobs"], [...full.blobs, full.blobs[0]]), /a blob is listed twice/);
});

test("certificates are whole: all three, or the requests", () => {
  for (const key of ["ca", "server", "key"])
    refused(changed(["certificates", key], undefined), /certificates from the bundle are not all there/, key);
  refused(changed(["certificates"], { from: "site" }), /requests for the site are not there/);
  assert.doesNotThrow(() =>
    parse(changed(["certificates"], { from: "site", request: { ca: {}, server: {} } })),
  );
});
