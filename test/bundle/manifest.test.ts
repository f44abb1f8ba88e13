import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type Manifest, readManifest } from "../../src/bundle/manifest.ts";
import { DrydockError } from "../../src/errors.ts";

const examples = join(import.meta.dirname, "../../manifests");
const folder = await mkdtemp(join(tmpdir(), "drydock-manifest-"));
after(() => rm(folder, { recursive: true }));

type Files = Record<string, string | Buffer>;

/** Writes files of these names and contents into a folder of their own. @returns the folder */
async function folderWith(files: Files): Promise<string> {
  const own = await mkdtemp(join(folder, "m-"));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(own, name)), { recursive: true });
    await writeFile(join(own, name), text);
  }
  return own;
}

async function read(text: string, files: Files = {}): Promise<Manifest> {
  return readManifest(join(await folderWith({ ...files, "m.yaml": text }), "m.yaml"));
}

/** The problems of a manifest, without the folder: "3: images[0]: …". */
async function problems(text: string, files: Files = {}): Promise<string[]> {
  const own = await folderWith({ ...files, "m.yaml": text });
  const error = await readManifest(join(own, "m.yaml")).then(
    () => assert.fail("the manifest was accepted"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof DrydockError && error.kind === "input", String(error));
  return error.message.split("\n").map((line) => {
    assert.ok(line.startsWith(`${own}/m.yaml:`), line);
    return line.slice(`${own}/m.yaml:`.length);
  });
}

/** What the examples point to that is the user's own. */
const usersFiles: Record<string, Files> = {
  "complete.yaml": {
    "extra-seed.tar.gz": "",
    "charts/app-1.tgz": "",
    "compose.yaml": "services: {web: {image: nginx:1.27}}\n",
    "debs/docker.io_1_amd64.deb": "!<arch>\n",
    "rpms/docker-ce-1.x86_64.rpm": Buffer.from("edabeedb", "hex"),
    "docker-28.5.1.tgz": gzipSync("a tarball"),
    "k8s/web.yaml": "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: web, image: nginx:1.27}]}\n",
  },
};

for (const name of (await readdir(examples)).filter((file) => file.endsWith(".yaml"))) {
  test(`the example ${name} is right, and names its schema`, async () => {
    const text = await readFile(join(examples, name), "utf8");
    assert.match(text, /^# yaml-language-server: \$schema=drydock\.schema\.json\n/);
    const own = await mkdtemp(join(folder, "example-"));
    await cp(examples, own, { recursive: true });
    const missing = Object.entries(usersFiles[name] ?? {});
    if (missing.length > 0) {
      const found = (await problems(text, { "ca.json": await readFile(join(examples, "ca.json"), "utf8") }))
        .length;
      assert.equal(found, missing.length, "without the user's files, these are all that is wrong");
    }
    for (const [file, content] of missing) {
      await mkdir(dirname(join(own, file)), { recursive: true });
      await writeFile(join(own, file), content);
    }
    await readManifest(join(own, name));
  });
}

test("complete.yaml has every key of the schema", async () => {
  const text = await readFile(join(examples, "complete.yaml"), "utf8");
  const schema = JSON.parse(await readFile(join(examples, "drydock.schema.json"), "utf8"));
  const { registry, certificates, seed, image, packages } = schema.definitions;
  const match = packages.properties.match;
  for (const part of [schema, registry, certificates, seed, image, packages, match]) {
    for (const [key, value] of Object.entries(part.properties)) {
      assert.match(text, new RegExp(`\\b${key}: ?`), key);
      const { description, $ref } = value as Record<string, unknown>;
      assert.ok(description ?? $ref, `${key} has a description for editors`);
    }
  }
});

test("what is left out has its default", async () => {
  const { file, ...manifest } = await read("name: a\naddresses: [Registry.Example.com]\n");
  assert.match(file, /m\.yaml$/);
  assert.deepEqual(manifest, {
    name: "a",
    release: 1,
    addresses: ["registry.example.com"],
    platforms: ["linux/amd64"],
    mirrors: {},
    registry: {
      image: { registry: "docker.io", repository: "library/registry", tag: "2" },
      port: 443,
      access: "read-only",
    },
    certificates: { from: "bundle" },
    seeds: [],
    images: [],
    files: [],
    packages: [],
  });
});

const top = "name: a\naddresses: [a.lan]\n";
const sha = "ab".repeat(32);
const deb = "!<arch>\ndebian-binary";

test("images: reference, platforms, name at the site, local engine", async () => {
  const { images } = await read(`${top}platforms: [linux/arm64]
images:
  - alpine
  - {reference: "quay.io/x/y:1", platforms: all, referrers: true, as: team/y}
  - {reference: "quay.io/x/y:2", platforms: [linux/amd64], as: "team/z:9"}
  - docker-daemon:my/app:dev
  - alpine@sha256:${sha}
`);
  const short = images.map(({ source, from, platforms, site }) => [source, from, platforms, site]);
  assert.deepEqual(short, [
    ["alpine", "registry", ["linux/arm64"], { repository: "library/alpine", tag: "latest" }],
    ["quay.io/x/y:1", "registry", "all", { repository: "team/y", tag: "1" }],
    ["quay.io/x/y:2", "registry", ["linux/amd64"], { repository: "team/z", tag: "9" }],
    ["docker-daemon:my/app:dev", "engine", ["linux/arm64"], { repository: "my/app", tag: "dev" }],
    [`alpine@sha256:${sha}`, "registry", ["linux/arm64"], { repository: "library/alpine" }],
  ]);
});

test("mirrors and referrers, for all images and for one", async () => {
  const { mirrors, images } = await read(`${top}mirrors: {docker.io: [m.lan:5000, n.lan]}
referrers: true
images: [alpine, {reference: busybox, referrers: false}]
`);
  assert.deepEqual(mirrors, { "docker.io": ["m.lan:5000", "n.lan"] });
  assert.deepEqual(
    images.map(({ referrers }) => referrers),
    [true, false],
  );
  assert.deepEqual(await problems(`${top}mirrors: {"https://x": [a.lan]}\n`), [
    '3: mirrors.https://x: "https://x" is not HOST or HOST:PORT',
  ]);
  assert.deepEqual(await problems(`${top}mirrors: {docker.io: ["a.lan/proxy"]}\n`), [
    '3: mirrors.docker.io: "a.lan/proxy" is not HOST or HOST:PORT',
  ]);
});

test("paths are relative to the manifest", async () => {
  const own = await folderWith({
    "seed.tar": "",
    "charts/b.tgz": "",
    "charts/a.tgz": "",
    "charts/sub/c.tgz": "",
  });
  await writeFile(
    join(own, "m.yaml"),
    `${top}seeds: [{file: seed.tar, keep: packed}, {url: "https://x/y", sha256: ${sha}}]
files: ["charts/*.tgz", "charts/**", seed.tar]\n`,
  );
  const { seeds, files } = await readManifest(join(own, "m.yaml"));
  assert.deepEqual(seeds, [
    { file: join(own, "seed.tar"), keep: "packed" },
    { url: "https://x/y", sha256: sha },
  ]);
  const names = ["charts/a.tgz", "charts/b.tgz", "charts/sub/c.tgz", "seed.tar"];
  assert.deepEqual(
    files,
    names.map((name) => ({ name, path: join(own, name) })),
  );
});

test("packages: each set with its hosts, and what its patterns match", async () => {
  const own = await folderWith({
    "debs/b_1.deb": deb,
    "debs/more/a_1%3a2.deb": deb,
    "docker-28.5.1.tgz": gzipSync("a tarball"),
  });
  await writeFile(
    join(own, "m.yaml"),
    `${top}packages:
  - match: {id: debian, version: "12", architecture: amd64}
    files: ["debs/**/*.deb", debs/b_1.deb]
  - match: {architecture: arm64}
    files: [docker-*.tgz]\n`,
  );
  const { packages } = await readManifest(join(own, "m.yaml"));
  assert.deepEqual(packages, [
    {
      match: { id: "debian", version: "12", architecture: "amd64" },
      files: [
        { name: "a_1%3a2.deb", path: join(own, "debs/more/a_1%3a2.deb") },
        { name: "b_1.deb", path: join(own, "debs/b_1.deb") },
      ],
    },
    {
      match: { architecture: "arm64" },
      files: [{ name: "docker-28.5.1.tgz", path: join(own, "docker-28.5.1.tgz") }],
    },
  ]);
});

const debian = 'packages:\n  - match: {id: debian, version: "12", architecture: amd64}\n    files: ';
const wrongPackages: Record<string, [string, Files, ...string[]]> = {
  "match nothing": [
    `${debian}[debs/*.deb]`,
    {},
    '5: packages[0].files: "debs/*.deb" matches no file beside the manifest',
  ],
  "lie elsewhere": [
    `${debian}[../*.deb]`,
    {},
    '5: packages[0].files: "../*.deb" leads out of the manifest\'s folder. Put the files below it, or the manifest above them.',
  ],
  "are of two kinds": [
    `${debian}[d/*]`,
    { "d/a.deb": deb, "d/b.rpm": "x", "d/c": "", "d/e": "" },
    "5: packages[0].files: wanted .deb or .rpm packages, or one docker-VERSION.tgz, got a.deb, b.rpm, c, …",
  ],
  "are pages that say no": [
    `${debian}[a.deb]`,
    { "a.deb": "<html>not found" },
    '5: packages[0].files: "a.deb" is not what its name says. Was it downloaded whole?',
  ],
  "have one name": [
    `${debian}["*/a.deb"]`,
    { "d/a.deb": deb, "e/a.deb": deb },
    '5: packages[0].files: two packages have the name "a.deb"',
  ],
  "have names that are no package's": [
    `${debian}["*.deb"]`,
    { "-a b.deb": deb },
    '5: packages[0].files: package "-a b.deb": such a name cannot be carried',
  ],
  "name no distribution": [
    "packages: [{match: {architecture: amd64}, files: [a.deb]}]",
    { "a.deb": deb },
    "3: packages[0].match: .deb packages are for one distribution. Name it with `id`, as its /etc/os-release has it.",
  ],
  "have a version of nothing": [
    'packages: [{match: {version: "12", architecture: amd64}, files: [a.deb]}]',
    { "a.deb": deb },
    "3: packages[0].match: `version` says nothing without `id`",
  ],
  "have a version that is a number, and the kernel's name of a processor": [
    "packages: [{match: {id: debian, version: 12, architecture: x86_64}, files: [a.deb]}]",
    { "a.deb": deb },
    "3: packages[0].match.version: wanted text, got 12; put it in quotes",
    '3: packages[0].match.architecture: wanted amd64 or arm64 or arm or ppc64le or riscv64 or s390x, got "x86_64"',
  ],
  "are for the same hosts twice": [
    `${debian}[a.deb]\n${debian.slice("packages:\n".length)}[a.deb]`,
    { "a.deb": deb },
    "6: packages[1]: line 4 has packages for debian 12 amd64 too",
  ],
};

for (const [what, [text, files, ...expected]] of Object.entries(wrongPackages)) {
  test(`packages that ${what}`, async () => {
    assert.deepEqual((await problems(`${top}${text}\n`, files)).sort(), expected.sort());
  });
}

test("certificate requests are read from cfssl's files, or stand in the manifest", async () => {
  const { certificates } = await read(`${top}certificates: {from: site, ca: ca.json, server: {CN: x}}\n`, {
    "ca.json": '{"CN": "My CA", "ca": {"expiry": "43800h"}}',
  });
  assert.equal(certificates.from, "site");
  assert.deepEqual(
    [certificates.ca?.CN, certificates.ca?.ca, certificates.server?.CN],
    ["My CA", { expiry: "43800h" }, "x"],
  );
});

test("the environment is not expanded", async () => {
  assert.match((await problems(`${top}seeds: [{file: $HOME/x}]\n`)).join(), /no file "\$HOME\/x"/);
});

/** manifest → what is said of it, with lines */
const wrong: Record<string, [text: string, ...expected: string[]]> = {
  "is empty": ["", "1: wanted keys with values, got nothing"],
  "is a list": ["- a\n", "1: wanted keys with values, got a list"],
  "lacks what it must have": ["release: 1\n", "1: name: is missing", "1: addresses: is missing"],
  "has an unknown key": [`${top}adresses: [b]\n`, "3: adresses: unknown key; did you mean `addresses`?"],
  "has an unknown key far from all": [`${top}zebra: 1\n`, "3: zebra: unknown key"],
  "has an unknown key below": [
    `${top}registry:\n  acess: push\n`,
    "4: registry.acess: unknown key; did you mean `access`?",
  ],
  "has a key twice": [`${top}name: b\n`, "3: name: stands here a second time"],
  "has wrong types": [
    "name: 7\naddresses: a.lan\nrelease: 1.5\nimages:\n  - 3\n",
    "1: name: wanted text, got 7; put it in quotes",
    '2: addresses: wanted a list, got "a.lan"',
    "3: release: wanted a whole number, got 1.5",
    "5: images[0]: wanted text or keys with values, got 3; put it in quotes",
  ],
  "has a name with capitals": [
    "name: Plant 7\naddresses: [a.lan]\n",
    "1: name: \"Plant 7\" does not fit. The site's name, and the start of the bundle's file name: lower-case letters, digits, dashes.",
  ],
  "has no address": ["name: a\naddresses: []\n", "2: addresses: is empty"],
  "has impossible addresses": [
    "name: a\naddresses:\n  - a.lan\n  - 10.0.0.999\n  - A.lan\n",
    '4: addresses[1]: address "10.0.0.999": it is no possible IPv4 address',
    '5: addresses[2]: "A.lan" stands on line 3 too',
  ],
  "has a port out of range": [
    `${top}registry: {port: 65536}\n`,
    "3: registry.port: wanted a number from 1 to 65535, got 65536",
  ],
  "has another access": [
    `${top}registry: {access: write}\n`,
    '3: registry.access: wanted read-only or push, got "write"',
  ],
  "has release 0": [`${top}release: 0\n`, "3: release: wanted a number of at least 1, got 0"],
  "has two images of one name": [
    `${top}images:\n  - alpine:3.20\n  - docker.io/library/alpine:3.20\n`,
    "5: images[1]: docker.io/library/alpine:3.20 and alpine:3.20 (line 4) would both be library/alpine:3.20 at the site; give one another name with `as`, or leave it out",
  ],
  "has two images of one name by as": [
    `${top}images:\n  - quay.io/a/b:1\n  - reference: c/d:2\n    as: a/b:1\n`,
    "5: images[1]: c/d:2 and quay.io/a/b:1 (line 4) would both be a/b:1 at the site; give one another name with `as`, or leave it out",
  ],
  "has other platforms than all": [
    `${top}images: [{reference: a, platforms: al}]\n`,
    '3: images[0].platforms: wanted a list or `all`, got "al"',
  ],
  "has a seed without its sha256": [`${top}seeds:\n  - url: https://x/y\n`, "4: seeds[0].sha256: is missing"],
  "has a seed of nothing": [`${top}seeds: [{}]\n`, "3: seeds[0]: wanted `url` with `sha256`, or `file`"],
  "has a seed of both kinds": [
    `${top}seeds: [{url: "https://x/y", file: m.yaml, sha256: ${sha}}]\n`,
    "3: seeds[0].file: wanted either `url` or `file`, got both",
  ],
  "points at missing files": [
    `${top}certificates: {ca: ca.json}\nseeds:\n  - file: seed.tar\nfiles: ["*.tgz"]\n`,
    '3: certificates.ca: read "ca.json": there is no such file',
    '5: seeds[0].file: there is no file "seed.tar" beside the manifest',
    '6: files[0]: "*.tgz" matches no file beside the manifest',
  ],
  "multiplies itself": [
    `a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [${"*a, ".repeat(9)}]\nc: &c [${"*b, ".repeat(9)}]\nd: [${"*c, ".repeat(9)}]\n`,
    "1: not usable: Excessive alias count indicates a resource exhaustion attack",
  ],
};

for (const [what, [text, ...expected]] of Object.entries(wrong)) {
  test(`a manifest that ${what}`, async () => assert.deepEqual(await problems(text), expected));
}

test("a manifest that is not YAML: the line where it breaks", async () => {
  const [first] = await problems("name: a\naddresses: [a.lan\nimages:\n  - b\n");
  assert.match(first ?? "", /^[34]: not YAML: /);
  assert.match((await problems('name: "a\n')).join(), /^\d: not YAML: /);
});

test("a manifest of two documents: where the second one begins", async () => {
  const text = "name: a\naddresses: [a.lan]\nimages: [b]\n---\nname: c\n";
  assert.deepEqual(await problems(text), ["4: a second document begins here, wanted one"]);
});

test("a certificate request with a mistake names the manifest's line", async () => {
  const [first] = await problems(`${top}certificates:\n  ca: ca.json\n`, { "ca.json": '{"CM": "x"}' });
  assert.match(first ?? "", /^4: certificates\.ca: ca\.json: CM: unknown key/);
  const [second] = await problems(`${top}certificates:\n  ca: ca.json\n`, { "ca.json": "{" });
  assert.match(second ?? "", /^4: certificates\.ca: read "ca\.json": .*JSON/);
});

test("files cannot come from outside of the manifest's folder", async () => {
  for (const pattern of ["../*", "/etc/passwd", "{..,x}/*", "charts/../../*"]) {
    const [first] = await problems(`${top}files: ["${pattern}"]\n`, { "charts/a": "" });
    assert.match(first ?? "", /^3: files\[0\]: .* leads out of the manifest's folder/, pattern);
  }
});

test("a link to a folder is not carried as a file", async () => {
  const own = await folderWith({ "m.yaml": `${top}files: ["*"]\n`, real: "" });
  await symlink("/etc", join(own, "etc"));
  const { files } = await readManifest(join(own, "m.yaml"));
  assert.deepEqual(
    files.map(({ name }) => name),
    ["m.yaml", "real"],
  );
});

test("a manifest that is not there", async () => {
  const path = join(folder, "none.yaml");
  await assert.rejects(readManifest(path), {
    kind: "input",
    message: `read manifest ${JSON.stringify(path)}: there is no such file`,
  });
});
