/**
 * Reads bundle.json: JSON Schema for its shape, and by hand what a schema cannot say. Nothing that this
 * version does not know is let through: names become paths at the site, digests become what is trusted.
 */
import { Ajv, type ValidateFunction } from "ajv";
import { DrydockError, errorText } from "../errors.ts";
import type { Digest } from "../oci/digest.ts";
import { isRepositoryName, isTag } from "../oci/reference.ts";
import type { BundleIndex } from "./bundle-index.ts";
import { storedBlobs } from "./contents.ts";
import { architectures, describeMatch, packageKind, packageName, releaseWord } from "./packages.ts";

const digest = { type: "string", pattern: "^sha256:[0-9a-f]{64}$" };
const size = { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER };
const text = { type: "string", maxLength: 4096 };
const platformPattern = "^[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?$";

const object = (properties: Record<string, unknown>, optional: string[] = []) => ({
  type: "object",
  properties,
  required: Object.keys(properties).filter((key) => !optional.includes(key)),
  additionalProperties: false,
});
const list = (items: unknown) => ({ type: "array", items });
const map = (pattern: string, value: unknown) => ({
  type: "object",
  patternProperties: { [pattern]: value },
  additionalProperties: false,
});

const repositories = map(
  "",
  object({ tags: map("", digest), revisions: list(digest), layers: list(digest) }),
);
const leftOut = list(object({ what: text, why: text }));

export const bundleIndexSchema = object({
  formatVersion: { const: 1 },
  name: { type: "string", pattern: "^[a-z0-9][a-z0-9-]{0,62}$" },
  release: { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
  created: { type: "string", pattern: "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}Z$" },
  addresses: { ...list({ type: "string", pattern: "^[a-z0-9.:-]{1,253}$" }), minItems: 1 },
  registry: object({
    reference: text,
    images: map(platformPattern, digest),
    port: { type: "integer", minimum: 1, maximum: 65535 },
    access: { enum: ["read-only", "push"] },
  }),
  totals: object({ blobs: size, bytes: size, inodes: size }),
  certificates: object(
    {
      from: { enum: ["bundle", "site"] },
      ca: digest,
      server: digest,
      key: digest,
      keyEncrypted: { type: "boolean" },
      request: object({ ca: { type: "object" }, server: { type: "object" } }),
    },
    ["ca", "server", "key", "keyEncrypted", "request"],
  ),
  seeds: list(
    object(
      {
        sha256: { type: "string", pattern: "^[0-9a-f]{64}$" },
        size,
        source: text,
        repositories,
        leftOut,
        incomplete: { const: true },
        packed: object({
          compression: { enum: ["none", "gzip", "zstd"] },
          blobs: list(object({ digest, size })),
        }),
      },
      ["incomplete", "packed"],
    ),
  ),
  files: list(object({ name: { type: "string", minLength: 1, maxLength: 1024 }, digest })),
  packages: list(
    object({
      match: object(
        {
          id: { type: "string", pattern: releaseWord },
          version: { type: "string", pattern: releaseWord },
          architecture: { enum: architectures },
        },
        ["id", "version"],
      ),
      files: list(object({ name: { type: "string", pattern: packageName }, digest })),
    }),
  ),
  blobs: list(
    object({
      digest,
      size,
      role: { enum: ["image", "registry", "seed", "certificate", "key", "file", "package"] },
    }),
  ),
  repositories,
  images: list(object({ source: text, repository: text, tag: text, digest, platforms: list(text) }, ["tag"])),
  leftOut,
});

/** Compiled when an index is first read: it takes some 30 ms. */
let compiled: ValidateFunction<BundleIndex> | undefined;

/**
 * @param bytes bundle.json, whose digest was checked
 * @throws DrydockError "integrity" if it is no bundle index, "input" if its format version is unknown.
 */
export function parseBundleIndex(bytes: Buffer): BundleIndex {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw new DrydockError("integrity", `read bundle.json: ${errorText(error)}`, { cause: error });
  }
  const version =
    typeof value === "object" && value !== null && "formatVersion" in value ? value.formatVersion : undefined;
  if (Number.isInteger(version) && version !== 1) {
    throw new DrydockError(
      "input",
      `read bundle.json: format version ${version} is unknown, this drydock reads version 1`,
      {
        hint: "Use the drydock that made the bundle, or a newer one.",
      },
    );
  }
  compiled ??= new Ajv({ allowUnionTypes: true }).compile<BundleIndex>(bundleIndexSchema);
  const validate = compiled;
  if (!validate(value)) {
    const first = validate.errors?.[0];
    throw new DrydockError(
      "integrity",
      `read bundle.json: ${first?.instancePath || "the index"} ${first?.message}`,
    );
  }
  checkReferences(value);
  return value;
}

/** Everything that the index refers to is among its blobs, and no blob stands twice. */
function checkReferences(index: BundleIndex): void {
  const fail = (what: string): never => {
    throw new DrydockError("integrity", `read bundle.json: ${what}`);
  };
  const carried = new Set(index.blobs.map((blob) => blob.digest));
  if (carried.size !== index.blobs.length) fail("a blob is listed twice");
  const stored = storedBlobs(index);
  const has = (digest: Digest | undefined, among: { has(digest: Digest): boolean }, what: string) => {
    if (digest !== undefined && !among.has(digest))
      fail(`${what} is ${digest}, which is not among the blobs`);
  };
  for (const [name, repository] of Object.entries(index.repositories)) {
    if (!isRepositoryName(name)) fail(`${JSON.stringify(name)} is not a repository name`);
    const revisions = new Set(repository.revisions);
    for (const [tag, digest] of Object.entries(repository.tags)) {
      if (!isTag(tag)) fail(`${JSON.stringify(tag)} is not a tag`);
      has(digest, revisions, `tag ${name}:${tag}`);
    }
    for (const digest of repository.revisions) has(digest, stored, `a revision of ${name}`);
    for (const digest of repository.layers) has(digest, stored, `a layer of ${name}`);
  }
  for (const digest of Object.values(index.registry.images)) has(digest, carried, "the registry image");
  const names = new Set(index.files.map(({ name }) => name));
  if (names.size !== index.files.length) fail("a file is listed twice");
  for (const { name, digest } of index.files) {
    if (!isFileName(name)) fail(`${JSON.stringify(name)} is no file's name`);
    has(digest, carried, `file ${JSON.stringify(name)}`);
  }
  for (const { match, files } of index.packages) {
    const what = `packages for ${describeMatch(match)}`;
    if (packageKind(files.map(({ name }) => name)) === undefined) fail(`${what}: they are no set`);
    if (new Set(files.map(({ name }) => name)).size !== files.length) fail(`${what}: one is listed twice`);
    for (const { name, digest } of files) has(digest, carried, `${what}: ${name}`);
  }
  for (const seed of index.seeds)
    if (seed.packed) has(`sha256:${seed.sha256}`, carried, `seed ${seed.source}`);
  const { from, ca, server, key, request } = index.certificates;
  for (const digest of [ca, server, key]) has(digest, carried, "a certificate or key");
  if (from === "bundle" && !(ca && server && key)) fail("certificates from the bundle are not all there");
  if (from === "site" && !request) fail("the certificate requests for the site are not there");
}

/** A relative path that stays where it is put. By hand: in a pattern, `.` and `$` stop at line ends. */
function isFileName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (name.startsWith("/") || /[\u0000-\u001f\u007f\\]/.test(name)) return false;
  return !name.split("/").some((part) => part === "" || part === "." || part === "..");
}
