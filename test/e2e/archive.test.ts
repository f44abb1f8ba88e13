/** The bundle as a file: what other tools make of it, what is not in it, and that the same gives the same. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { run } from "../lab/process.ts";
import { makeSeed } from "../lab/seed.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock } from "./drydock.ts";

describe("a bundle", () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let manifest: object;
  let bundle: BuiltBundle;

  before(async () => {
    const folder = await makeFolder("archive");
    parts.defer(folder.remove);
    connected = await startConnected(folder.path);
    parts.defer(connected.stop);
    const { host, closed } = connected.upstream;
    await makeSeed(join(folder.path, "seed.tar.gz"));
    await makeSeed(join(folder.path, "more.tar.zst"));
    await writeFile(join(folder.path, "notes.txt"), "notes\n");
    manifest = {
      ...{ name: "plant-9", addresses: ["registry.site.lan", "198.18.18.10"], files: ["notes.txt"] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      seeds: [
        { file: "seed.tar.gz", keep: "unpacked" },
        { file: "more.tar.zst", keep: "packed" },
      ],
      images: [
        { reference: `${host}/team/two-platforms:1`, platforms: "all" },
        `${host}/team/debian-root:12`,
        `${host}/team/artifact:1`,
        `${host}/library/busybox:1.36`,
        `${closed.host}/secret/app:1`,
      ],
    };
    bundle = await connected.bundle("first", manifest);
  });
  after(() => parts.disposeAsync());

  it("is checked with tar and sha256sum alone", async () => {
    const script = `set -e
      tar xOf "$1" SHA256SUMS | sha256sum
      cd "$2" && tar xf "$1" && sha256sum -c SHA256SUMS >&2
      for file in blobs/sha256/*; do echo "\${file##*/}  $file"; done | sha256sum -c --quiet >&2`;
    const folder = await mkdtemp(join(connected.folder, "unpacked-"));
    const { stdout } = await run("/bin/sh", ["-c", script, "sh", bundle.file, folder]);
    assert.equal(stdout, `${bundle.digest}  -\n`);
  });

  it("gives its images to skopeo, as they were upstream", async () => {
    const { images } = connected.upstream;
    for (const name of ["team/two-platforms:1", "team/debian-root:12", "team/artifact:1"] as const) {
      const folder = await mkdtemp(join(connected.folder, "copied-"));
      const args = ["copy", "--quiet", "--all", `oci-archive:${bundle.file}:${name}`, `dir:${folder}`];
      await run("skopeo", args);
      assert.equal(digestOf(await readFile(join(folder, "manifest.json"))), images[name].digest, name);
      for (const image of images[name].children ?? [images[name]]) {
        for (const { digest, bytes } of image.blobs)
          assert.ok((await readFile(join(folder, digest.slice("sha256:".length)))).equals(bytes), name);
      }
    }
  });

  it("holds no secret: not the CA's key, not the server's, not the code, no credentials", async () => {
    const bytes = await readFile(bundle.file);
    const { user, password } = connected.upstream.closed.account;
    const login = `${user}:${password}`;
    for (const secret of [bundle.paperCode, password, login, Buffer.from(login).toString("base64")])
      assert.ok(!bytes.includes(secret));
    for (const name of ["ca-key.pem", "registry-key.pem"])
      for (const piece of await piecesOf(join(connected.keyStore, "plant-9", name)))
        assert.ok(!bytes.includes(piece), name);
    assert.ok(!bytes.includes("BEGIN PRIVATE KEY") && !bytes.includes("BEGIN RSA PRIVATE KEY"));
    assert.ok(bytes.includes("BEGIN ENCRYPTED PRIVATE KEY"));
    const said = `${bundle.stdout}${bundle.stderr}`;
    assert.ok(!said.includes("PRIVATE KEY") && !said.includes(password));
  });

  /** A key as it could stand somewhere: its lines of base64, and stretches of the DER and of the numbers in it. */
  async function piecesOf(file: string): Promise<(Buffer | string)[]> {
    const pem = await readFile(file, "utf8");
    const lines = pem.split("\n").filter((line) => line.length > 40 && !line.startsWith("-"));
    const der = (await run("openssl", ["pkey", "-in", file, "-text", "-noout"])).stdout;
    const secret = der.slice(der.indexOf("privateExponent:"));
    const numbers = [...secret.matchAll(/(?:[0-9a-f]{2}:\s*){40,}/g)].map(([text]) =>
      Buffer.from(text.replace(/[^0-9a-f]/g, ""), "hex").subarray(1, 33),
    );
    assert.ok(lines.length > 10 && numbers.length >= 4, "a key of which something is looked for");
    return [...lines, ...numbers];
  }

  it("holds the server's key, which openssl opens with the code and nothing else", async () => {
    const inspected = await drydock(["inspect", bundle.file, "--json"]);
    const { key, server } = JSON.parse(inspected.stdout).bundle.certificates;
    const read = async (digest: string) =>
      (await run("tar", ["xOf", bundle.file, `blobs/sha256/${digest.slice("sha256:".length)}`])).stdout;
    const file = join(connected.folder, "key.pem");
    await writeFile(file, await read(key));
    const open = (source: string) =>
      run("openssl", ["pkey", "-in", file, "-passin", source, "-pubout"], { mayFail: true });
    const opened = await open(`file:${bundle.codeFile}`);
    const certificate = await run("openssl", ["x509", "-noout", "-pubkey"], { input: await read(server) });
    assert.equal(opened.stdout, certificate.stdout);
    assert.notEqual((await open("pass:0000-0000-0000-0000-0000")).code, 0);
  });

  it("keeps the keys on the connected side, closed to others", async () => {
    for (const [path, mode] of [
      ["", 0o700],
      ["plant-9", 0o700],
      ["plant-9/ca-key.pem", 0o600],
      ["plant-9/registry-key.pem", 0o600],
    ] as const)
      assert.equal((await stat(join(connected.keyStore, path))).mode & 0o777, mode, path);
  });

  it("is the same, byte for byte, when it is built again from the same", async () => {
    const options = { flags: ["--unencrypted-key"], env: { SOURCE_DATE_EPOCH: "1700000000" } };
    const [one, two] = [
      await connected.bundle("one", manifest, options),
      await connected.bundle("two", manifest, options),
    ];
    assert.equal(await sha256(one.file), await sha256(two.file));
    assert.equal(one.digest, two.digest);
    assert.equal(one.paperCode, "");
    const { stdout } = await run("tar", ["--full-time", "--utc", "-tvf", one.file, "SHA256SUMS"]);
    assert.match(stdout, /2023-11-14 22:13:20/);
    // A key is readable in these; it is not in the first one.
    assert.equal((await stat(one.file)).mode & 0o777, 0o600);
    assert.equal((await stat(bundle.file)).mode & 0o777, 0o644);
    assert.match(one.stdout, /THE SERVER'S KEY IS NOT ENCRYPTED/);
  });

  it("is left as it is by a second build, unless that is asked for", async () => {
    const before = await sha256(bundle.file);
    const refused = await connected.tryBundle("first", manifest);
    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /first\.tar": it exists\n.*--force/);
    assert.equal(await sha256(bundle.file), before);
    await connected.bundle("first", manifest, { flags: ["--force"] });
    assert.notEqual(await sha256(bundle.file), before);
  });
});

async function sha256(file: string): Promise<string> {
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
}
