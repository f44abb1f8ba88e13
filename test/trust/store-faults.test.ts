/** What goes wrong while stores are written, at real sshds: nothing half-made stays, and the next run completes it. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { silentReporter } from "../../src/reporter.ts";
import type { Client, ClientResult } from "../../src/trust/client.ts";
import { removeTrust, type TrustOptions, trust } from "../../src/trust/trust.ts";
import { withContainerd } from "../lab/containerd.ts";
import { makeKey, type SshdOptions, startSshd, type TestSshd } from "../lab/sshd.ts";
import { withSudoers, withUsers } from "../lab/users.ts";
import { type Certificates, makeCertificates } from "./tls-server.ts";

const reference = "registry.plant7.lan:5000";
const folders = [`docker/certs.d/${reference}`, `containers/certs.d/${reference}`];
let folder: string;
let authorizedKey: string;
let one: Certificates;
let two: Certificates;
let count = 0;
const parts = new AsyncDisposableStack();

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-faults-"));
  parts.defer(() => rm(folder, { recursive: true, force: true }));
  authorizedKey = await makeKey(join(folder, "id"));
  one = await makeCertificates(folder, "one", "DNS:registry.plant7.lan");
  two = await makeCertificates(folder, "two", "DNS:registry.plant7.lan");
});
after(() => parts.disposeAsync());

interface Host extends TestSshd {
  client: Client;
  /** Runs shell lines as root at the host. */
  sh(script: string): Promise<string>;
}

async function startHost(run: string[] = [], options: Partial<SshdOptions> = {}): Promise<Host> {
  count += 1;
  const own = join(folder, `host-${count}`);
  await mkdir(own);
  const sshd = await startSshd({ folder: own, authorizedKey, run, ...options });
  parts.defer(sshd.stop);
  await writeFile(join(folder, "known_hosts"), `${sshd.hostKeyLine}\n`, { flag: "a" });
  const sh = async (script: string) => {
    const enter = ["-t", String(sshd.pid), "-m", "-p", "sh", "-c", script];
    return (await promisify(execFile)("nsenter", enter)).stdout;
  };
  return { ...sshd, sh, client: clientAt(sshd.port) };
}

function clientAt(port: number): Client {
  return { name: "c", host: "127.0.0.1", port, user: "root", keyFile: join(folder, "id"), where: "c:1" };
}

async function work(
  client: Client,
  changes: Partial<TrustOptions> = {},
  verb = trust,
): Promise<ClientResult> {
  const options: TrustOptions = {
    ...{ ca: one.ca, addresses: ["registry.plant7.lan"], port: 5000, prove: "none" },
    ...{
      knownHostsFile: join(folder, "known_hosts"),
      acceptNewHostKeys: false,
      agent: "",
      timeoutMs: 60_000,
    },
    ...changes,
  };
  const [result] = await verb([client], options, silentReporter);
  assert.ok(result !== undefined);
  return result;
}

/** Whatever is in the runtimes' directories, besides what the host's packages brought. */
async function files(host: Host): Promise<string[]> {
  const script =
    "cd /etc && find docker containers containerd rancher -path '*certs.d*' -o -name '*drydock*' || :";
  return (await host.sh(`${script} 2>/dev/null`))
    .split("\n")
    .filter((path) => path !== "")
    .sort();
}

const whole = folders.flatMap((path) => [path.replace(/\/[^/]*$/, ""), path, `${path}/ca.crt`]).sort();

async function assertWhole(host: Host): Promise<void> {
  assert.deepEqual(await files(host), whole);
  for (const path of folders) assert.ok((await host.sh(`cat '/etc/${path}/ca.crt'`)).endsWith(one.ca));
}

describe("a client's disk", () => {
  it("that is full gets nothing at all, not even of what would fit, and all of it when there is room", async () => {
    const kept = "passwd group shadow hosts nsswitch.conf";
    const host = await startHost([
      "mkdir /run/small; mount -t tmpfs -o size=64k,mode=755 tmpfs /run/small",
      `cd /etc; cp -a ${kept} /run/small; mkdir /run/small/docker /run/small/containers; cd /`,
      "mount --bind /run/small /etc",
      // Room for one of the two files.
      "dd if=/dev/zero of=/etc/filler bs=4k count=100 2>/dev/null || :; truncate -s -4096 /etc/filler",
    ]);
    const failed = await work(host.client);
    assert.equal(failed.status, "failed");
    assert.match(failed.reason ?? "", /^write \/etc\/containers\/certs\.d\/.*No space left on device/);
    assert.deepEqual(await files(host), []);
    await host.sh("rm /etc/filler");
    assert.equal((await work(host.client)).status, "changed");
    await assertWhole(host);
  });

  it("that is read-only is named", async () => {
    const host = await startHost(["mount -o remount,ro,bind /etc"]);
    // The lab mounts /etc/docker by itself.
    await host.sh("mount -o remount,ro,bind /etc/docker");
    const failed = await work(host.client);
    assert.deepEqual([failed.status, failed.reason?.split(":").at(-1)], ["failed", " Read-only file system"]);
    assert.deepEqual(await files(host), []);
    await host.sh("mount -o remount,rw,bind /etc; mount -o remount,rw,bind /etc/docker");
    assert.equal((await work(host.client)).status, "changed");
  });
});

describe("a connection", () => {
  it("that breaks anywhere leaves whole files or none, and a rerun completes them", async () => {
    const host = await startHost();
    const line = await startLine(host.port);
    const through = clientAt(line.port);
    await writeFile(
      join(folder, "known_hosts"),
      `[127.0.0.1]:${line.port} ${host.hostKeyLine.split(" ").slice(1).join(" ")}\n`,
      { flag: "a" },
    );
    assert.equal((await work(through)).status, "changed");
    const total = line.sent();
    await work(through, {}, removeTrust);
    for (const left of [6000, 3000, 1500, 600, 100]) {
      line.cutAfter(total - left);
      const broken = await work(through);
      line.cutAfter(Number.POSITIVE_INFINITY);
      if (broken.status !== "changed")
        assert.match(broken.reason ?? "", /connection|broke|closed|reset/i, `${left}`);
      await host.sh("while pgrep -f [d]rydock: >/dev/null; do sleep 0.05; done");
      const there = await files(host);
      if (there.length > 0) await assertWhole(host);
      assert.equal((await work(through)).status, there.length > 0 ? "ok" : "changed");
      await assertWhole(host);
      await work(through, {}, removeTrust);
      assert.deepEqual(await files(host), []);
    }
  });

  it("whose other end is killed between writing and naming: the next run clears it away", async () => {
    const host = await startHost([
      "printf '#!/bin/sh\\nexec sleep 600\\n' >$FOLDER/slow; chmod 755 $FOLDER/slow; mount --bind $FOLDER/slow /usr/bin/sync",
    ]);
    const late = await work(host.client, { timeoutMs: 3000 });
    assert.equal(late.status, "failed");
    await host.sh("kill -9 $(pgrep -f [d]rydock:) $(pgrep -x sleep); umount /usr/bin/sync");
    const left = (await files(host)).filter((path) => path.endsWith(".drydock"));
    assert.deepEqual(left, folders.map((path) => `${path}/.ca.crt.drydock`).sort());
    assert.equal((await work(host.client)).status, "changed");
    await assertWhole(host);
    await host.sh(
      `touch '/etc/${folders[0]}/.drydock-ca.crt.drydock' /etc/containers/registries.conf.d/.x.conf.drydock-before`,
    );
    assert.equal((await work(host.client)).status, "changed");
    await assertWhole(host);
    assert.equal((await work(host.client)).status, "ok");
  });
});

/** Passes on to a port, so many bytes. */
async function startLine(
  target: number,
): Promise<{ port: number; sent(): number; cutAfter(bytes: number): void }> {
  let [sent, most] = [0, Number.POSITIVE_INFINITY];
  const server: Server = createServer((from) => {
    sent = 0;
    const to = connect(target, "127.0.0.1");
    for (const socket of [from, to]) socket.on("error", () => undefined);
    from.on("data", (chunk: Buffer) => {
      const room = Math.max(0, most - sent);
      sent += chunk.length;
      to.write(chunk.subarray(0, room));
      if (sent <= most) return;
      from.destroy();
      to.end();
    });
    to.pipe(from);
    from.on("end", () => to.end());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  parts.defer(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    sent: () => sent,
    cutAfter: (bytes) => {
      most = bytes;
    },
  };
}

describe("a client's files", () => {
  it("may be as odd as they like", async () => {
    const host = await startHost();
    const odd = `/etc/${folders[0]}`;
    await host.sh(
      [
        `mkdir -p '${odd}' && cd '${odd}'`,
        "mkfifo pipe.crt; truncate -s 200M huge.crt; head -c 9000 /dev/urandom >junk.crt; mkdir ca.crt",
        "touch 'a b.crt' '*.crt' \"$(printf 'x\\ny.crt')\" '$(id).crt' '-n.crt' 'q\"uote.crt' '\\\\.crt' 'ü.crt'",
        "ln -s /etc/shadow link.crt; mknod device.crt c 1 5; chmod 000 junk.crt",
        `mkdir '/etc/containers/certs.d' '/etc/containers/certs.d/x y' '/etc/containers/certs.d/*'`,
      ].join("; "),
    );
    const before = await host.sh(`ls -lab '${odd}'; cat /etc/shadow | sha256sum`);
    const done = await work(host.client);
    assert.deepEqual([done.status, done.reason], ["changed", undefined]);
    assert.ok((await host.sh(`cat '${odd}/drydock-ca.crt'`)).endsWith(one.ca));
    assert.equal((await work(host.client)).status, "ok");
    assert.equal((await work(host.client, {}, removeTrust)).status, "changed");
    const same = (text: string) => text.split("\n").filter((line) => !/ \.$/.test(line));
    assert.deepEqual(same(await host.sh(`ls -lab '${odd}'; cat /etc/shadow | sha256sum`)), same(before));
  });

  it("may be too many", async () => {
    const host = await startHost();
    await host.sh(
      `mkdir -p '/etc/${folders[0]}' && cd '/etc/${folders[0]}' && seq -f %0200.0f.crt 3000 | xargs touch`,
    );
    const failed = await work(host.client);
    assert.deepEqual([failed.status, failed.reason], ["failed", "what it told of its files is not whole"]);
  });

  it("that are right need no rights; what is closed to the user root looks at", async () => {
    const users = [
      ...withUsers({ name: "ops" }, { name: "dev", uid: 4712 }),
      ...withSudoers("ops ALL=(root) NOPASSWD: ALL"),
    ];
    const host = await startHost(users);
    const dev = { ...host.client, user: "dev" };
    assert.match((await work(dev)).reason ?? "", /^"dev" is not in the sudoers file|password is required/);
    assert.equal((await work({ ...host.client, user: "ops" })).status, "changed");
    assert.equal((await work(dev)).status, "ok");
    await host.sh("chmod 700 /etc/docker");
    assert.equal((await work({ ...host.client, user: "ops" })).status, "ok");
    assert.equal((await work(dev)).status, "refused");
  });

  it("of a rootless Docker are the user's own, and need no root", async () => {
    const host = await startHost([
      "mkdir -p $FOLDER/home/.config/systemd/user; touch $FOLDER/home/.config/systemd/user/docker.service",
      "chown -R 4711:4711 $FOLDER/home; mkdir /run/home; mount --bind $FOLDER/home /run/home",
      ...withUsers({ name: "ops", home: "/run/home" }),
    ]);
    const client = { ...host.client, user: "ops", become: false };
    const done = await work(client);
    assert.deepEqual([done.status, done.reason], ["changed", undefined]);
    const file = `/run/home/.config/docker/certs.d/${reference}/ca.crt`;
    assert.equal(await host.sh(`stat -c '%u %g %a' '${file}'`), "4711 4711 644\n");
    assert.deepEqual(await files(host), []);
    assert.equal((await work(client)).status, "ok");
    assert.equal((await work(client, {}, removeTrust)).status, "changed");
    assert.equal(await host.sh("ls /run/home/.config"), "systemd\n");
  });
});

describe("what comes after a change", () => {
  it("gets the old files back where it fails, and is done again with them", async () => {
    const host = await startHost([
      ...withContainerd,
      // Stands in for a containerd that does not take its new configuration.
      "printf '#!/bin/sh\\ngrep -q config_path /etc/containerd/config.toml && { echo no good >&2; exit 1; }; echo >>/run/restarted\\n' >/etc/init.d/containerd",
      "for f in /usr/sbin/dockerd; do mount --bind /dev/null $f; done",
    ]);
    const before = await host.sh("cat /etc/containerd/config.toml");
    const stores = ["containerd"] as const;
    const failed = await work(host.client, { stores, restartRuntimes: true });
    assert.deepEqual([failed.status, failed.reason], ["failed", "restart containerd: no good"]);
    assert.equal(
      await host.sh("cat /etc/containerd/config.toml; ls -A /etc/containerd"),
      `${before}config.toml\n`,
    );
    assert.equal(await host.sh("cat /run/restarted"), "\n");
    const waits = await work(host.client, { stores });
    assert.match(waits.reason ?? "", /reads no certs\.d there/);
    assert.equal(waits.status, "changed");
  });

  it("makes the system's own programs trust the CA where that is asked for, until it is taken away", async () => {
    await makeCertificates(folder, "other", "DNS:elsewhere.lan");
    const host = await startHost([
      "mkdir $FOLDER/local $FOLDER/few; mount --bind $FOLDER/local /usr/local/share/ca-certificates",
      // With a hundred others, and what other packages do then, it takes some seconds each time.
      "mkdir -p /etc/ca-certificates/update.d; mount --bind $FOLDER/few /etc/ca-certificates/update.d",
      `cp ${join(folder, "other-ca.pem")} $FOLDER/local/plant.crt`,
      "mount --bind $FOLDER/few /usr/share/ca-certificates; : >/etc/ca-certificates.conf; update-ca-certificates --fresh",
    ]);
    const verify = (name: string) =>
      host.sh(
        `openssl verify -CApath /etc/ssl/certs '${join(folder, name)}' && openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt '${join(folder, name)}'`,
      );
    const ours =
      "find /usr/local/share/ca-certificates /etc/ssl/certs -name '*drydock*' -o -lname '*drydock*'";
    assert.equal((await work(host.client)).status, "changed");
    await assert.rejects(verify("one-pem"), /unable to get local issuer/);
    const stores = ["system"] as const;
    assert.equal((await work(host.client, { stores })).status, "changed");
    await verify("one-pem");
    assert.equal((await work(host.client, { stores })).status, "ok");
    assert.equal((await work(host.client, { stores, ca: two.ca })).status, "changed");
    await verify("one-pem");
    await verify("two-pem");
    assert.equal((await work(host.client, { stores, ca: two.ca, removeOld: true })).status, "changed");
    await assert.rejects(verify("one-pem"));
    await verify("two-pem");
    assert.equal((await work(host.client, { ca: two.ca }, removeTrust)).status, "changed");
    await assert.rejects(verify("two-pem"));
    assert.equal(await host.sh(ours), "");

    await host.sh("mount --bind /bin/false /usr/sbin/update-ca-certificates");
    const failed = await work(host.client, { stores });
    assert.match(failed.reason ?? "", /^update-ca-certificates:/);
    assert.equal(await host.sh(ours), "");
  });

  it("says what the system lacks", async () => {
    const host = await startHost(["mount --bind /dev/null /usr/sbin/update-ca-certificates"]);
    const failed = await work(host.client, { stores: ["system"] });
    assert.match(failed.reason ?? "", /^the system's store of CAs is in none of the places that are known/);
  });
});

it("works with BusyBox in place of the usual programs, and with csh and fish as login shells", async () => {
  const programs = "ls find od tr tail head mktemp sha256sum sync mkdir mv rm rmdir cat id sed cp grep";
  const busybox = `for p in ${programs}; do mount --bind /bin/busybox $(command -v $p); done`;
  for (const run of [
    ["mount --bind /bin/busybox /bin/sh", busybox],
    ...["/bin/bsd-csh", "/usr/bin/fish"].map((shell) => withUsers({ name: "root", shell })),
  ]) {
    const host = await startHost(run);
    const done = await work(host.client, {
      ...{ mirrors: ["quay.io", "docker.io"], restartRuntimes: true },
      stores: ["docker", "containers", "containerd", "k3s"],
    });
    assert.deepEqual([done.status, done.reason], ["changed", undefined], run.join());
    assert.ok((await readFile(join(host.etcDocker, `certs.d/${reference}/ca.crt`), "utf8")).endsWith(one.ca));
    assert.equal(
      (await work(host.client, { stores: ["docker", "containers", "containerd", "k3s"] })).status,
      "ok",
    );
    assert.equal((await work(host.client, {}, removeTrust)).status, "changed");
    assert.deepEqual(await files(host), []);
  }
});
