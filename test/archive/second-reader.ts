/**
 * A second reader of bundles, written from FORMAT.md alone: it imports nothing of ours. Where it and our own
 * reader differ, one of them or FORMAT.md is wrong. It holds the whole archive in memory.
 */
import { createHash } from "node:crypto";

export interface SecondIndex {
  [key: string]: unknown;
  created: string;
  blobs: { digest: string; size: number; role: string }[];
  repositories: Record<string, { tags: Record<string, string>; revisions: string[]; layers: string[] }>;
  seeds: { sha256: string; packed?: { blobs: { digest: string; size: number }[] } }[];
  files: { name: string; digest: string }[];
  packages: { match: Record<string, string>; files: { name: string; digest: string }[] }[];
  registry: { images: Record<string, string> };
  certificates: { from: string; ca?: string; server?: string; key?: string; request?: unknown };
}

export interface SecondBundle {
  digest: string;
  signatures: string[];
  index: SecondIndex;
  /** digest → where its bytes begin */
  offsets: Map<string, number>;
  blobs: Map<string, Buffer>;
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function must(right: unknown, what: string): asserts right {
  if (!right) throw new Error(`not a bundle of version 1: ${what}`);
}

/** "An entry", "The header": the three forms of a number. */
function number(value: number, length: number): Buffer {
  const octal = value.toString(8);
  if (octal.length <= length - 2) return Buffer.from(`${octal.padStart(length - 2, "0")} \0`);
  if (octal.length === length - 1) return Buffer.from(`${octal}\0`);
  const hex = value.toString(16).padStart(2 * (length - 1), "0");
  return Buffer.concat([Buffer.from([0x80]), Buffer.from(hex, "hex")]);
}

function block(name: string, size: number, mtime: number, typeflag: string, mode: number): Buffer {
  const header = Buffer.alloc(512);
  const put = (at: number, bytes: Buffer) => bytes.copy(header, at);
  must(name.length <= 99, `the name ${name} is too long`);
  put(0, Buffer.from(name));
  put(100, number(mode, 8));
  put(108, number(0, 8));
  put(116, number(0, 8));
  put(124, number(size, 12));
  put(136, number(mtime, 12));
  put(148, Buffer.alloc(8, " "));
  put(156, Buffer.from(typeflag));
  put(257, Buffer.from("ustar\x0000"));
  put(329, number(0, 8));
  put(337, number(0, 8));
  put(
    148,
    number(
      header.reduce((sum, byte) => sum + byte, 0),
      8,
    ),
  );
  return header;
}

const large = 8_589_934_592;

export function secondHeader(name: string, size: number, mtime: number): Buffer {
  const header = block(name, size, mtime, "0", installer.test(name) ? 0o755 : 0o644);
  if (size < large) return header;
  const digits = ` size=${size}\n`;
  let length = digits.length + 1;
  while (`${length}${digits}`.length !== length) length++;
  const record = Buffer.alloc(512);
  record.write(`${length}${digits}`);
  return Buffer.concat([
    block(`PaxHeader/${name.replace(/^.*\//, "")}`, length, mtime, "x", 0o644),
    record,
    header,
  ]);
}

const signature = /^signatures\/[A-Za-z0-9_-]{1,64}\.sig$/;
const installer = /^drydock-[a-z0-9]+-[a-z0-9_]+$/;

/** @throws Error where a "must" of FORMAT.md is broken */
export function readSecond(archive: Buffer, expectedDigest?: string): SecondBundle {
  let at = 0;
  let mtime: number | undefined;
  const roundUp = (offset: number) => Math.ceil(offset / 512) * 512;
  const nameAt = () => archive.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
  const octalAt = (offset: number, length: number) => {
    const text = archive.toString("latin1", offset, offset + length).replace(/[ \0]*$/, "");
    must(/^[0-7]+$/.test(text), `no number at byte ${offset}`);
    return Number.parseInt(text, 8);
  };
  const bodyOf = (size: number) => {
    const body = archive.subarray(at, at + size);
    const padding = archive.subarray(at + size, roundUp(at + size));
    must(roundUp(at + size) <= archive.length, `it ends inside of what begins at byte ${at}`);
    must(
      padding.every((byte) => byte === 0),
      `padding at byte ${at + size}`,
    );
    at = roundUp(at + size);
    return body;
  };
  const topEntry = (name: string, limit: number) => {
    must(nameAt() === name, `at byte ${at} wanted ${name}, found ${JSON.stringify(nameAt())}`);
    const size = octalAt(at + 124, 12);
    mtime ??= octalAt(at + 136, 12);
    must(size <= limit, `${name} has ${size} bytes`);
    must(secondHeader(name, size, mtime).equals(archive.subarray(at, at + 512)), `the header of ${name}`);
    at += 512;
    return bodyOf(size);
  };

  // Steps 1 to 3
  const sums = topEntry("SHA256SUMS", 65_536);
  const digest = sha256(sums);
  must(expectedDigest === undefined || expectedDigest === digest, `its digest is ${digest}`);
  const listed = readSums(sums.toString("latin1"));
  // Step 4
  const signatures: string[] = [];
  while (signature.test(nameAt())) {
    must(!signatures.includes(nameAt()), "a signature that stands twice");
    signatures.push(nameAt());
    topEntry(nameAt(), 16_384);
  }
  // Step 5
  let indexText = "";
  for (const { name, hex } of listed) {
    const body = topEntry(name, 536_870_912);
    must(sha256(body) === hex, `the digest of ${name}`);
    if (name === "bundle.json") indexText = body.toString("utf8");
  }
  // Step 6
  const index = readIndex(indexText);
  must(Date.parse(index.created) === Number(mtime) * 1000, "the time in the headers");
  // Steps 7 to 9
  const offsets = new Map<string, number>();
  const blobs = new Map<string, Buffer>();
  for (const { digest: name, size } of index.blobs) {
    const header = secondHeader(`blobs/sha256/${name.slice(7)}`, size, mtime ?? 0);
    must(header.equals(archive.subarray(at, at + header.length)), `the header of ${name} at byte ${at}`);
    at += header.length;
    offsets.set(name, at);
    const body = bodyOf(size);
    must(`sha256:${sha256(body)}` === name, `the digest of ${name}`);
    blobs.set(name, body);
  }
  const rest = archive.subarray(at);
  must(rest.length === 1024 && rest.every((byte) => byte === 0), `the end at byte ${at}`);
  return { digest, signatures, index, offsets, blobs };
}

function readSums(text: string): { name: string; hex: string }[] {
  must(text.endsWith("\n"), "the end of SHA256SUMS");
  const listed = text
    .slice(0, -1)
    .split("\n")
    .map((line) => {
      const [, hex = "", name = ""] = /^([0-9a-f]{64}) {2}([A-Za-z0-9._-]+)$/.exec(line) ?? [];
      must(hex !== "", `the line ${JSON.stringify(line)} of SHA256SUMS`);
      return { hex, name };
    });
  const names = listed.map(({ name }) => name);
  must(new Set(names).size === names.length, "a name that stands twice in SHA256SUMS");
  must(names.length >= 4, "the names in SHA256SUMS");
  const wanted = ["bundle.json", "README.txt", ...names.slice(2, -2), "oci-layout", "index.json"];
  must(
    wanted.every((name, place) => name === names[place]),
    "the names in SHA256SUMS",
  );
  must(
    names.slice(2, -2).every((name) => installer.test(name)),
    "an installer's name",
  );
  return listed;
}

type Check = (value: unknown, where: string) => void;

const text =
  (pattern: RegExp = /^[\s\S]{0,4096}$/): Check =>
  (value, where) =>
    must(typeof value === "string" && pattern.test(value), where);
const whole =
  (least = 0, most = 2 ** 53 - 1): Check =>
  (value, where) =>
    must(typeof value === "number" && Number.isInteger(value) && value >= least && value <= most, where);
const oneOf =
  (...values: unknown[]): Check =>
  (value, where) =>
    must(values.includes(value), where);
const list =
  (item: Check): Check =>
  (value, where) => {
    must(Array.isArray(value), where);
    for (const [place, one] of value.entries()) item(one, `${where}[${place}]`);
  };
const map =
  (key: RegExp, item: Check): Check =>
  (value, where) => {
    must(typeof value === "object" && value !== null && !Array.isArray(value), where);
    for (const [name, one] of Object.entries(value)) {
      must(key.test(name), `${where}: ${JSON.stringify(name)}`);
      item(one, `${where}.${name}`);
    }
  };
/** Keys with a question mark at the end are optional. */
const object =
  (keys: Record<string, Check>): Check =>
  (value, where) => {
    must(typeof value === "object" && value !== null && !Array.isArray(value), where);
    const left = new Map(Object.entries(value));
    for (const [name, check] of Object.entries(keys)) {
      const key = name.replace("?", "");
      if (left.has(key)) check(left.get(key), `${where}.${key}`);
      else must(name.endsWith("?"), `${where}.${key} is missing`);
      left.delete(key);
    }
    must(left.size === 0, `${where}: unknown ${[...left.keys()]}`);
  };

const digest = text(/^sha256:[0-9a-f]{64}$/);
const component = "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*";
const repository = new RegExp(`^(?=.{1,255}$)${component}(/${component})*$`);
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const fileName = /^(?!\/)(?!([\s\S]*\/)?\.\.?(\/|$))[^\u0000-\u001f\u007f\\]{1,1024}$/;

const repositories = map(
  repository,
  object({
    tags: map(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/, digest),
    revisions: list(digest),
    layers: list(digest),
  }),
);
const leftOut = list(object({ what: text(), why: text() }));

const indexShape = object({
  formatVersion: oneOf(1),
  name: text(/^[a-z0-9][a-z0-9-]{0,62}$/),
  release: whole(1),
  created: text(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
  addresses: list(text(/^[a-z0-9.:-]{1,253}$/)),
  registry: object({
    reference: text(),
    images: map(/^[a-z0-9]+\/[a-z0-9_]+(\/[a-z0-9]+)?$/, digest),
    port: whole(1, 65535),
    access: oneOf("read-only", "push"),
  }),
  totals: object({ blobs: whole(), bytes: whole(), inodes: whole() }),
  certificates: object({
    from: oneOf("bundle", "site"),
    "ca?": digest,
    "server?": digest,
    "key?": digest,
    "keyEncrypted?": oneOf(true, false),
    "request?": object({ ca: map(/^/, () => {}), server: map(/^/, () => {}) }),
  }),
  blobs: list(
    object({
      digest,
      size: whole(),
      role: oneOf("certificate", "key", "registry", "image", "seed", "file", "package"),
    }),
  ),
  repositories,
  images: list(
    object({ source: text(), repository: text(), "tag?": text(), digest, platforms: list(text()) }),
  ),
  seeds: list(
    object({
      sha256: text(/^[0-9a-f]{64}$/),
      size: whole(),
      source: text(),
      repositories,
      leftOut,
      "incomplete?": oneOf(true),
      "packed?": object({
        compression: oneOf("none", "gzip", "zstd"),
        blobs: list(object({ digest, size: whole() })),
      }),
    }),
  ),
  files: list(object({ name: text(fileName), digest })),
  packages: list(
    object({
      match: object({
        "id?": text(/^[a-z0-9][a-z0-9._-]{0,63}$/),
        "version?": text(/^[a-z0-9][a-z0-9._-]{0,63}$/),
        architecture: oneOf("amd64", "arm64", "arm", "ppc64le", "riscv64", "s390x"),
      }),
      files: list(object({ name: text(/^[A-Za-z0-9][A-Za-z0-9._+~^:%-]{0,254}$/), digest })),
    }),
  ),
  leftOut,
});

function readIndex(json: string): SecondIndex {
  const value: SecondIndex = JSON.parse(json);
  indexShape(value, "bundle.json");
  const { registry, certificates, blobs, repositories, seeds, files, packages, addresses } = value;
  must(Array.isArray(addresses) && addresses.length > 0, "addresses");
  const carried = new Set(blobs.map((blob) => blob.digest));
  must(carried.size === blobs.length, "a digest that stands twice among the blobs");
  const { from, ca, server, key, request } = certificates;
  must(from === "bundle" ? ca && server && key : request, "certificates");
  const isFirst = blobs.map(({ role }) => role === "certificate" || role === "key");
  must(!isFirst.some((first, place) => first && isFirst[place - 1] === false), "certificates are not first");
  must(
    blobs.every(({ size }, place) => !isFirst[place] || size <= 65_536),
    "a certificate's size",
  );
  const packed = seeds.flatMap((seed) => seed.packed?.blobs ?? []);
  const named = [ca, server, key, ...Object.values(registry.images), ...files.map((file) => file.digest)];
  for (const set of packages) {
    named.push(...set.files.map((one) => one.digest));
    const names = set.files.map(({ name }) => name);
    must(new Set(names).size === names.length, "a package's name that stands twice");
    const isSet = [".deb", ".rpm"].some((end) => names.every((name) => name.endsWith(end)));
    const isTarball = names.length === 1 && /^docker-[0-9][^/]*\.tgz$/.test(names.join());
    must(names.length > 0 && (isSet || isTarball), "packages that are no set");
  }
  for (const seed of seeds) if (seed.packed) named.push(`sha256:${seed.sha256}`);
  for (const name of named) must(name === undefined || carried.has(name), `${name} is not carried`);
  must(new Set(files.map(({ name }) => name)).size === files.length, "a file's name that stands twice");
  const known = new Set([...carried, ...packed.map((blob) => blob.digest)]);
  for (const [name, { tags, revisions, layers }] of Object.entries(repositories)) {
    for (const one of [...revisions, ...layers]) must(known.has(one), `${one} of ${name} is not carried`);
    for (const one of Object.values(tags)) must(revisions.includes(one), `a tag of ${name}`);
  }
  return value;
}

/** "What goes where at a site": path below the storage → content, or the digest of the blob that it holds. */
export function secondStorage(index: SecondIndex): {
  blobs: Map<string, number>;
  links: Map<string, string>;
} {
  const blobs = new Map<string, number>();
  const links = new Map<string, string>();
  const root = "docker/registry/v2";
  const hex = (name: string) => name.slice(7);
  const put = ({ digest: name, size }: { digest: string; size: number }) =>
    blobs.set(`${root}/blobs/sha256/${hex(name).slice(0, 2)}/${hex(name)}/data`, size);
  const repositories = Object.entries(index.repositories);
  const used = new Set(repositories.flatMap(([, { revisions, layers }]) => [...revisions, ...layers]));
  for (const blob of index.blobs) if (used.has(blob.digest)) put(blob);
  for (const seed of index.seeds) for (const blob of seed.packed?.blobs ?? []) put(blob);
  for (const [name, { tags, revisions, layers }] of repositories) {
    const base = `${root}/repositories/${name}`;
    for (const one of layers) links.set(`${base}/_layers/sha256/${hex(one)}/link`, one);
    for (const one of revisions) links.set(`${base}/_manifests/revisions/sha256/${hex(one)}/link`, one);
    for (const [tag, one] of Object.entries(tags)) {
      links.set(`${base}/_manifests/tags/${tag}/index/sha256/${hex(one)}/link`, one);
      links.set(`${base}/_manifests/tags/${tag}/current/link`, one);
    }
  }
  return { blobs, links };
}

export function secondTotals(index: SecondIndex): { blobs: number; bytes: number; inodes: number } {
  const { blobs, links } = secondStorage(index);
  const paths = [...blobs.keys(), ...links.keys()];
  const all = new Set<string>();
  for (const path of paths) {
    const parts = path.split("/");
    for (let length = 1; length <= parts.length; length++) all.add(parts.slice(0, length).join("/"));
  }
  const bytes = [...blobs.values()].reduce((sum, size) => sum + size, 0);
  return { blobs: blobs.size, bytes, inodes: all.size };
}
