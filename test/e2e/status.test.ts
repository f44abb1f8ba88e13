/** `status` with the built command, at a site with a real engine and registry: well, and with each thing that breaks. */
import assert from "node:assert/strict";
import { mkdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { createAuthority } from "../../src/certificates/authority.ts";
import { defaultAuthorityRequest, defaultServerRequest } from "../../src/certificates/request.ts";
import { issueServer } from "../../src/certificates/server.ts";
import type { Finding } from "../../src/install/finding.ts";
import type { Receipt } from "../../src/install/receipt.ts";
import type { SiteStatus } from "../../src/install/status.ts";
import { type Digest, digestOf, shortDigest } from "../../src/oci/digest.ts";
import { blobPath, tagCurrentLinkPath } from "../../src/oci/storage.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { rootsHome } from "../lab/own-namespace.ts";
import { type Site, startSite } from "../lab/site.ts";
import { beside } from "./beside.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock, drydockWords } from "./drydock.ts";
import { releaseFolders, treeOf } from "./site-state.ts";

describe("status", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let bundle: BuiltBundle;
  let layer: { digest: Digest; path: string; bytes: Buffer };

  before(async () => {
    const folder = await makeFolder("status");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "status", clients: false });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    const { host } = connected.upstream;
    bundle = await connected.bundle("plant-11", {
      ...{ name: "plant-11", release: 1, addresses: [site.registryName, ...site.addresses] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      certificates: { from: "site" },
      images: [`${host}/library/busybox:1.36`, `${host}/team/debian-root:12`],
    });
  });
  after(() => parts.disposeAsync());

  async function status(
    ...flags: string[]
  ): Promise<{ code: number | null; told: SiteStatus; errors: string }> {
    const { code, stdout, stderr } = await drydock(["status", "--json", ...flags], { on: site });
    assert.equal(stderr.includes("Error"), false, stderr);
    const told: SiteStatus = JSON.parse(stdout);
    const errors = told.findings.filter((one) => one.level !== "ok").map(textOf);
    return { code, told, errors: errors.join("\n") };
  }

  const textOf = ({ check, level, text, hint }: Finding) => `${level} ${check}: ${text} | ${hint ?? ""}`;

  async function isWell(): Promise<void> {
    const { code, errors } = await status();
    assert.deepEqual([code, errors], [0, ""]);
  }

  const install = async (...flags: string[]) => {
    const { code, stdout, stderr } = await drydock(["install", bundle.file, ...flags], { on: site });
    assert.equal(code, 0, stderr);
    return stdout;
  };

  const docker = (...args: string[]) => site.run("docker", args);

  it("of a host where nothing is installed: exit code 3", async () => {
    const { code, stderr } = await drydock(["status"], { on: site });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /nothing is installed there/);
  });

  it("install leaves a receipt, and says where its page is", async () => {
    const stdout = await install();
    const path = /the receipt, a page to hand over: (\S+\/receipt\.txt)$/m.exec(stdout)?.[1] ?? "";
    assert.match(path, /^\/srv\/docker-registry\/releases\/[0-9a-f]{64}\/receipt\.txt$/);
    const file = join(site.siteDir, path.slice("/srv/docker-registry/".length));
    for (const one of [file, join(dirname(file), "receipt.json")])
      assert.equal((await stat(one)).mode & 0o777, 0o644);
    const page = await readFile(file, "utf8");
    for (const line of page.split("\n")) assert.ok(line.length <= 80, line);
    const receipt: Receipt = JSON.parse(await readFile(join(dirname(file), "receipt.json"), "utf8"));
    assert.equal(receipt.bundleDigest, `sha256:${bundle.digest}`);
    for (const text of [bundle.digest, site.registryName, "library/busybox:1.36", "certs.d", "2 tags"])
      assert.ok(page.includes(text), text);
    const ca = await site.run("openssl", [
      ...["x509", "-noout", "-fingerprint", "-sha256", "-in", join(site.siteDir, "certs/ca.pem")],
    ]);
    const fingerprint = ca.stdout.trim().split("=")[1] ?? "";
    assert.ok(page.replaceAll(/\s/g, "").includes(fingerprint.replaceAll(/\s/g, "")));
    assert.equal(receipt.proof.kind, "tags");
    const names = receipt.steps.map(({ step }) => step);
    assert.deepEqual(names, ["open", "preflight", "place", "link", "run", "prove addresses", "prove tags"]);
    assert.equal(/PRIVATE KEY/.test(page + JSON.stringify(receipt)), false);
  });

  it("of a site that is well: exit code 0, and one screen", async () => {
    const { code, told, errors } = await status();
    assert.deepEqual([code, errors, told.healthy], [0, "", true]);
    assert.equal(told.address, site.registryName);
    assert.deepEqual([told.release.name, told.release.images, told.images], ["plant-11", 2, 2]);
    assert.equal(told.lastProof?.tags, 2);
    assert.equal(told.container.state, "running");
    const text = await drydock(["status"], { on: site });
    assert.match(text.stdout, /All is well\.$/m);
    assert.ok(text.stdout.split("\n").length <= 24, text.stdout);
    const { digest } = connected.upstream.images["team/debian-root:12"];
    const manifest = JSON.parse(await readFile(join(site.siteDir, "storage", blobPath(digest)), "utf8"));
    const found: Digest = manifest.layers[0].digest;
    const path = join(site.siteDir, "storage", blobPath(found));
    layer = { digest: found, path, bytes: await readFile(path) };
  });

  it("changes nothing and doesn't wait for an install that has the lock", async () => {
    const tree = () => treeOf(site.siteDir, { folders: true });
    const before = await tree();
    await isWell();
    assert.equal((await status("--deep")).code, 0);
    assert.deepEqual(await tree(), before);
    const locked = `const { takeLock } = await import(${JSON.stringify(join(import.meta.dirname, "../../src/lock.ts"))});
      const lock = await takeLock("site", "/srv/docker-registry");
      process.stdin.resume().on("end", () => lock.release());
      console.log("held");`;
    const { code, told } = await beside(site, locked, () => status());
    assert.equal(code, 0);
    assert.match(
      told.findings.map(textOf).join("\n"),
      /ok action: another drydock \(process \d+\) is working/,
    );
  });

  it("of an install that finds all there: the receipt's last proof is new, the rest is not", async () => {
    const [folder = ""] = await releaseFolders(site);
    const read = async (): Promise<Receipt> =>
      JSON.parse(await readFile(join(site.siteDir, "releases", folder, "receipt.json"), "utf8"));
    const before = await read();
    assert.match(await install("--prove", "full"), /blobs pulled and hashed/);
    const { lastProof, ...rest } = await read();
    const { lastProof: oldProof, ...oldRest } = before;
    assert.deepEqual(rest, oldRest);
    assert.deepEqual([oldProof.kind, lastProof.kind], ["tags", "full"]);
    assert.equal((await status()).told.lastProof?.pulled?.blobs, lastProof.pulled?.blobs);
  });

  it("of a container that is stopped", async () => {
    await docker("stop", "--time=1", "registry");
    const { code, told, errors } = await status();
    assert.equal(code, 9, errors);
    assert.equal(told.container.state, "stopped");
    assert.match(errors, /^error container: .* is stopped.* \| `docker start registry`$/);
    await docker("start", "registry");
    await isWell();
    await docker("pause", "registry");
    assert.match((await status()).errors, /^error container: .* is paused \| `docker unpause registry`$/);
    await docker("unpause", "registry");
    await isWell();
  });

  it("of a container that was removed, while another has its port", async () => {
    await docker("rm", "--force", "registry");
    const absent = await status();
    assert.equal(absent.code, 9);
    assert.match(
      absent.errors,
      /^error container: there is no container "registry" \| `drydock rollback [0-9a-f]{12}` makes it again/,
    );
    const listener = `import { createServer } from "node:net";
      const server = createServer().listen(443, "0.0.0.0", () => console.log("up"));
      process.stdin.resume().on("end", () => server.close());`;
    const { stdout } = await beside(site, listener, () => drydock(["status"], { on: site }));
    assert.match(stdout, /port: 443 is taken by \S+ \(process \d+\)/);
    // Without the bundle, as it was said.
    const [command = ""] = /drydock rollback [0-9a-f]{12}/.exec(absent.errors) ?? [];
    const mended = await drydock(command.split(" ").slice(1), { on: site });
    assert.equal(mended.code, 0, mended.stderr);
    assert.match(mended.stdout, /container "registry": made\n/);
    await isWell();
  });

  it("of a blob with other bytes of the same size: found by --deep alone, and mended as it says", async () => {
    const other = Buffer.from(layer.bytes);
    other[100] = (other[100] ?? 0) ^ 1;
    await writeFile(layer.path, other);
    await isWell();
    const { code, told, errors } = await status("--deep");
    assert.equal(code, 4);
    assert.match(
      errors,
      new RegExp(`${shortDigest(layer.digest)}, needed by team/debian-root:12: other bytes, of the digest `),
    );
    const [damaged, ...others] = told.storage.damaged;
    assert.deepEqual(others, []);
    assert.deepEqual([damaged?.problem, damaged?.neededBy], ["other bytes", ["team/debian-root:12"]]);
    const [, remove = ""] = /`rm (\S+)`/.exec(errors) ?? [];
    assert.equal(remove, damaged?.path);
    const proved = await drydock(["install", bundle.file, "--prove", "full"], { on: site });
    assert.equal(proved.code, 4, proved.stderr);
    assert.match(proved.stderr, new RegExp(`${layer.digest}, needed by team/debian-root:12`));
    await site.run("rm", [remove]);
    await install();
    assert.deepEqual(await readFile(layer.path), layer.bytes);
    assert.equal((await status("--deep")).code, 0);
  });

  it("of a blob that is gone, or cut short", async () => {
    await rm(layer.path);
    const gone = await status();
    assert.equal(gone.code, 4);
    assert.match(
      gone.errors,
      new RegExp(`${shortDigest(layer.digest)}, needed by team/debian-root:12: it is missing`),
    );
    await writeFile(layer.path, layer.bytes.subarray(0, 1000));
    const short = await status();
    assert.equal(short.code, 4);
    assert.match(short.errors, /it has 1000 bytes, not \d+ \| .*\n.*`drydock install BUNDLE`$/);
    assert.doesNotMatch(short.errors, /`rm /);
    await install();
    await isWell();
  });

  it("of a tag that names something else, or is gone", async () => {
    const path = join(site.siteDir, "storage", tagCurrentLinkPath("library/busybox", "1.36"));
    const before = await readFile(path, "utf8");
    await writeFile(path, digestOf("something else"));
    const moved = await status();
    assert.equal(moved.code, 4);
    assert.match(
      moved.errors,
      new RegExp(
        `library/busybox:1.36 names ${shortDigest(digestOf("something else"))}; .*${before.slice(7, 19)}`,
      ),
    );
    await rm(path);
    assert.match((await status()).errors, /library\/busybox:1\.36 is missing/);
    await install();
    assert.equal(await readFile(path, "utf8"), before);
    await isWell();
  });

  it("of a file system that has become read-only", async () => {
    const path = "/srv/docker-registry";
    await site.run("/bin/sh", ["-c", `mount --bind ${path} ${path}; mount -o remount,bind,ro ${path}`]);
    const { code, errors } = await status();
    await site.run("umount", [path]);
    assert.equal(code, 9);
    assert.match(
      errors,
      /^error disk: the file system of \/srv\/docker-registry is mounted read-only \| .*dmesg/,
    );
    await isWell();
  });

  it("as a user who may see little: what can be seen is checked", async () => {
    const words = ["--reuid=65534", "--regid=65534", "--clear-groups", ...drydockWords, "status", "--json"];
    const open = join(site.folder, "open");
    await mkdir(open, { mode: 0o755 });
    const { stdout, stderr } = await site.run(
      "unshare",
      ["--mount", "/bin/sh", "-c", `${rootsHome(open)}; exec setpriv "$@"`, "sh", ...words],
      { mayFail: true },
    );
    const told: SiteStatus = JSON.parse(stdout || stderr);
    assert.match(told.findings.map(textOf).join("\n"), /warning engine: .*EACCES/);
    assert.deepEqual(
      told.findings.filter(({ level }) => level === "error"),
      [],
    );
    assert.equal(told.container.state, "unknown");
  });

  it("of certificates near their end, when nothing else is wrong: exit code 8", async () => {
    const request = { ...defaultAuthorityRequest("near its end"), ca: { expiry: "720h" } };
    const authority = await createAuthority(request);
    const addresses = [site.registryName, ...site.addresses, "127.0.0.1"];
    const server = await issueServer(authority, defaultServerRequest(site.registryName), addresses);
    const certs = join(site.siteDir, "certs");
    await mkdir(certs, { recursive: true });
    await writeFile(join(certs, "ca.pem"), authority.certificate);
    await writeFile(join(certs, "ca-key.pem"), authority.key);
    await writeFile(join(certs, "registry.pem"), server.certificate);
    await writeFile(join(certs, "registry-key.pem"), server.key);
    const replaced = await status();
    assert.equal(replaced.code, 9);
    assert.match(replaced.errors, /container: .* is not as the release has it: another certificate/);
    await install();
    const { code, told, errors } = await status();
    assert.equal(code, 8, errors);
    assert.equal(told.healthy, false);
    assert.match(errors, /^warning expiry: the server certificate ends on .*, in 29 days \| .*--new-certs/);
  });
});
