/**
 * The kit's script on Linux, as a host without SSH has it: a real Docker engine, Podman and skopeo, which pull from a
 * real registry before, after, and not any more.
 */
import assert from "node:assert/strict";
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeKeys, type SiteClient, startClient } from "../../lab/clients.ts";
import { makeNetns } from "../../lab/netns.ts";
import type { RunResult } from "../../lab/process.ts";
import { makeBusyboxImage } from "../../lab/real-images.ts";
import { startRegistry } from "../../lab/registry.ts";
import { pushNamed } from "../../lab/upstream.ts";
import { type Certificates, makeCertificates } from "../tls-server.ts";
import { unpackedKit } from "./unpacked.ts";

const name = "registry.plant7.lan";
const address = "198.18.19.10";
const addresses = [name, address, "127.0.0.1"];
const image = "library/busybox:1.36";

describe("the kit on Linux", { timeout: 300_000 }, () => {
  const parts = new AsyncDisposableStack();
  let folder: string;
  let good: Certificates;
  let other: Certificates;
  let docker: SiteClient;
  let podman: SiteClient;
  let kit: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "drydock-kit-linux-"));
    parts.defer(() => rm(folder, { recursive: true }));
    await chmod(folder, 0o755);
    good = await makeCertificates(folder, "good", `DNS:${name},IP:${address}`);
    other = await makeCertificates(folder, "other", `DNS:${name}`);
    kit = await unpackedKit(join(folder, "kit"), { ca: good.ca, addresses, port: 443 });

    const open = await startRegistry({ folder });
    await pushNamed(open.host, image, await makeBusyboxImage());
    await open.stop();
    const netns = await makeNetns("kit", [address, "198.18.19.21", "198.18.19.22"]);
    parts.defer(netns.delete);
    const tls = { certificate: join(folder, "good-pem"), key: join(folder, "good-key") };
    const served = { folder, netns: netns.name, storage: open.storage, address, port: 443, tls };
    const registry = await startRegistry(served);
    parts.defer(registry.stop);
    const keys = await makeKeys(join(folder, "keys"));
    const start = async (engine: "docker" | "podman", at: string) => {
      const client = await startClient({
        ...{ folder: join(folder, engine), name: engine, netns: netns.name, address: at, engine },
        ...{ keyFile: keys.file, authorizedKey: keys.ours, hosts: [`${address} ${name}`] },
      });
      parts.defer(client.stop);
      return client;
    };
    [docker, podman] = await Promise.all([start("docker", "198.18.19.21"), start("podman", "198.18.19.22")]);
  });
  after(() => parts.disposeAsync());

  const script = (client: SiteClient, words: string[], shell: readonly string[] = ["sh"], at = kit) => {
    const [program = "", ...args] = shell;
    return client.run(program, [...args, join(at, "linux.sh"), ...words], { cwd: "/", mayFail: true });
  };

  /** What is below these folders of the client, and what links and files hold. */
  async function tree(client: SiteClient, ...folders: string[]): Promise<string> {
    const lines =
      'find "$@" -printf "%M %u:%g %p %l\\n" | sort; find "$@" -type f -exec sha256sum {} + | sort -k 2';
    const { stdout } = await client.run("sh", ["-c", lines, "sh", ...folders], { cwd: "/", mayFail: true });
    return stdout;
  }

  const pull = (client: SiteClient, program: "docker" | "podman", host: string) =>
    client.run(program, ["pull", "--quiet", `${host}/${image}`], { cwd: "/", mayFail: true });
  const inspect = (client: SiteClient, host: string) =>
    client.run("skopeo", ["inspect", "--raw", `docker://${host}/${image}`], { cwd: "/", mayFail: true });

  const hosts = [name, `${name}:443`, address, `${address}:443`];
  const assertUnknown = (result: RunResult) => {
    assert.notEqual(result.code, 0);
    assert.match(result.stderr, /x509: certificate signed by unknown authority/);
  };
  const assertDone = (result: RunResult) => assert.equal(result.code, 0, result.stdout + result.stderr);

  it("lets Docker pull, by each name, until it is taken away again", async () => {
    const places = ["/etc/docker", "/etc/containers"];
    const before = await tree(docker, ...places);
    assertUnknown(await pull(docker, "docker", name));
    const check = await script(docker, ["check"]);
    assert.equal(check.code, 1);
    assert.match(check.stdout, /^missing {4}\/etc\/docker\/certs\.d\/registry\.plant7\.lan$/m);
    assert.equal(await tree(docker, ...places), before);

    const first = await script(docker, ["install"]);
    assertDone(first);
    for (const host of [name, address]) {
      assert.match(
        first.stdout,
        new RegExp(`^reached {4}https://${host}:443: its certificate is right$`, "m"),
      );
    }
    for (const host of hosts) assertDone(await pull(docker, "docker", host));
    const file = join(docker.etcDocker, "certs.d", name, "ca.crt");
    const { mode, uid, mtimeNs } = await stat(file, { bigint: true });
    assert.deepEqual([mode & 0o7777n, uid], [0o644n, 0n]);
    const installed = await tree(docker, ...places);
    const again = await script(docker, ["install"]);
    assertDone(again);
    assert.doesNotMatch(again.stdout, /^installed/m);
    assert.equal((await stat(file, { bigint: true })).mtimeNs, mtimeNs);
    assertDone(await script(docker, ["check"]));

    assertDone(await script(docker, ["remove"]));
    assert.equal(await tree(docker, ...places), before);
    assertUnknown(await pull(docker, "docker", address));
    assert.match(installed, /certs\.d\/198\.18\.19\.10:443\/ca\.crt/);
  });

  for (const shell of [["dash"], ["bash"], ["busybox", "sh"]]) {
    it(`lets Podman and skopeo pull, until it is taken away again, in ${shell.join(" ")}`, async () => {
      const before = await tree(podman, "/etc/docker", "/etc/containers");
      assertUnknown(await inspect(podman, address));
      assertDone(await script(podman, ["install"], shell));
      for (const host of hosts) assertDone(await inspect(podman, host));
      if (shell[0] === "dash") assertDone(await pull(podman, "podman", name));
      assertDone(await script(podman, ["remove"], shell));
      assert.equal(await tree(podman, "/etc/docker", "/etc/containers"), before);
      assertUnknown(await inspect(podman, name));
    });
  }

  it("writes beside somebody else's certificates, and leaves them", async () => {
    const theirs = `/etc/containers/certs.d/${name}`;
    await podman.run("sh", ["-c", `mkdir -p ${theirs}; cat >${theirs}/ca.crt`], { input: other.ca });
    const before = await tree(podman, "/etc/containers");
    assertDone(await script(podman, ["install"]));
    assert.match(await tree(podman, theirs), /drydock-ca\.crt/);
    assertDone(await inspect(podman, name));
    assertDone(await script(podman, ["remove"]));
    assert.equal(await tree(podman, "/etc/containers"), before);

    await podman.run("sh", ["-c", `cat >${theirs}/ca.crt`], { input: `${other.ca}${good.ca}` });
    const held = await tree(podman, "/etc/containers");
    const ok = await script(podman, ["install"]);
    assert.match(
      ok.stdout,
      /^ok {9}\/etc\/containers\/certs\.d\/registry\.plant7\.lan: there, and not drydock's$/m,
    );
    const left = await script(podman, ["remove"]);
    assert.match(left.stdout, /^left {7}\/etc\/containers\/certs\.d\/registry\.plant7\.lan/m);
    assert.equal(await tree(podman, "/etc/containers"), held);
    await podman.run("rm", ["-r", "/etc/containers/certs.d"]);
  });

  it("writes nothing where the way there is another's, and does the rest", async () => {
    const elsewhere = join(folder, "elsewhere");
    await mkdir(elsewhere);
    await podman.run("ln", ["-s", elsewhere, "/etc/containers/certs.d"]);
    await podman.run("sh", ["-c", "mkdir /etc/docker/certs.d; chown 4711 /etc/docker/certs.d"]);
    const refused = await script(podman, ["install"]);
    assert.equal(refused.code, 9);
    assert.match(
      refused.stderr,
      /^PROBLEM {4}\/etc\/containers\/certs\.d is a symbolic link: nothing is written there$/m,
    );
    assert.match(
      refused.stderr,
      /^PROBLEM {4}\/etc\/docker\/certs\.d does not belong to root: nothing is written there$/m,
    );
    assert.deepEqual(await readdir(elsewhere), []);
    await podman.run("rm", ["/etc/containers/certs.d"]);
    assert.equal((await script(podman, ["install"])).code, 9);
    assertDone(await inspect(podman, name));
    await podman.run("rmdir", ["/etc/docker/certs.d"]);
    assertDone(await script(podman, ["remove"]));
  });

  it("tells of a full disk, and leaves no partial file", async () => {
    await podman.run("sh", ["-c", "mount -t tmpfs -o size=16k,mode=755 tmpfs /etc/docker"]);
    await podman.run("dd", ["if=/dev/zero", "of=/etc/docker/fill", "bs=4k", "count=3"]);
    const full = await script(podman, ["install"]);
    assert.equal(full.code, 9);
    assert.match(full.stderr, /^PROBLEM {4}write \/etc\/docker\/certs\.d\/.*No space left on device/m);
    const { stdout } = await podman.run("find", [
      "/etc/docker",
      "-type",
      "f",
      "-name",
      "*ca.crt*",
      "-printf",
      "%f %s\\n",
    ]);
    for (const line of stdout.trim().split("\n")) assert.match(line, /^(ca\.crt [1-9]\d\d+)?$/);
    await podman.run("umount", ["/etc/docker"]);
    assertDone(await script(podman, ["remove"]));
  });

  it("writes hosts.toml where containerd's config_path is set, and else says what to do", async () => {
    const config = "/etc/containerd/config.toml";
    await podman.run("mkdir", ["-p", "/etc/containerd"]);
    await podman.run("sh", ["-c", `cat >${config}`], { input: 'version = 2\n# config_path = "/no"\n' });
    const without = await script(podman, ["install"]);
    assert.match(without.stdout, /^note {7}containerd has no config_path/m);
    const set =
      'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d:/x"\n';
    await podman.run("sh", ["-c", `cat >${config}`], { input: set });
    const before = await tree(podman, "/etc/containerd");
    assertDone(await script(podman, ["install"]));
    assertDone(await script(podman, ["check"]));
    const { stdout } = await podman.run("cat", [`/etc/containerd/certs.d/${name}:443/hosts.toml`]);
    assert.match(stdout, /^server = "https:\/\/registry\.plant7\.lan:443"\nca = /m);
    assert.match(stdout, /^\[host\."https:\/\/registry\.plant7\.lan:443"\]\n.*\n +ca = /m);
    assertDone(await script(podman, ["remove"]));
    assert.equal(await tree(podman, "/etc/containerd"), before);
  });

  it("goes into the system's own store only when asked, and out of it again", async () => {
    const curl = (client: SiteClient) =>
      client.run("curl", ["-sS", `https://${name}/v2/`], { cwd: "/", mayFail: true });
    // What is below /usr is this machine's own.
    const store = "/usr/local/share/ca-certificates";
    await podman.run("mount", ["-t", "tmpfs", "-o", "mode=755", "tmpfs", store]);
    assertDone(await script(podman, ["install"]));
    assert.notEqual((await curl(podman)).code, 0);
    assertDone(await script(podman, ["install", "--system"]));
    assertDone(await curl(podman));
    assertDone(await script(podman, ["remove", "--system"]));
    assert.notEqual((await curl(podman)).code, 0);
    assert.equal((await podman.run("ls", ["-A", store])).stdout, "");
    assert.doesNotMatch((await podman.run("ls", ["/etc/ssl/certs"])).stdout, /drydock/);
    await podman.run("umount", [store]);
  });

  it("without root, is for that user's own Docker and Podman", async () => {
    const home = join(folder, "user");
    await mkdir(join(home, ".config/docker"), { recursive: true });
    for (const path of [home, join(home, ".config"), join(home, ".config/docker")])
      await chown(path, 4711, 4711);
    // skopeo would look for logins below the runtime folder.
    const user = [
      "--reuid=4711",
      "--regid=4711",
      "--clear-groups",
      "env",
      `HOME=${home}`,
      `XDG_RUNTIME_DIR=${home}`,
    ];
    const asUser = (...words: string[]) =>
      podman.run("setpriv", [...user, ...words], { cwd: "/", mayFail: true });
    const linux = (...words: string[]) => asUser("sh", join(kit, "linux.sh"), ...words);
    const inspected = () => asUser("skopeo", "inspect", "--raw", `docker://${name}/${image}`);
    assertUnknown(await inspected());
    assertDone(await linux("install"));
    assertDone(await inspected());
    const own = await readFile(join(home, ".config/docker/certs.d", name, "ca.crt"), "utf8");
    assert.ok(own.endsWith(good.ca));
    assert.equal((await linux("install", "--system")).code, 2);
    assertDone(await linux("remove"));
    assert.deepEqual(await readdir(join(home, ".config")), ["docker"]);
    assert.deepEqual(await readdir(join(home, ".config/docker")), []);

    // Where root has done it for all, a folder of the user's own would hide that.
    assertDone(await script(podman, ["install"]));
    const covered = await linux("install");
    assertDone(covered);
    assert.match(covered.stdout, /^ok {9}registry\.plant7\.lan: Podman has it from the machine's folders$/m);
    assert.deepEqual(await readdir(join(home, ".config")), ["docker"]);
    assertDone(await inspected());
    assertDone(await script(podman, ["remove"]));
  });

  it("uses no certificate but the kit's", async () => {
    const at = await unpackedKit(join(folder, "changed"), { ca: good.ca, addresses, port: 443 });
    await writeFile(join(at, "ca.pem"), other.ca);
    const before = await tree(podman, "/etc/docker", "/etc/containers");
    const wrong = await script(podman, ["install"], ["sh"], at);
    assert.equal(wrong.code, 4);
    assert.match(wrong.stderr, /not the certificate that this kit was made with/);
    assert.equal(await tree(podman, "/etc/docker", "/etc/containers"), before);
  });
});
