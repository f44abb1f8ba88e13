/**
 * Docker where it is missing, from packages collected as docs/packages.md says to hosts with a Debian of their own
 * that never had a network: installed, started, and pulling from the site's registry.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { stringify } from "yaml";
import { digestOf } from "../../src/oci/digest.ts";
import type { ClientResult } from "../../src/trust/client.ts";
import { makeKeys, writeInventory, writeKnownHosts } from "../lab/clients.ts";
import { type DebianClient, type DebianOptions, startDebian } from "../lab/debian.ts";
import { collect, debianPackages } from "../lab/debian-root.ts";
import { dockerRpms, dockerTarball } from "../lab/docker-packages.ts";
import { hostPlatform } from "../lab/host-files.ts";
import { type RunResult, run } from "../lab/process.ts";
import { type Site, startSite } from "../lab/site.ts";
import { type BuiltBundle, type Connected, makeFolder, startConnected } from "./connected.ts";
import { drydock } from "./drydock.ts";
import { releaseFolders } from "./site-state.ts";

const architecture = hostPlatform.slice("linux/".length);
const wanted = ["docker.io", "apparmor"];

describe("Docker where it is missing", { timeout: 600_000 }, () => {
  const parts = new AsyncDisposableStack();
  let connected: Connected;
  let site: Site;
  let bundle: BuiltBundle;
  let keys: Awaited<ReturnType<typeof makeKeys>>;
  const clients = new Map<string, DebianClient>();
  let first: { result: RunResult; hosts: Map<string, ClientResult> };

  before(async () => {
    const folder = await makeFolder("packages");
    parts.defer(folder.remove);
    connected = await startConnected(folder.path);
    parts.defer(connected.stop);
    const addresses = Array.from({ length: 9 }, (_, at) => `198.18.18.${at + 10}`);
    site = await startSite({
      folder: join(folder.path, "site"),
      name: "packages",
      addresses,
      clients: false,
    });
    parts.defer(site.stop);
    keys = await makeKeys(join(folder.path, "keys"));
    bundle = await makeBundle();
    await Promise.all([
      start("deb", { systemd: true }),
      startRpm(),
      start("static", { systemd: true, run: isCalled("arch") }),
      startLimited(),
      start("unknown", { run: isCalled("alpine", "3.20.1") }),
    ]);
    first = await trust(...clients.keys());
  });
  after(() => parts.disposeAsync());

  async function makeBundle(): Promise<BuiltBundle> {
    const { folder } = connected;
    const debs = await debianPackages(...wanted);
    for (const from of [debs, await dockerRpms()])
      await run("/bin/sh", ["-c", `cp -s ${from}/*.?[ep][bm] ${folder}`]);
    await run("cp", ["-s", await dockerTarball(), folder]);
    const version = /^VERSION_ID="?([^"\n]+)/m.exec(await readFile("/etc/os-release", "utf8"))?.[1];
    const { host } = connected.upstream;
    return await connected.bundle("plant-7", {
      ...{ name: "plant-7", addresses: [site.registryName, site.addresses[0]] },
      ...(hostPlatform === "linux/amd64" ? {} : { platforms: [hostPlatform] }),
      registry: { image: `${host}/library/registry:2` },
      images: [`${host}/library/busybox:1.36`],
      packages: [
        { match: { id: "debian", version, architecture }, files: ["*.deb"] },
        { match: { id: "rhel", version: "9", architecture }, files: ["*.rpm"] },
        { match: { id: "arch", architecture }, files: ["docker-*.tgz"] },
      ],
    });
  }

  async function start(name: string, options: Partial<DebianOptions> = {}): Promise<DebianClient> {
    const folder = join(connected.folder, name);
    const address = site.addresses[clients.size + 1] ?? "";
    clients.set(name, undefined as unknown as DebianClient);
    const client = await startDebian({
      ...{ folder, name: `${site.netns}-${name}`, netns: site.netns, address },
      ...{ keyFile: keys.file, authorizedKey: keys.ours },
      hosts: [`${site.addresses[0]} ${site.registryName}`],
      ...options,
    });
    parts.defer(client.stop);
    clients.set(name, { ...client, name });
    return { ...client, name };
  }

  /** Its user may run no more than what docs/sudo.md lists. */
  async function startLimited(): Promise<void> {
    const docs = await readFile(join(import.meta.dirname, "../../docs/sudo.md"), "utf8");
    const script = /```sh\n(.*?)```/s.exec(docs)?.[1] ?? "";
    await writeFile(join(connected.folder, "sudoers.sh"), script);
    const names = [site.registryName, site.addresses[0] ?? ""].flatMap((name) => [name, `${name}:443`]);
    const { stdout } = await run("sh", [join(connected.folder, "sudoers.sh"), "ops", ...names]);
    const packages = /```\n(Cmnd_Alias DRYDOCK_PACKAGES.*?)```/s.exec(docs)?.[1] ?? "";
    const sudoers = join(connected.folder, "sudoers");
    await writeFile(sudoers, `${stdout}${packages.replace("USER", "ops")}`);
    await run("visudo", ["-c", "-f", sudoers]);
    const lines = ["chroot . useradd -m -p '*' ops", `install -m 0440 ${sudoers} etc/sudoers.d/drydock`];
    const name = "without-systemd";
    clients.set(name, { ...(await start(name, { run: lines })), user: "ops" });
  }

  /** Its database has what a host made of RPM packages would have. */
  async function startRpm(): Promise<DebianClient> {
    const base = `cp ${await dockerRpms()}/base/*.rpm srv; chroot . sh -c 'rpm -i --force-debian /srv/*.rpm'`;
    return await start("rpm", {
      systemd: true,
      run: [...isCalled("rocky", "9.4", "rhel centos fedora"), base],
    });
  }

  function client(name: string): DebianClient {
    const found = clients.get(name);
    assert.ok(found);
    return found;
  }

  /** The first run is the install's own. */
  async function trust(...names: string[]): Promise<typeof first> {
    const some = names.map(client);
    const [inventory, knownHosts] = [join(site.folder, "hosts.ini"), join(site.folder, "hosts.known")];
    await writeInventory(some, inventory);
    await writeKnownHosts(some, knownHosts);
    return await trustAll(inventory);
  }

  async function trustAll(inventory: string, ...more: string[]): Promise<typeof first> {
    const knownHosts = join(site.folder, "hosts.known");
    const words =
      first === undefined ? ["install", bundle.file, "--passphrase-file", bundle.codeFile] : ["trust"];
    const flags = ["--clients", inventory, "--known-hosts", knownHosts, "--install-packages", "--json"];
    const result = await drydock([...words, ...flags, ...more], { on: site });
    const { hosts } = JSON.parse(result.stdout) as { hosts?: ClientResult[] };
    assert.ok(hosts, `${result.stdout}${result.stderr}`);
    return { result, hosts: new Map(hosts.map((host) => [host.name, host])) };
  }

  /** Shell lines: os-release(5) says another distribution. */
  function isCalled(id: string, version = "", like = ""): string[] {
    const text = `ID=${id}\\nVERSION_ID="${version}"\\nID_LIKE="${like}"\\n`;
    return [`rm etc/os-release; printf '${text}' >etc/os-release`];
  }

  function told(name: string, hosts = first.hosts): ClientResult {
    const found = hosts.get(name);
    assert.ok(found, name);
    return found;
  }

  const pull = (name: string) =>
    client(name).run("docker", ["pull", "--quiet", `${site.registryName}/library/busybox:1.36`]);

  /** Neither packages nor half of them stay at a client. */
  async function assertNothingLeft(name: string): Promise<void> {
    const names = await readdir(join(client(name).root, "tmp"));
    assert.deepEqual(
      names.filter((one) => /^(drydock|tmp)\./.test(one)),
      [],
    );
  }

  it("docs/packages.md tells how the packages were collected", async () => {
    const docs = await readFile(join(import.meta.dirname, "../../docs/packages.md"), "utf8");
    assert.ok(docs.includes(`sh -c '${collect(wanted)}'`));
  });

  it("the plan, the bundle and its README say what is carried for whom", async () => {
    const hosts = new RegExp(`debian \\d+ ${architecture} +\\d+ files`);
    assert.match(bundle.stdout, hosts);
    assert.match((await drydock(["inspect", bundle.file])).stdout, hosts);
    const { stdout } = await run("tar", ["xOf", bundle.file, "README.txt"]);
    assert.match(stdout, /With --install-packages it installs Docker where it is missing, on debian \d+ /);
    const plan = await drydock(["trust", "--dry-run", "--install-packages", "a.lan"], { on: site });
    assert.match(
      plan.stdout,
      new RegExp(`Docker would be installed where it is missing, on\n +${hosts.source}`),
    );
  });

  it("install brings Docker to each host from the packages that fit it, and ends with 5", async () => {
    assert.equal(first.result.code, 5, first.result.stderr);
    const kinds = {
      deb: /^docker\.io 20/,
      rpm: /^docker-ce 20/,
      static: /^docker 20/,
      "without-systemd": /^docker\.io 20/,
    };
    for (const [name, docker] of Object.entries(kinds)) {
      const { status, proven, proof, installed } = told(name);
      assert.equal(proof, name === "without-systemd" ? "tls" : "engine", name);
      assert.deepEqual([status, proven], ["changed", true], name);
      assert.match(installed?.engine ?? "", /^\d+\.\d+\.\d+/, name);
      assert.ok(
        installed?.packages.some((one) => docker.test(one)),
        name,
      );
      await assertNothingLeft(name);
    }
  });

  for (const name of ["deb", "rpm", "static"]) {
    it(`${name}: the service runs, will start with the host, and its engine pulls from the site`, async () => {
      assert.equal(told(name).reason, undefined);
      const { stdout } = await client(name).run("systemctl", ["is-active", "docker"], { mayFail: true });
      assert.equal(stdout, "active\n");
      assert.equal((await client(name).run("systemctl", ["is-enabled", "docker"])).stdout, "enabled\n");
      assert.match((await client(name).run("getent", ["group", "docker"])).stdout, /^docker:/);
      await pull(name);
    });
  }

  it("without a service manager it says that nothing has started it; started by hand, it pulls", async () => {
    const { reason, hint } = told("without-systemd");
    assert.match(
      reason ?? "",
      /^Docker is installed, and no service manager has started it: systemd does not run/,
    );
    assert.match(hint ?? "", /Start dockerd there/);
    const start = "dockerd >/var/log/dockerd.log 2>&1 & until docker version; do sleep 0.1; done";
    await client("without-systemd").run("/bin/sh", ["-c", `${start} >/dev/null 2>&1`], { seconds: 60 });
    await pull("without-systemd");
  });

  it("a host that no set is for is told what it is, and what there is, and has the CA for other runtimes", async () => {
    const { status, reason, hint } = told("unknown");
    assert.equal(status, "failed");
    assert.match(
      reason ?? "",
      /^it has no Docker, and the site has no packages for alpine 3\.20\.1 \S+, only for debian \d+ .*; the CA is in place there$/,
    );
    const ca = join(client("unknown").root, "etc/docker/certs.d", site.registryName, "ca.crt");
    assert.match(await readFile(ca, "utf8"), /BEGIN CERTIFICATE/);
    assert.match(hint ?? "", /docs\/packages\.md/);
  });

  it("where it is installed nothing is sent, and nothing changes", async () => {
    const names = ["deb", "rpm", "static", "without-systemd"];
    const { result, hosts } = await trust(...names);
    assert.equal(result.code, 0, result.stdout);
    for (const name of names)
      assert.deepEqual([told(name, hosts).status, told(name, hosts).installed], ["ok", undefined]);
    await client("deb").run("systemctl", ["stop", "docker.socket", "docker.service"]);
    const { reason, hint } = told("deb", (await trust("deb")).hosts);
    assert.match(reason ?? "", /\/usr\/sbin\/dockerd is there, and does not run/);
    assert.match(hint ?? "", /systemctl enable --now docker/);
  });

  /** Before anything is installed there: nothing of Docker is there afterwards either. */
  async function assertRefused(name: string, wanted: RegExp): Promise<ClientResult> {
    const host = told(name, (await trust(name)).hosts);
    assert.equal(host.status, "failed");
    assert.match(host.reason ?? "", wanted);
    assert.equal((await client(name).run("which", ["dockerd"], { mayFail: true })).code, 1);
    await assertNothingLeft(name);
    return host;
  }

  it("nothing that is there is removed or upgraded for it", async () => {
    const { run: at, root } = await start("faults");
    const deb = async (name: string, architectureOf: string, fields = "") => {
      const control = `Package: ${name}\nVersion: 1.0\nArchitecture: ${architectureOf}\nMaintainer: lab\nDescription: lab\n${fields}`;
      await mkdir(join(root, `srv/${name}/DEBIAN`), { recursive: true });
      await writeFile(join(root, `srv/${name}/DEBIAN/control`), control);
      await at("/bin/sh", ["-c", `dpkg-deb -b /srv/${name} && dpkg -i /srv/${name}.deb`]);
    };
    await deb("podman-docker", "all", "Conflicts: docker.io\n");
    await deb("containerd", "all");
    const besides = /packages for debian \d+ \S+: apt-get would (remove podman-docker|upgrade containerd), /;
    await assertRefused("faults", besides);
    assert.match((await at("dpkg", ["-s", "podman-docker"])).stdout, /ok installed/);
    await at("dpkg", ["-P", "podman-docker"]);
    await deb("containerd", architecture);
    const { hint } = await assertRefused(
      "faults",
      /can not install them: docker\.io : Depends: containerd \(>= [^)]+\)/,
    );
    assert.match(hint ?? "", /^Nothing was installed there/);
    await at("dpkg", ["-P", "containerd"]);
  });

  it("a package that is damaged at the site is not used", async () => {
    const [release = ""] = await releaseFolders(site);
    const packages = join(site.siteDir, "releases", release, "packages");
    const debs = await debianPackages(...wanted);
    const [name = ""] = (await readdir(debs)).filter((one) => one.startsWith("iptables_"));
    const path = join(packages, digestOf(await readFile(join(debs, name))).slice("sha256:".length));
    const whole = await readFile(path);
    const damaged = Buffer.from(whole);
    damaged[1000] = (damaged[1000] ?? 0) ^ 1;
    await writeFile(path, damaged);
    const { hint } = await assertRefused("faults", /^send iptables_\S+: what arrived has another sha256/);
    assert.match(hint ?? "", /drydock status --deep/);
    await writeFile(path, whole);
  });

  it("a disk that is full there, and a connection that breaks while packages are sent", async () => {
    const at = client("faults").run;
    await at("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", "/tmp"]);
    await assertRefused("faults", /^send \S+: .*No space left on device/);
    await at("umount", ["/tmp"]);

    const script = [
      "exec 3<>/dev/tcp/$1/$2; setpriv --pdeathsig KILL cat <&3 & back=$!",
      // In the middle of the packages; dd would count what comes in pieces as whole blocks.
      "stdbuf -o0 head -c 5000000 >&3",
      "kill $back",
    ];
    await writeFile(join(site.folder, "cut.sh"), script.join("\n"));
    const cut = `-o ProxyCommand='bash ${join(site.folder, "cut.sh")} %h %p'`;
    const inventory = join(site.folder, "cut.yaml");
    const { address, keyFile } = client("faults");
    const host = {
      ansible_host: address,
      ansible_ssh_private_key_file: keyFile,
      ansible_ssh_common_args: cut,
    };
    await writeFile(
      inventory,
      stringify({ all: { vars: { ansible_user: "root" }, hosts: { faults: host } } }),
    );
    const { hosts } = await trustAll(inventory, "--allow-proxy-command");
    assert.match(told("faults", hosts).reason ?? "", /the connection broke/);
    await at("/bin/sh", ["-c", 'until [ -z "$(ls /tmp)" ]; do sleep 0.1; done'], { seconds: 60 });
  });

  it("Docker's tarball replaces and hides nothing", async () => {
    const { root, run: at } = client("static");
    await at("systemctl", ["disable", "--now", "docker"]);
    await at("/bin/sh", [
      "-c",
      "rm /usr/local/bin/dockerd; mv /usr/local/bin/runc /usr/bin/runc; echo >/usr/local/bin/docker",
    ]);
    const { reason } = told("static", (await trust("static")).hosts);
    assert.match(
      reason ?? "",
      /would be replaced or hidden: \/usr\/local\/bin\/docker \/usr\/bin\/runc; the CA is in place there$/,
    );
    assert.equal(await readFile(join(root, "usr/local/bin/docker"), "utf8"), "\n");
  });

  it("an installation that was killed is told of, and goes on", async () => {
    const { root } = client("faults");
    const hook = join(root, "etc/dpkg/dpkg.cfg.d/lab");
    // As soon as all is unpacked.
    await writeFile(hook, "post-invoke=pkill -9 -x apt-get\n");
    const killed = told("faults", (await trust("faults")).hosts);
    assert.equal(killed.status, "failed");
    assert.match(killed.reason ?? "", /^apt-get there ended with exit code 137/);
    assert.match(killed.hint ?? "", /`dpkg --configure -a`/);
    await assertNothingLeft("faults");
    assert.match(
      (await client("faults").run("dpkg", ["-s", "docker.io"])).stdout,
      /^Status: install ok unpacked$/m,
    );

    // dockerd is there, and is not taken for one that is installed.
    await rm(hook);
    const again = told("faults", (await trust("faults")).hosts);
    assert.equal(again.status, "changed", again.reason ?? "");
    assert.match(again.reason ?? "", /Docker is installed, and no service manager has started it/);
    assert.match(
      (await client("faults").run("dpkg", ["-s", "docker.io"])).stdout,
      /^Status: install ok installed$/m,
    );
  });
});
