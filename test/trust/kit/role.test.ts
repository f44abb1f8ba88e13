/** The role, run by Ansible itself against real sshds. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { parse } from "yaml";
import { silentReporter } from "../../../src/reporter.ts";
import { writeRole } from "../../../src/trust/kit/role.ts";
import { trust } from "../../../src/trust/trust.ts";
import { run } from "../../lab/process.ts";
import { makeKey, startSshd, type TestSshd } from "../../lab/sshd.ts";
import { withUsers } from "../../lab/users.ts";
import { type Certificates, makeCertificates } from "../tls-server.ts";

// One name, and the one with brackets: each costs Ansible a second in each folder of each host.
const addresses = ["fd00::1", "127.0.0.1"];
const port = 5000;
const name = "[fd00::1]:5000";
let folder: string;
let good: Certificates;
let other: Certificates;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-role-"));
  good = await makeCertificates(folder, "good", "DNS:registry.plant7.lan");
  other = await makeCertificates(folder, "other", "DNS:registry.plant7.lan");
});
after(() => rm(folder, { recursive: true }));

const write = (path: string, ca = good.ca, force = false) =>
  writeRole(path, { ca, addresses, port }, { force }, silentReporter);

describe("the role's folder", () => {
  it("is written anew, and renewed; no other folder is written into unasked", async () => {
    const path = join(folder, "roles/drydock_trust");
    const { files } = await write(path);
    assert.ok(files.includes("tasks/main.yml") && files.includes("files/ca.pem"));
    for (const file of files) {
      const text = await readFile(join(path, file), "utf8");
      assert.doesNotMatch(text, /@[A-Z_]+@|undefined/, file);
      if (file.endsWith(".yml")) parse(text);
    }
    assert.equal(await readFile(join(path, "files/ca.pem"), "utf8"), good.ca);
    await write(path, other.ca);
    assert.equal(await readFile(join(path, "files/ca.pem"), "utf8"), other.ca);

    const theirs = join(folder, "theirs");
    await mkdir(theirs);
    await write(theirs);
    const used = join(folder, "used");
    await mkdir(used);
    await writeFile(join(used, "README.md"), "mine");
    await assert.rejects(write(used), { kind: "usage", message: /holds something else/, hint: /--force/ });
    assert.deepEqual(await readdir(used), ["README.md"]);
    await write(used, good.ca, true);
    await assert.rejects(write(join(used, "README.md")), { kind: "usage", message: /is no folder/ });
    await assert.rejects(write(join(folder, "new"), good.certificate), /is not an authority/);
  });
});

describe("the role, run by Ansible", { timeout: 600_000 }, () => {
  const hosts: TestSshd[] = [];
  let role: string;
  let untouched: string;

  before(async () => {
    role = join(folder, "role");
    await write(role);
    const authorizedKey = await makeKey(join(folder, "id"));
    const start = async (name: string, run: string[]) => {
      await mkdir(join(folder, name));
      // A shell that reads none of this machine's own settings.
      const users = withUsers({ name: "root", shell: "/bin/sh" });
      return await startSshd({ folder: join(folder, name), authorizedKey, run: [...users, ...run] });
    };
    const containerd = [
      "mkdir -p /etc/containerd",
      `printf '%s\\n' 'version = 2' '[plugins."io.containerd.grpc.v1.cri".registry]' '  config_path = "/etc/containerd/certs.d"' >/etc/containerd/config.toml`,
    ];
    hosts.push(await start("one", containerd));
    hosts.push(await start("two", ["rm -rf /etc/containers"]));
    const lines = hosts.map(
      ({ address, port }, index) => `h${index} ansible_host=${address} ansible_port=${port}`,
    );
    await writeFile(join(folder, "hosts.ini"), `${lines.join("\n")}\n`);
    await writeFile(join(folder, "known_hosts"), hosts.map(({ hostKeyLine }) => `${hostKeyLine}\n`).join(""));
    const settings = [
      "[defaults]",
      "inventory = hosts.ini",
      "interpreter_python = /usr/bin/python3",
      "remote_user = root",
      `private_key_file = ${join(folder, "id")}`,
      "[ssh_connection]",
      `ssh_args = -F none -o UserKnownHostsFile=${join(folder, "known_hosts")} -o ControlMaster=auto -o ControlPersist=60s`,
      `control_path_dir = ${join(folder, "control")}`,
      "pipelining = true",
      // The lab's sshd has no sftp.
      "transfer_method = piped",
      "",
    ];
    await writeFile(join(folder, "ansible.cfg"), settings.join("\n"));
    untouched = await tree();
  });
  after(async () => {
    for (const host of hosts) await host.stop();
  });

  /** @returns what it said. Into a file, since the connections that it leaves behind would hold a pipe open. */
  async function play(...args: string[]): Promise<string> {
    const log = join(folder, "ansible.log");
    const words = ["-c", 'exec ansible-playbook "$@" >"$0" 2>&1', log, join(role, "playbook.yml"), ...args];
    const settings = { ANSIBLE_CONFIG: join(folder, "ansible.cfg"), LC_ALL: "C.UTF-8" };
    await run("sh", words, {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, ...settings },
      mayFail: true,
    });
    return await readFile(log, "utf8");
  }

  /** host → how many tasks changed something, failed */
  function recap(said: string): Record<string, [changed: number, failed: number]> {
    const found = [...said.matchAll(/^(h\d) +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)/gm)];
    assert.notEqual(found.length, 0, said);
    return Object.fromEntries(
      found.map(([, host, changed, failed]) => [host, [Number(changed), Number(failed)]]),
    );
  }

  const etc = (index: number, path: string) => `/proc/${hosts[index]?.pid}/root/etc/${path}`;
  const tree = async () => {
    const roots = [0, 1].flatMap((index) =>
      ["docker", "containers", "containerd"].map((name) => etc(index, name)),
    );
    const { stdout } = await run("find", [...roots, "-printf", "%M %u %p %l %s\\n"], { mayFail: true });
    return stdout;
  };

  it("changes nothing with --check", async () => {
    const check = await play("--check", "--diff", "--limit", "h0");
    assert.deepEqual(recap(check), { h0: [2, 0] });
    assert.match(check, /^\+-----BEGIN CERTIFICATE-----$/m);
    assert.equal(await tree(), untouched);
  });

  it("puts the CA where each runtime looks, beside other people's files, and refuses a link", async () => {
    const theirs = etc(0, `docker/certs.d/${name}`);
    await mkdir(theirs, { recursive: true });
    await writeFile(join(theirs, "ca.crt"), other.ca);
    await symlink("/tmp", etc(1, "docker/certs.d"));
    const said = await play();
    assert.deepEqual(recap(said), { h0: [2, 0], h1: [0, 1] });
    assert.match(said, /\/etc\/docker\/certs\.d is a symbolic link/);
    for (const base of ["docker", "containers", "containerd"]) {
      const certs = etc(0, `${base}/certs.d`);
      assert.deepEqual(await readdir(certs), [name]);
      const file = join(certs, name, base === "docker" ? "drydock-ca.crt" : "ca.crt");
      const { mode, uid } = await stat(file);
      assert.deepEqual([mode & 0o7777, uid], [0o644, 0]);
      const text = await readFile(file, "utf8");
      assert.ok(/^# Written by drydock/.test(text) && text.endsWith(`--remove\n${good.ca}`), file);
    }
    assert.equal(await readFile(join(theirs, "ca.crt"), "utf8"), other.ca);
    assert.match(await readFile(etc(0, `containerd/certs.d/${name}/hosts.toml`), "utf8"), /^ca = /m);
  });

  it("keeps the CA before beside a new one until it is told not to; a second run changes nothing", async () => {
    await rm(etc(1, "docker/certs.d"));
    await write(role, other.ca);
    assert.deepEqual(recap(await play()), { h0: [1, 0], h1: [2, 0] });
    const file = etc(0, `containers/certs.d/${name}/ca.crt`);
    assert.ok((await readFile(file, "utf8")).endsWith(`--remove\n${other.ca}${good.ca}`));
    await assert.rejects(stat(etc(1, "containers")));
    assert.deepEqual(await readdir(etc(1, "docker/certs.d")), [name]);
    const before = await tree();
    assert.deepEqual(recap(await play()), { h0: [0, 0], h1: [0, 0] });
    assert.equal(await tree(), before);
    assert.deepEqual(recap(await play("-e", "drydock_remove_old=true", "--limit", "h0")), { h0: [1, 0] });
    assert.ok((await readFile(file, "utf8")).endsWith(`--remove\n${other.ca}`));
  });

  it("writes what drydock itself would over SSH", async () => {
    const [host] = hosts;
    assert.ok(host);
    const client = { name: "h0", host: host.address, port: host.port, user: "root", where: "hosts.ini:1" };
    const [result] = await trust(
      [{ ...client, keyFile: join(folder, "id") }],
      {
        ...{ ca: other.ca, addresses, port, prove: "none", stores: ["docker", "containers", "containerd"] },
        ...{
          knownHostsFile: join(folder, "known_hosts"),
          acceptNewHostKeys: false,
          agent: "",
          sshConfigFile: "none",
        },
      },
      silentReporter,
    );
    assert.equal(result?.status, "ok", `${result?.reason}`);
  });

  it("takes away its own and nothing else", async () => {
    assert.deepEqual(recap(await play("-e", "drydock_state=absent")), { h0: [2, 0], h1: [2, 0] });
    assert.deepEqual(await readdir(etc(0, "docker/certs.d")), [name]);
    assert.deepEqual(await readdir(etc(0, `docker/certs.d/${name}`)), ["ca.crt"]);
    await rm(etc(0, "docker/certs.d"), { recursive: true });
    assert.equal(await tree(), untouched);
  });

  it("uses no certificate but its own", async () => {
    await writeFile(join(role, "files/ca.pem"), good.ca);
    const said = await play();
    assert.deepEqual(recap(said), { h0: [0, 1], h1: [0, 1] });
    assert.match(said, /another SHA-256/);
    assert.equal(await tree(), untouched);
  });
});
