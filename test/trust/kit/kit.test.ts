/** A kit's archive, and what can be tried of its scripts without an engine: the Mac's in a shell, Windows' grammar. */
import assert from "node:assert/strict";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Language, Parser } from "web-tree-sitter";
import { silentReporter } from "../../../src/reporter.ts";
import { Contents } from "../../../src/trust/kit/contents.ts";
import { writeKit } from "../../../src/trust/kit/kit.ts";
import { type RunResult, run } from "../../lab/process.ts";
import { type Certificates, makeCertificates } from "../tls-server.ts";
import { unpackedKit } from "./unpacked.ts";

const addresses = ["registry.plant7.lan", "10.0.0.10", "fd00::1", "127.0.0.1"];
let folder: string;
let good: Certificates;
let other: Certificates;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-kit-"));
  await chmod(folder, 0o755);
  good = await makeCertificates(folder, "good", "DNS:registry.plant7.lan");
  other = await makeCertificates(folder, "other", "DNS:registry.plant7.lan");
});
after(() => rm(folder, { recursive: true }));

describe("a kit's archive", () => {
  it("is the same for the same input, whatever the time zone, and unzip finds nothing wrong with it", async () => {
    const paths = [join(folder, "one.zip"), join(folder, "two.zip")] as const;
    const trusted = { ca: good.ca, addresses, port: 443 };
    const zone = process.env.TZ;
    for (const [index, path] of paths.entries()) {
      process.env.TZ = ["Pacific/Auckland", "America/Lima"][index];
      await writeKit(path, trusted, { force: false }, silentReporter);
    }
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
    assert.deepEqual(await readFile(paths[0]), await readFile(paths[1]));
    await run("unzip", ["-t", paths[0]]);
    assert.equal((await stat(paths[0])).mode & 0o777, 0o644);
  });

  it("has the CA alone, whatever text stood around it, and the registry's names in every script", async () => {
    const ca = `Bag Attributes\n${good.ca.replaceAll("\n", "\r\n")}`;
    const at = await unpackedKit(join(folder, "contents"), { ca, addresses, port: 5000 });
    assert.ok(at.endsWith("/drydock-kit-registry.plant7.lan5000"));
    const names = ["README.txt", "ca.pem", "linux.sh", "macos.sh", "windows.ps1"];
    assert.deepEqual((await readdir(at)).sort(), names);
    assert.equal(await readFile(join(at, "ca.pem"), "utf8"), good.ca);
    for (const name of names) {
      const text = await readFile(join(at, name), "utf8");
      assert.doesNotMatch(text, /@[A-Z_]+@|undefined|\r/, name);
      for (const line of name === "README.txt" ? text.split("\n") : []) assert.ok(line.length < 80, line);
      if (name === "ca.pem") continue;
      const windows = name === "windows.ps1";
      const wanted = windows ? "registry.plant7.lan5000" : "registry.plant7.lan:5000";
      assert.ok(text.includes(wanted), name);
      assert.ok(text.includes(windows ? "[fd001]5000" : "[fd00::1]:5000"), name);
      assert.ok(!text.includes("127.0.0.1"), name);
    }
  });

  it("replaces nothing unasked, and holds nothing but authorities", async () => {
    const path = join(folder, "there.zip");
    const trusted = { ca: good.ca, addresses, port: 443 };
    await writeFile(path, "mine");
    const usage = { kind: "usage", message: `write kit "${path}": it exists`, hint: /--force/ };
    await assert.rejects(writeKit(path, trusted, { force: false }, silentReporter), usage);
    assert.equal(await readFile(path, "utf8"), "mine");
    await writeKit(path, trusted, { force: true }, silentReporter);
    await run("unzip", ["-t", path]);
    const isFolder = { kind: "usage", message: /no regular file/ };
    await assert.rejects(writeKit(folder, trusted, { force: true }, silentReporter), isFolder);
    const leaf = { ...trusted, ca: good.certificate };
    await assert.rejects(writeKit(path, leaf, { force: true }, silentReporter), /is not an authority/);
    const nowhere = writeKit(join(folder, "none/kit.zip"), trusted, { force: false }, silentReporter);
    await assert.rejects(nowhere, { kind: "usage", message: /kit\.zip": its folder is not there$/ });
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.startsWith(".")),
      [],
    );
  });
});

describe("the Mac's script", () => {
  /** As a user who is not root; `env` has the shell's HOME. */
  async function mac(
    shell: readonly string[],
    at: string,
    home: string,
    ...words: string[]
  ): Promise<RunResult> {
    const user = ["--reuid=65534", "--regid=65534", "--clear-groups", ...shell];
    return await run("setpriv", [...user, join(at, "macos.sh"), ...words], {
      env: { PATH: "/usr/bin:/bin", HOME: home },
      mayFail: true,
    });
  }

  async function makeHome(name: string): Promise<string> {
    const home = join(folder, name);
    await mkdir(home);
    await chown(home, 65534, 65534);
    return home;
  }

  for (const shell of [["dash"], ["bash"], ["busybox", "sh"]]) {
    it(`checks, installs once and takes away its own, in ${shell.join(" ")}`, async () => {
      const label = `mac-${shell[0]}`;
      // Port 1: nobody answers, at once.
      const trusted = { ca: good.ca, addresses: ["localhost.plant7.lan", "127.0.0.9"], port: 1 };
      const at = await unpackedKit(join(folder, label), trusted);
      const home = await makeHome(`${label}-home`);
      const certs = join(home, ".docker/certs.d");
      const ours = join(certs, "localhost.plant7.lan:1/ca.crt");
      const theirs = join(certs, "127.0.0.9:1/ca.crt");
      await run("setpriv", ["--reuid=65534", "--clear-groups", "mkdir", "-p", join(certs, "127.0.0.9:1")]);
      await writeFile(theirs, other.ca);

      assert.equal((await mac(shell, at, home, "check")).code, 1);
      const first = await mac(shell, at, home, "install");
      assert.equal(first.code, 0, first.stdout + first.stderr);
      assert.match(first.stdout, /^installed {2}.*localhost\.plant7\.lan:1\/ca\.crt$/m);
      assert.match(first.stdout, /^installed {2}.*127\.0\.0\.9:1\/drydock-ca\.crt$/m);
      assert.match(first.stdout, /^Restart Docker Desktop/m);
      assert.equal((await stat(ours)).mode & 0o777, 0o644);
      assert.ok((await readFile(ours, "utf8")).endsWith(`--remove\n${good.ca}`));
      const before = (await stat(ours, { bigint: true })).mtimeNs;
      const second = await mac(shell, at, home, "install");
      assert.equal(second.code, 0);
      assert.doesNotMatch(second.stdout, /^installed|Restart/m);
      assert.equal((await stat(ours, { bigint: true })).mtimeNs, before);
      assert.equal((await mac(shell, at, home, "check")).code, 0);

      const removed = await mac(shell, at, home, "remove");
      assert.equal(removed.code, 0, removed.stderr);
      assert.deepEqual(await readdir(certs), ["127.0.0.9:1"]);
      assert.deepEqual(await readdir(join(certs, "127.0.0.9:1")), ["ca.crt"]);
      assert.equal(await readFile(theirs, "utf8"), other.ca);
      assert.equal((await mac(shell, at, home, "remove")).code, 0);
    });
  }

  it("keeps the CA before beside a new one, until it is told not to", async () => {
    const trusted = { addresses: ["registry.plant7.lan"], port: 5000 };
    const old = await unpackedKit(join(folder, "old"), { ...trusted, ca: other.ca });
    const young = await unpackedKit(join(folder, "young"), { ...trusted, ca: good.ca });
    const home = await makeHome("rotation");
    const file = join(home, ".docker/certs.d/registry.plant7.lan:5000/ca.crt");
    const certificates = async () => (await readFile(file, "utf8")).split("\n").slice(1).join("\n");
    await mac(["dash"], old, home, "install");
    const check = await mac(["dash"], young, home, "check");
    assert.deepEqual([check.code, /^old {8}/m.test(check.stdout)], [1, true]);
    for (let time = 1; time <= 2; time += 1) {
      assert.equal((await mac(["dash"], young, home, "install")).code, 0);
      assert.equal(await certificates(), good.ca + other.ca);
    }
    assert.equal((await mac(["dash"], young, home, "install", "--remove-old")).code, 0);
    assert.equal(await certificates(), good.ca);
    assert.equal((await mac(["dash"], old, home, "remove")).code, 0);
    assert.deepEqual(await readdir(home), []);
  });

  it("uses no certificate but the kit's, and says what it does not understand", async () => {
    const at = await unpackedKit(join(folder, "changed"), { ca: good.ca, addresses, port: 443 });
    const home = await makeHome("changed-home");
    for (const words of [[], ["instal"], ["check", "--system"]]) {
      const wrong = await mac(["dash"], at, home, ...words);
      assert.deepEqual([wrong.code, /usage: sh .*macos\.sh check \| install/.test(wrong.stderr)], [2, true]);
    }
    const asRoot = await run("sh", [join(at, "macos.sh"), "install"], { mayFail: true });
    assert.deepEqual([asRoot.code, /without sudo/.test(asRoot.stderr)], [2, true]);
    await writeFile(join(at, "ca.pem"), other.ca);
    const wrong = await mac(["dash"], at, home, "install");
    assert.equal(wrong.code, 4);
    assert.match(wrong.stderr, /not the certificate that this kit was made with/);
    await rm(join(at, "ca.pem"));
    assert.equal((await mac(["dash"], at, home, "install")).code, 4);
    assert.deepEqual(await readdir(home), []);
  });
});

describe("Windows' script", () => {
  it("is PowerShell, as far as a grammar can tell, and plain ASCII", async () => {
    await Parser.init();
    const require = createRequire(import.meta.url);
    const wasm = require.resolve("tree-sitter-powershell/tree-sitter-powershell.wasm");
    const parser = new Parser().setLanguage(await Language.load(wasm));
    const text = new Contents({ ca: good.ca, addresses, port: 443 }).fill("zip/windows.ps1");
    assert.match(text, /^[\n -~]*$/);
    assert.equal(parser.parse(text)?.rootNode.hasError, false);
    // The grammar would tell.
    assert.equal(parser.parse(text.replace("foreach (", "foreach "))?.rootNode.hasError, true);
    assert.equal(parser.parse(text.replace("} catch {", "catch {"))?.rootNode.hasError, true);
  });
});
