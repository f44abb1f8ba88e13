/** What a site may choose or have: its own authority, pushes, another's container and storage in the way. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { entryFor, findProgram, hostPlatform } from "../lab/host-files.ts";
import { makeLayer } from "../lab/images.ts";
import { type RunResult, run } from "../lab/process.ts";
import { type Site, startSite } from "../lab/site.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock, drydockFromPipe } from "./drydock.ts";
import { containerOf, servedDigest, treeOf, trustFolder, withoutReceipts } from "./site-state.ts";

const addresses = ["198.18.18.10", "198.18.18.12"];

describe("a site", () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let bundle: BuiltBundle;

  before(async () => {
    const folder = await makeFolder("choices");
    parts.defer(folder.remove);
    const startSiteSide = async () => {
      site = await startSite({
        ...{ folder: join(folder.path, "site"), name: "choices" },
        ...{ addresses, clients: false },
      });
      parts.defer(site.stop);
    };
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
    };
    await Promise.all([startSiteSide(), startConnectedSide()]);
    bundle = await connected.bundle("plant-10", manifest(addresses.slice(0, 1), "push"));
  });
  after(() => parts.disposeAsync());

  function manifest(of: string[], access: string, release = 1): object {
    const { host } = connected.upstream;
    return {
      ...{ name: "plant-10", release, addresses: [site.registryName, ...of] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2`, access },
      certificates: { from: "site" },
      images: [`${host}/library/busybox:1.36`],
    };
  }

  const install = (file: string) => drydock(["install", file], { on: site });

  it("that has another's container and storage is refused, and both are left alone", async () => {
    const busybox = makeLayer([await entryFor(await findProgram("busybox", "busybox-static"), "busybox")]);
    await site.run("docker", ["import", "-", "lab/busybox"], { input: busybox });
    const sleeps = ["run", "--detach", "--name=registry", "lab/busybox", "/busybox", "sleep", "1000"];
    await site.run("docker", sleeps);
    const theirs = join(site.siteDir, "storage/docker/registry/v2/repositories/theirs");
    await mkdir(theirs, { recursive: true });
    await mkdir(join(site.siteDir, "certs"));
    await writeFile(join(site.siteDir, "certs/registry-key.pem"), "theirs\n");
    const state = async () => ({
      tree: await treeOf(site.siteDir, { folders: true }),
      container: await containerOf(site),
      drydock: (await readdir(site.etc)).includes("drydock"),
    });

    const before = await state();
    const both = await install(bundle.file);
    assert.equal(both.code, 6, both.stderr);
    assert.match(
      both.stderr,
      /there is a container "registry" \(image lab\/busybox\), and it isn't drydock's/,
    );
    assert.match(both.stderr, /docker-registry\/certs and .*\/storage hold what drydock did not put there/);
    assert.deepEqual(await state(), before);

    await site.run("docker", ["rm", "--force", "registry"]);
    const storage = await install(bundle.file);
    assert.equal(storage.code, 6, storage.stderr);
    assert.deepEqual(await treeOf(site.siteDir, { folders: true }), before.tree);
    const { stdout } = await site.run("docker", ["ps", "--all", "--quiet"]);
    assert.equal(stdout, "");
    await rm(site.siteDir, { recursive: true });
  });

  it("that is its own authority makes the keys itself: none crosses", async () => {
    assert.equal(bundle.paperCode, "");
    const inspected = JSON.parse((await drydock(["inspect", bundle.file, "--json"])).stdout);
    const roles = inspected.bundle.blobs.map(({ role }: { role: string }) => role);
    assert.ok(!roles.includes("key") && !roles.includes("certificate"));
    assert.ok(!(await readFile(bundle.file)).includes("PRIVATE KEY"));
    assert.deepEqual(await readdir(connected.keyStore).catch(() => []), []);
  });

  it("takes a compressed bundle from a pipe", async () => {
    const packed = join(connected.folder, "plant-10.tar.zst");
    await site.run("zstd", ["-q", "-1", bundle.file, "-o", packed]);
    const args = ["install", "-", "--digest", `sha256:${bundle.digest}`];
    const installed = await drydockFromPipe('zstd -dc "$0"', packed, args, { on: site });
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(installed.stdout, /certificates: made here; the CA's key stays here/);
    assert.ok(!`${installed.stdout}${installed.stderr}`.includes("PRIVATE KEY"));
  });

  it("keeps the CA's key closed to others, and from the container", async () => {
    const certs = join(site.siteDir, "certs");
    for (const name of ["ca-key.pem", "registry-key.pem"])
      assert.equal((await stat(join(certs, name))).mode & 0o777, 0o600, name);
    const format = "{{range .Mounts}}{{.Source}} {{.RW}}\n{{end}}";
    const { stdout } = await site.run("docker", ["inspect", "--format", format, "registry"]);
    const mounts = stdout.trim().split("\n").sort();
    assert.deepEqual(
      mounts.map((mount) => mount.replace(/[0-9a-f]{64}/, "DIGEST")),
      [
        "/srv/docker-registry/releases/certs/DIGEST/registry-key.pem false",
        "/srv/docker-registry/releases/certs/DIGEST/registry.pem false",
        "/srv/docker-registry/storage true",
      ],
    );
    await verifies("-verify_hostname", site.registryName);
    await verifies("-verify_ip", addresses[0] ?? "");
  });

  /** OpenSSL's own judgement of what the registry shows, with the site's CA alone. */
  async function verifies(...check: string[]): Promise<void> {
    const ca = join(site.siteDir, "certs/ca.pem");
    const to = ["s_client", "-connect", "127.0.0.1:443", "-verify_return_error", "-x509_strict"];
    const { stdout } = await site.run("openssl", [...to, "-CAfile", ca, "-no-CApath", ...check]);
    assert.match(stdout, /Verify return code: 0 \(ok\)/);
  }

  /** Pushes what the upstream has as an artifact. @returns how skopeo ended */
  function push(name: string, certs: string): Promise<RunResult> {
    const [from, to] = [`oci:${join(connected.folder, "artifact")}`, `docker://${addresses[0]}/${name}`];
    return site.run("skopeo", ["copy", "--quiet", "--dest-cert-dir", certs, from, to], { mayFail: true });
  }

  it("that chose `access: push` takes pushes", async () => {
    const certs = await trustFolder(site);
    const { host, images } = connected.upstream;
    const from = ["--src-tls-verify=false", `docker://${host}/team/artifact:1`];
    await run("skopeo", ["copy", "--quiet", ...from, `oci:${join(connected.folder, "artifact")}`]);
    const pushed = await push("pushed/artifact:1", certs);
    assert.equal(pushed.code, 0, pushed.stderr);
    const { digest } = images["team/artifact:1"];
    assert.equal(await servedDigest(site, "pushed/artifact:1", certs), digest);
  });

  it("stays as it is in a second install, pushed content and all", async () => {
    const state = async () => ({
      tree: withoutReceipts(await treeOf(site.siteDir, { folders: true })),
      container: await containerOf(site),
    });
    const before = await state();
    const again = await install(bundle.file);
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /^Nothing to do: /);
    assert.deepEqual(await state(), before);
  });

  it("keeps its CA where somebody has removed it from certs/: install and rollback put it back", async () => {
    const certs = join(site.siteDir, "certs");
    const before = await treeOf(certs);
    const served = await containerOf(site);
    const contents = () =>
      Promise.all(Object.keys(before).map((name) => readFile(join(certs, name), "utf8")));
    const all = await contents();
    await rm(join(certs, "ca.pem"));
    await rm(join(certs, "ca-key.pem"));
    const { stdout } = await drydock(["status"], { on: site });
    const [, command = ""] =
      /certs\/ca\.pem is missing\n +`(drydock rollback [0-9a-f]{12})`/.exec(stdout) ?? [];
    const back = await drydock(command.split(" ").slice(1), { on: site });
    assert.equal(back.code, 0, back.stderr);
    assert.doesNotMatch(back.stderr, /Warning/);
    assert.deepEqual(await contents(), all);
    await rm(join(certs, "ca.pem"));
    const again = await install(bundle.file);
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /certificates: as they were/);
    assert.deepEqual(await contents(), all);
    assert.equal(await containerOf(site), served);
  });

  it("gets a certificate of the same CA for a new address, and takes no more pushes where none are wanted", async () => {
    const certs = await trustFolder(site);
    const ca = await readFile(join(site.siteDir, "certs/ca.pem"), "utf8");
    const next = await connected.bundle("next", manifest(addresses, "read-only", 2));
    const installed = await install(next.file);
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(installed.stdout, /certificates: a new server certificate of the CA here/);
    assert.equal(await readFile(join(site.siteDir, "certs/ca.pem"), "utf8"), ca);
    for (const address of addresses) await verifies("-verify_ip", address);
    const refused = await push("pushed/artifact:2", certs);
    assert.notEqual(refused.code, 0);
    const { digest } = connected.upstream.images["team/artifact:1"];
    assert.equal(await servedDigest(site, "pushed/artifact:1", certs), digest);
  });
});
