/**
 * The main job, from a manifest to clients that pull: real registries, seeds that a real registry wrote, a
 * real engine on each side, and clients over SSH in a network without a way out.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { startEngine } from "../lab/engine.ts";
import { startHost } from "../lab/host.ts";
import { entryFor, findProgram, hostPlatform, otherPlatform } from "../lab/host-files.ts";
import { makeLayer } from "../lab/images.ts";
import { makeNetns } from "../lab/netns.ts";
import { type RunResult, run } from "../lab/process.ts";
import { makeBusyboxImage } from "../lab/real-images.ts";
import { makeSeed, type Seed } from "../lab/seed.ts";
import { type Site, startSite } from "../lab/site.ts";
import { pushNamed } from "../lab/upstream.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { type DrydockOptions, drydock } from "./drydock.ts";
import { containerOf, servedDigest, treeOf, trustFolder, withoutReceipts } from "./site-state.ts";

describe("a registry crosses the gap", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let seeds: { gzip: Seed; packed: Seed };
  let bundle: BuiltBundle;
  /** all that the command has said, to be searched for what it must not say */
  const said: Pick<RunResult, "stdout" | "stderr">[] = [];

  before(async () => {
    const folder = await makeFolder("main");
    parts.defer(folder.remove);
    const startConnectedSide = async () => {
      connected = await startConnected(folder.path);
      parts.defer(connected.stop);
      seeds = {
        gzip: await makeSeed(join(folder.path, "seed.tar.gz")),
        packed: await makeSeed(join(folder.path, "more.tar.zst"), {
          images: { "archive/tool:5": await makeBusyboxImage({ says: "hello from the packed seed" }) },
          prefix: "./",
        }),
      };
    };
    const startSiteSide = async () => {
      site = await startSite({ folder: join(folder.path, "site"), name: "main" });
      parts.defer(site.stop);
    };
    await Promise.all([startConnectedSide(), startSiteSide()]);
    await mkdir(join(folder.path, "charts"));
    await writeFile(join(folder.path, "charts/pump.tgz"), "a chart\n");
    bundle = await connected.bundle("plant-7", manifest(), { env: await engineImage() });
    said.push({ stdout: bundle.stdout.replace(bundle.paperCode, ""), stderr: bundle.stderr });
  });
  after(() => parts.disposeAsync());

  function manifest(release = 1): object {
    const { host, closed } = connected.upstream;
    return {
      ...{ name: "plant-7", release, addresses: [site.registryName, ...site.addresses] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      seeds: [
        { file: "seed.tar.gz", sha256: seeds.gzip.sha256 },
        { file: "more.tar.zst", keep: "packed" },
      ],
      images: [
        `${host}/library/busybox:1.36`,
        `${host}/team/debian-root:12`,
        { reference: `${host}/team/two-platforms:1`, platforms: "all" },
        { reference: `${host}/team/two-platforms:1`, as: "team/one-platform" },
        { reference: `${host}/team/artifact:1`, as: "charts/pump:2026" },
        `${closed.host}/secret/app:1`,
        "docker-daemon:my/app:dev",
      ],
      files: ["charts/*.tgz"],
    };
  }

  /** Site name → the name at the upstream registry that was asked for. */
  const upstreamOf = {
    "library/busybox:1.36": "library/busybox:1.36",
    "team/debian-root:12": "team/debian-root:12",
    "team/two-platforms:1": "team/two-platforms:1",
    "team/one-platform:1": "team/two-platforms:1",
    "charts/pump:2026": "team/artifact:1",
  } as const;

  /** Starts the connected side's engine with an image of its own. @returns what makes `bundle` use it */
  async function engineImage(): Promise<NodeJS.ProcessEnv> {
    const folder = join(connected.folder, "engine");
    const netns = await makeNetns("connected", []);
    parts.defer(netns.delete);
    const host = await startHost({ folder, netns: netns.name, hosts: [] });
    parts.defer(host.stop);
    const args = ["--bridge=none", "--iptables=false"];
    const engine = await startEngine(host, { folder, name: netns.name, args });
    parts.defer(engine.stop);
    const busybox = await entryFor(await findProgram("busybox", "busybox-static"), "busybox");
    const command = 'CMD ["/busybox", "echo", "hello from the local engine"]';
    const input = makeLayer([busybox]);
    await host.run("docker", ["import", "--change", command, "-", "my/app:dev"], { input });
    return { DOCKER_HOST: `unix://${engine.socket}` };
  }

  async function atSite(args: string[], options: DrydockOptions = {}): Promise<RunResult> {
    const result = await drydock(args, { ...options, on: site });
    said.push(result);
    return result;
  }

  const install = (built: BuiltBundle, ...more: string[]) =>
    atSite(["install", built.file, "--passphrase-file", built.codeFile, "--digest", built.digest, ...more]);

  const clientFlags = () => ["--clients", site.inventory, "--known-hosts", site.knownHosts];

  /** Pulls and runs on the client that has Docker. @returns what the container printed */
  async function pullAndRun(name: string): Promise<string> {
    const client = site.client("with-docker");
    await client.run("docker", ["pull", "--quiet", `${site.registryName}/${name}`]);
    const args = ["run", "--rm", "--network=none", `${site.registryName}/${name}`];
    return (await client.run("docker", args)).stdout.trim();
  }

  it("bundle tells what is inside, its digest and the code", async () => {
    assert.match(bundle.digest, /^[0-9a-f]{64}$/);
    assert.match(bundle.paperCode, /^([0-9A-Z]{4}-){4}[0-9A-Z]{4}$/);
    for (const name of [...Object.keys(upstreamOf), "legacy/app:2017", "archive/tool:5", "secret/app:1"])
      assert.match(bundle.stdout, new RegExp(`^ +${name} `, "m"));
    assert.match(bundle.stdout, /seed\.tar\.gz .*unpacked\n +more\.tar\.zst .*carried packed/);
    assert.match(bundle.stdout, /the server's key is encrypted/);
  });

  it("inspect and verify agree with it", async () => {
    const inspected = await atSite(["inspect", bundle.file, "--json"]);
    const { digest, bundle: index } = JSON.parse(inspected.stdout);
    assert.equal(digest, bundle.digest);
    const platforms = (tag: string, repository: string) =>
      index.images.find((one: { repository: string; tag: string }) => {
        return one.repository === repository && one.tag === tag;
      }).platforms;
    assert.deepEqual(platforms("1", "team/two-platforms"), [hostPlatform, otherPlatform].sort());
    assert.deepEqual(platforms("1", "team/one-platform"), [hostPlatform]);
    const names = await atSite(["inspect", bundle.file, "--names"]);
    const upstream = connected.upstream.host;
    assert.match(
      names.stdout,
      new RegExp(`^${upstream}/team/two-platforms:1 +registry\\.site\\.lan/team/two-platforms:1$`, "m"),
    );
    assert.equal(names.stdout.trim().split("\n").length, index.images.length);
    const verified = await atSite(["verify", bundle.file, "--digest", bundle.digest]);
    assert.equal(verified.code, 0, verified.stderr);
  });

  it("install brings it to life", async () => {
    const installed = await install(bundle);
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(
      installed.stdout,
      /^plant-7, release 1, is installed at \/srv\/docker-registry, and answers/,
    );
    for (const { name, state } of await containers())
      assert.deepEqual([name, state], ["registry", "running"]);
  });

  async function containers(): Promise<{ name: string; state: string }[]> {
    const format = "{{.Names}} {{.State}}";
    const { stdout } = await site.run("docker", ["ps", "--all", "--format", format]);
    return stdout
      .trim()
      .split("\n")
      .map((line) => line.split(" "))
      .map(([name = "", state = ""]) => ({ name, state }));
  }

  it("a client that was not given the CA fails with x509", async () => {
    const image = `${site.registryName}/library/busybox:1.36`;
    const ways = [
      site.client("with-docker").run("docker", ["pull", image], { mayFail: true }),
      site.client("with-podman").run("podman", ["pull", image], { mayFail: true }),
      site.client("refuses").run("skopeo", ["inspect", `docker://${image}`], { mayFail: true }),
    ];
    for (const result of await Promise.all(ways)) {
      assert.notEqual(result.code, 0);
      assert.match(result.stderr, /x509: certificate signed by unknown authority/);
    }
  });

  it("trust does the others, names the client that refuses, and ends with 5", async () => {
    const trusted = await atSite(["trust", ...clientFlags()]);
    assert.equal(trusted.code, 5, trusted.stderr);
    assert.match(
      trusted.stdout,
      /^with-docker +changed +proven by its Docker engine as registry\.site\.lan$/m,
    );
    assert.match(trusted.stdout, /^with-podman +changed +proven over TLS as registry\.site\.lan$/m);
    assert.match(trusted.stdout, /^refuses +refused *$/m);
    assert.match(trusted.stdout, /^refuses: login as "root" with the key was refused/m);
    const certs = await readdir(join(site.client("with-docker").etcDocker, "certs.d"));
    const names = [site.registryName, ...site.addresses].flatMap((name) => [name, `${name}:443`]);
    for (const name of names) assert.ok(certs.includes(name), name);
    assert.deepEqual(await readdir(site.client("refuses").etcDocker), []);
  });

  it("the Docker client pulls images by tag and by digest, and runs them", async () => {
    const { images, closed } = connected.upstream;
    const digest = images["library/busybox:1.36"].digest;
    assert.equal(await pullAndRun("library/busybox:1.36"), "hello from busybox");
    assert.equal(await pullAndRun(`library/busybox@${digest}`), "hello from busybox");
    assert.match(await pullAndRun("team/debian-root:12"), /Debian/);
    assert.equal(await pullAndRun("team/two-platforms:1"), "hello from two-platforms");
    assert.equal(await pullAndRun("team/one-platform:1"), "hello from two-platforms");
    const secret = closed.images["secret/app:1"].digest;
    assert.equal(await pullAndRun(`secret/app@${secret}`), "hello from behind an account");
    assert.equal(await pullAndRun("my/app:dev"), "hello from the local engine");
  });

  it("and what came in the seeds, unpacked and packed", async () => {
    assert.equal(await pullAndRun("legacy/app:2017"), "hello from the seed");
    const digest = seeds.gzip.images["legacy/app:2017"]?.digest;
    assert.equal(await pullAndRun(`legacy/app@${digest}`), "hello from the seed");
    assert.equal(await pullAndRun("archive/tool:5"), "hello from the packed seed");
    const packed = seeds.packed.images["archive/tool:5"]?.digest;
    assert.equal(await pullAndRun(`archive/tool@${packed}`), "hello from the packed seed");
  });

  it("the client with Podman alone pulls, by name and by address", async () => {
    const client = site.client("with-podman");
    for (const host of [site.registryName, site.addresses[0], `${site.registryName}:443`])
      await client.run("podman", ["pull", "--quiet", `${host}/library/busybox:1.36`]);
    const digest = seeds.packed.images["archive/tool:5"]?.digest;
    await client.run("podman", ["pull", "--quiet", `${site.registryName}/archive/tool@${digest}`]);
    const artifact = `docker://${site.registryName}/charts/pump:2026`;
    await client.run("skopeo", ["copy", "--quiet", artifact, `oci:${join(site.folder, "artifact")}`]);
  });

  it("each tag's digest is the upstream's", async () => {
    const certs = await trustFolder(site);
    for (const [here, there] of Object.entries(upstreamOf)) {
      const asked = await run("skopeo", [
        ...["inspect", "--raw", "--tls-verify=false"],
        `docker://${connected.upstream.host}/${there}`,
      ]);
      assert.equal(await servedDigest(site, here, certs), digestOf(Buffer.from(asked.stdout)), here);
    }
    const { closed } = connected.upstream;
    const { user, password } = closed.account;
    const asked = await run("skopeo", [
      ...["inspect", "--raw", "--tls-verify=false", "--creds", `${user}:${password}`],
      `docker://${closed.host}/secret/app:1`,
    ]);
    assert.equal(await servedDigest(site, "secret/app:1", certs), digestOf(Buffer.from(asked.stdout)));
    for (const seed of Object.values(seeds)) {
      for (const [name, { digest }] of Object.entries(seed.images))
        assert.equal(await servedDigest(site, name, certs), digest, name);
    }
  });

  it("the other platform is there where it was asked for, and only there", async () => {
    const certs = await trustFolder(site);
    const [os, arch] = otherPlatform.split("/");
    const pull = (name: string) => {
      const platform = ["--override-os", os ?? "", "--override-arch", arch ?? ""];
      const from = `docker://${site.addresses[0]}/${name}`;
      const args = [...platform, "copy", "--src-cert-dir", certs, from, `dir:${join(site.folder, "other")}`];
      return site.run("skopeo", args, { mayFail: true });
    };
    assert.equal((await pull("team/two-platforms:1")).code, 0);
    assert.match((await pull("team/one-platform:1")).stderr, /manifest unknown/);
  });

  it("a push is refused", async () => {
    const client = site.client("with-docker");
    const name = `${site.registryName}/library/busybox:pushed`;
    await client.run("docker", ["tag", `${site.registryName}/library/busybox:1.36`, name]);
    const pushed = await client.run("docker", ["push", name], { mayFail: true });
    assert.notEqual(pushed.code, 0);
    assert.match(pushed.stderr, /unsupported|read-?only|405|not allowed/i);
    const tags = await client.run("skopeo", ["list-tags", `docker://${site.registryName}/library/busybox`]);
    assert.deepEqual(JSON.parse(tags.stdout).Tags, ["1.36"]);
  });

  it("openssl accepts the certificate for the name and each address, and for no other", async () => {
    const ca = join(site.siteDir, "certs/ca.pem");
    const ask = (...check: string[]) => {
      const address = `${site.addresses[0]}:443`;
      const args = ["s_client", "-connect", address, "-verify_return_error", "-x509_strict", "-CAfile", ca];
      return site.run("openssl", [...args, "-no-CApath", ...check], { mayFail: true });
    };
    for (const check of [
      ["-verify_hostname", site.registryName],
      ["-verify_ip", site.addresses[0] ?? ""],
      ["-verify_ip", "127.0.0.1"],
    ]) {
      const { code, stdout, stderr } = await ask(...check);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /Verify return code: 0 \(ok\)/);
    }
    assert.notEqual((await ask("-verify_hostname", "another.site.lan")).code, 0);
    assert.notEqual((await ask("-verify_ip", "198.18.18.11")).code, 0);
  });

  it("what is secret is closed to others, and the CA's key did not cross", async () => {
    const certs = join(site.siteDir, "certs");
    assert.deepEqual((await readdir(certs)).sort(), ["ca.pem", "registry-key.pem", "registry.pem"]);
    assert.equal((await stat(join(certs, "registry-key.pem"))).mode & 0o777, 0o600);
    const caKey = await readFile(join(connected.keyStore, "plant-7/ca-key.pem"), "utf8");
    const serverKey = await readFile(join(certs, "registry-key.pem"), "utf8");
    const { account } = connected.upstream.closed;
    const secrets = [bundle.paperCode, account.password, "PRIVATE KEY"];
    for (const pem of [caKey, serverKey])
      secrets.push(...pem.split("\n").filter((line) => line.length > 40 && !line.startsWith("-")));
    secrets.push(Buffer.from(`${account.user}:${account.password}`).toString("base64"));
    for (const { stdout, stderr } of said) {
      for (const secret of secrets) assert.ok(!`${stdout}${stderr}`.includes(secret), "a secret was shown");
    }
    const shown = await site.run("docker", ["inspect", "registry"]);
    assert.ok(!shown.stdout.includes("PRIVATE KEY"));
  });

  it("what `files` named has arrived", async () => {
    assert.equal(await readFile(join(site.siteDir, "files/charts/pump.tgz"), "utf8"), "a chart\n");
  });

  it("a second install changes nothing, and says so", async () => {
    const state = async () => ({
      tree: withoutReceipts(await treeOf(site.siteDir, { folders: true })),
      remembered: await treeOf(join(site.etc, "drydock"), { folders: true }),
      trust: await treeOf(site.client("with-docker").etcDocker),
      container: await containerOf(site),
      all: await containers(),
    });
    const before = await state();
    const again = await install(bundle, ...clientFlags());
    assert.equal(again.code, 5, again.stderr);
    assert.match(again.stdout, /^Nothing to do: plant-7, release 1, was installed at /);
    assert.match(again.stdout, /^with-docker +ok +proven by its Docker engine/m);
    assert.match(again.stdout, /^refuses: login as "root"/m);
    assert.deepEqual(await state(), before);
  });

  it("the next bundle of the name needs no new trust", async () => {
    const ca = await readFile(join(site.siteDir, "certs/ca.pem"), "utf8");
    const newer = await makeBusyboxImage({ says: "hello from the next release" });
    await pushNamed(connected.upstream.host, "library/busybox:1.36", newer);
    const { images, ...others } = manifest(2) as { images: (string | object)[] };
    const withoutEngine = images.filter((image) => image !== "docker-daemon:my/app:dev");
    const next = await connected.bundle("next", { ...others, images: withoutEngine });
    assert.doesNotMatch(next.stdout, /Certificates: new/);
    const installed = await install(next);
    assert.equal(installed.code, 0, installed.stderr);
    assert.match(installed.stdout, /release 2, is installed.*moved 1 tag\n.*certificates: as they were/s);
    assert.equal(await readFile(join(site.siteDir, "certs/ca.pem"), "utf8"), ca);
    assert.equal(await pullAndRun("library/busybox:1.36"), "hello from the next release");
    assert.equal(await pullAndRun("my/app:dev"), "hello from the local engine");
    assert.equal(
      (
        await site
          .client("with-podman")
          .run("podman", ["pull", "--quiet", `${site.registryName}/library/busybox:1.36`])
      ).code,
      0,
    );
  });

  it("image names may stay as they are, and the trust can be taken away again", async () => {
    const [docker, podman] = [site.client("with-docker"), site.client("with-podman")];
    const more = ["--mirror", "docker.io,quay.io", "--restart-runtimes"];
    const mirrored = await atSite(["trust", ...clientFlags(), ...more]);
    assert.match(mirrored.stdout, /^with-docker +changed +proven by its Docker engine/m);
    assert.match(mirrored.stderr, /Docker itself can't look elsewhere for images of quay\.io\./);
    const image = "busybox:1.36";
    const ran = await docker.run("docker", ["run", "--rm", "--network=none", image]);
    assert.equal(ran.stdout.trim(), "hello from the next release");
    await podman.run("podman", ["pull", "--quiet", `quay.io/library/${image}`]);

    const removed = await atSite(["trust", ...clientFlags(), "--remove", "--json", "--restart-runtimes"]);
    assert.equal(removed.code, 5, removed.stderr);
    const { hosts } = JSON.parse(removed.stdout) as { hosts: { name: string; status: string }[] };
    assert.deepEqual(
      hosts.map(({ name, status }) => `${name} ${status}`),
      ["with-docker changed", "with-podman changed", "refuses refused"],
    );
    assert.deepEqual(await readdir(docker.etcDocker), ["key.json"]);
    for (const [client, program] of [
      [docker, "docker"],
      [podman, "podman"],
    ] as const) {
      const pull = await client.run(program, ["pull", `${site.registryName}/library/${image}`], {
        mayFail: true,
      });
      assert.match(pull.stderr, /x509: certificate signed by unknown authority/);
    }
    const again = await atSite(["trust", ...clientFlags(), "--remove"]);
    assert.match(again.stdout, /^with-docker +nothing there$/m);
  });
});
