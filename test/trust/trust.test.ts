import assert from "node:assert/strict";
import { chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { silentReporter } from "../../src/reporter.ts";
import { referenceNames } from "../../src/trust/address.ts";
import type { Client, ClientResult } from "../../src/trust/client.ts";
import { checkClients, type TrustOptions, trust } from "../../src/trust/trust.ts";
import { freePort, makeKey, type SshdOptions, startSshd, type TestSshd } from "../lab/sshd.ts";
import { type Certificates, makeCertificates, startTlsServer } from "./tls-server.ts";

const name = "registry.plant7.lan";
let folder: string;
let key: string;
let good: Certificates;
let other: Certificates;
let server: { port: number; stop(): void };
let count = 0;
const started: TestSshd[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-trust-"));
  key = await makeKey(join(folder, "id"));
  good = await makeCertificates(folder, "good", `DNS:${name},IP:127.0.0.2`);
  other = await makeCertificates(folder, "other", "DNS:elsewhere.lan");
  server = await startTlsServer(good);
});
after(async () => {
  server.stop();
  for (const sshd of started) await sshd.stop();
  await rm(folder, { recursive: true });
});

interface Host extends TestSshd {
  client: Client;
}

/** A host that resolves the registry's name. */
async function startHost(options: Partial<SshdOptions> & { resolves?: boolean } = {}): Promise<Host> {
  count += 1;
  const own = join(folder, `host-${count}`);
  await mkdir(own);
  await writeFile(
    join(own, "hosts"),
    `127.0.0.1 localhost\n${options.resolves === false ? "" : `127.0.0.2 ${name}\n`}`,
  );
  const sshd = await startSshd({ folder: own, authorizedKey: key, ...options });
  started.push(sshd);
  await writeFile(join(folder, "known_hosts"), `${sshd.hostKeyLine}\n`, { flag: "a" });
  const keyFile = join(folder, "id");
  const client = {
    name: `host-${count}`,
    host: sshd.address,
    port: sshd.port,
    user: "root",
    keyFile,
    where: `hosts:${count}`,
  };
  return { ...sshd, client };
}

function options(changes: Partial<TrustOptions> = {}): TrustOptions {
  return {
    ca: good.ca,
    addresses: [name, "127.0.0.2", "127.0.0.1"],
    port: server.port,
    knownHostsFile: join(folder, "known_hosts"),
    acceptNewHostKeys: false,
    timeoutMs: 60_000,
    agent: "",
    ...changes,
  };
}

async function trustOne(client: Client, changes: Partial<TrustOptions> = {}): Promise<ClientResult> {
  const [result] = await trust([client], options(changes), silentReporter);
  assert.ok(result !== undefined);
  return result;
}

const directories = () => [`127.0.0.2:${server.port}`, `${name}:${server.port}`].sort();

describe("trust", () => {
  it("writes the CA once for each name, proves it, and changes nothing the second time", async () => {
    const host = await startHost();
    assert.deepEqual(await trustOne(host.client), {
      name: host.client.name,
      status: "changed",
      proven: true,
      proof: "tls",
      provenAs: name,
    });
    const certs = join(host.etcDocker, "certs.d");
    assert.deepEqual((await readdir(certs)).sort(), directories());
    const times = new Map<string, bigint>();
    for (const directory of directories()) {
      assert.deepEqual(await readdir(join(certs, directory)), ["ca.crt"]);
      assert.equal((await stat(join(certs, directory))).mode & 0o7777, 0o755);
      const file = join(certs, directory, "ca.crt");
      const { mode, uid, mtimeNs } = await stat(file, { bigint: true });
      assert.deepEqual([mode & 0o7777n, uid], [0o644n, 0n]);
      assert.match(await readFile(file, "utf8"), /^# Written by drydock trust \(directories made: 2\)/);
      assert.ok((await readFile(file, "utf8")).endsWith(`remove\n${good.ca}`));
      times.set(file, mtimeNs);
    }
    assert.deepEqual(await trustOne(host.client), {
      name: host.client.name,
      status: "ok",
      proven: true,
      proof: "tls",
      provenAs: name,
    });
    for (const [file, mtimeNs] of times) assert.equal((await stat(file, { bigint: true })).mtimeNs, mtimeNs);
  });

  it("does a host that has several names once, one name after the other", async () => {
    const { client } = await startHost();
    const clients = ["a", "b", "c", "d"].map((name) => ({ ...client, name }));
    const results = await trust(clients, options(), silentReporter);
    assert.deepEqual(
      results.map(({ name, status, proven }) => [name, status, proven]),
      [
        ["a", "changed", true],
        ["b", "ok", true],
        ["c", "ok", true],
        ["d", "ok", true],
      ],
    );
  });

  it("does every good host, whatever the bad ones do, and names each", async () => {
    const [one, two] = [await startHost(), await startHost()];
    const closed = { ...one.client, name: "closed", port: await freePort() };
    const stranger = { ...one.client, name: "stranger", keyFile: join(folder, "stranger") };
    await makeKey(stranger.keyFile);
    const unknown = { ...one.client, name: "unknown", host: "localhost" };
    const clients = [closed, one.client, stranger, unknown, two.client];
    const results = await trust(clients, options({ limit: 2 }), silentReporter);
    assert.deepEqual(
      results.map(({ name, status, proven }) => [name, status, proven]),
      [
        ["closed", "unreachable", false],
        [one.client.name, "changed", true],
        ["stranger", "refused", false],
        ["unknown", "refused", false],
        [two.client.name, "changed", true],
      ],
    );
    const secret = (await readFile(stranger.keyFile, "utf8")).split("\n")[2] ?? "none";
    assert.ok(!JSON.stringify(results).includes(secret));
    const checked = await checkClients(clients, options(), silentReporter);
    assert.deepEqual(
      checked.map(({ status }) => status),
      ["unreachable", "ok", "refused", "refused", "ok"],
    );
  });

  it("refuses a certs.d that is a symbolic link, or not root's, and leaves it alone", async () => {
    const linked = await startHost();
    await mkdir(join(folder, "elsewhere"));
    await symlink(join(folder, "elsewhere"), join(linked.etcDocker, "certs.d"));
    const refused = await trustOne(linked.client);
    assert.deepEqual([refused.status, refused.reason], ["failed", "/etc/docker/certs.d is a symbolic link"]);
    assert.deepEqual(await readdir(join(folder, "elsewhere")), []);

    const owned = await startHost();
    await mkdir(join(owned.etcDocker, "certs.d"));
    await chown(join(owned.etcDocker, "certs.d"), 65534, 65534);
    assert.equal((await trustOne(owned.client)).reason, "/etc/docker/certs.d does not belong to root");
    assert.deepEqual(await readdir(join(owned.etcDocker, "certs.d")), []);
  });

  it("says what went wrong on a read-only file system, and on a full one, and leaves no partial file", async () => {
    const readOnly = await startHost({ run: ["mount -o remount,ro,bind /etc/docker"] });
    const result = await trustOne(readOnly.client);
    assert.equal(result.status, "failed");
    assert.match(result.reason ?? "", /^make \/etc\/docker\/certs\.d: .*Read-only file system/);

    const full = await startHost({
      run: [
        "mount -t tmpfs -o size=16k,mode=755 tmpfs /etc/docker",
        "dd if=/dev/zero of=/etc/docker/fill bs=4k count=3",
      ],
    });
    const failed = await trustOne(full.client);
    assert.equal(failed.status, "failed");
    assert.match(failed.reason ?? "", /^write \/etc\/docker\/certs\.d\/.*No space left on device/);
    assert.deepEqual(await readdir(`/proc/${full.pid}/root/etc/docker`), ["fill"]);
  });

  it("fills a directory that would hide Docker's from Podman and skopeo, or tells of it", async () => {
    const reference = `${name}:${server.port}`;
    const host = await startHost({
      run: [
        "mount -t tmpfs -o mode=755 tmpfs /etc/containers",
        `mkdir -p "/etc/containers/certs.d/${reference}"`,
      ],
    });
    const result = await trustOne(host.client, { stores: ["docker"] });
    assert.deepEqual([result.status, result.proven], ["changed", true]);
    assert.match(
      result.reason ?? "",
      /Podman and skopeo look into \/etc\/containers\/certs\.d\/registry\.plant7\.lan:\d+ alone/,
    );
    const seen = `/proc/${host.pid}/root/etc/containers/certs.d/${reference}`;
    await writeFile(join(seen, "mine.crt"), `${other.ca}${good.ca}`);
    assert.equal((await trustOne(host.client, { stores: ["docker"] })).reason, undefined);
    await writeFile(join(seen, "mine.crt"), other.ca);
    const both = await trustOne(host.client);
    assert.deepEqual([both.status, both.reason], ["changed", undefined]);
    assert.deepEqual((await readdir(seen)).sort(), ["ca.crt", "mine.crt"]);
  });

  it("works with a login shell that says much, umask 077, and with bash or BusyBox as /bin/sh", async () => {
    const loud = join(folder, "loud");
    const lines = [
      "#!/bin/sh",
      "umask 077",
      "echo Welcome; printf Hello",
      "echo Careful >&2",
      'exec /bin/sh "$@"',
      "",
    ];
    await writeFile(loud, lines.join("\n"), { mode: 0o755 });
    for (const run of [
      [passwd(`root:x:0:0::/root:${loud}`)],
      ["mount --bind /bin/bash /bin/sh"],
      ["mount --bind /bin/busybox /bin/sh"],
    ]) {
      const host = await startHost({ run });
      const first = await trustOne(host.client);
      assert.deepEqual([first.status, first.proven, first.reason], ["changed", true, undefined], run.join());
      assert.equal((await trustOne(host.client)).status, "ok");
      assert.equal((await stat(join(host.etcDocker, "certs.d"))).mode & 0o777, 0o755);
    }
  });

  it("becomes root with sudo where it asks for no password, and says why where it does", async () => {
    const ops = "ops:x:4711:4711::/tmp:/bin/sh";
    const users = [passwd(`root:x:0:0::/root:/bin/sh\n${ops}`, "ops:*:20000:0:99999:7:::")];
    const sudoers = (line: string) => [
      `printf '%s\\n' 'root ALL=(ALL) ALL' '${line}' > $FOLDER/sudoers; chmod 440 $FOLDER/sudoers`,
      "mount --bind $FOLDER/sudoers /etc/sudoers",
    ];
    const may = await startHost({ run: [...users, ...sudoers("ops ALL=(root) NOPASSWD: ALL")] });
    const done = await trustOne({ ...may.client, user: "ops" });
    assert.deepEqual([done.status, done.reason], ["changed", undefined]);
    assert.equal((await stat(join(may.etcDocker, `certs.d/${name}:${server.port}/ca.crt`))).uid, 0);

    const mayNot = await startHost({ run: [...users, ...sudoers("ops ALL=(root) ALL")] });
    const who = { ...mayNot.client, user: "ops" };
    for (const result of [await trustOne(who), (await checkClients([who], options(), silentReporter))[0]]) {
      assert.equal(result?.status, "refused");
      assert.match(
        result?.reason ?? "",
        /^"ops" can't become root there without a password: .*password is required/,
      );
      assert.match(result?.hint ?? "", /ansible_user=root/);
    }
    assert.deepEqual(await readdir(mayNot.etcDocker), []);
  });

  it("pushes only authorities, and connects to nobody before it knows", async () => {
    const nobody: Client = {
      name: "n",
      host: "no-such-host.invalid",
      port: 22,
      user: "root",
      where: "hosts:1",
    };
    for (const [changes, message] of [
      [{ ca: "junk" }, /wanted a PEM certificate/],
      [{ ca: good.certificate }, /"CN=good" is not an authority/],
      [{ ca: good.ca + good.certificate }, /"CN=good" is not an authority/],
      [{ ca: good.ca.replace("-----\nM", "-----\nAAAA") }, /can't be read/],
    ] as const) {
      await assert.rejects(trust([nobody], options(changes), silentReporter), message);
    }
    const astray = { ...nobody, repoHost: "10.9.9.9" };
    await assert.rejects(
      trust([astray], options(), silentReporter),
      /hosts:1: host "n": repo_host "10\.9\.9\.9"/,
    );
    await assert.rejects(checkClients([astray], options(), silentReporter), /repo_host/);
  });
});

describe("the proof", () => {
  it("takes an address where the name doesn't resolve, and says so", async () => {
    const host = await startHost({ resolves: false });
    const result = await trustOne(host.client);
    assert.deepEqual([result.status, result.proven, result.provenAs], ["changed", true, "127.0.0.2"]);
    assert.match(
      result.reason ?? "",
      /proven as "127\.0\.0\.2" only: host-\d+ does not resolve registry\.plant7\.lan/,
    );
    assert.match(result.hint ?? "", /repo_host/);
    assert.equal((await trustOne({ ...host.client, repoHost: "127.0.0.2" })).reason, undefined);

    const named = await trustOne({ ...host.client, repoHost: name });
    assert.deepEqual([named.status, named.proven], ["failed", false]);
    assert.match(named.reason ?? "", /does not resolve registry\.plant7\.lan$/);
  });

  it("fails where another CA signed", async () => {
    const host = await startHost();
    const result = await trustOne(host.client, { ca: other.ca });
    assert.deepEqual([result.status, result.proven], ["failed", false]);
    assert.match(
      result.reason ?? "",
      /^x509: the certificate at registry\.plant7\.lan:\d+ is not signed by this CA/,
    );
  });

  it("fails where the certificate doesn't cover the name, or the address", async () => {
    const host = await startHost();
    await writeFile(host.hosts, "127.0.0.2 elsewhere.plant7.lan\n");
    const byName = await trustOne(host.client, { addresses: ["elsewhere.plant7.lan"] });
    assert.match(
      byName.reason ?? "",
      /^x509: the certificate at elsewhere.* is for other names \(DNS:registry\.plant7\.lan, IP Address:127\.0\.0\.2\)/,
    );
    const nameOnly = await makeCertificates(folder, "name-only", `DNS:${name}`);
    const second = await startTlsServer(nameOnly);
    const byAddress = await trustOne(host.client, {
      ca: nameOnly.ca,
      addresses: ["127.0.0.2"],
      port: second.port,
    });
    second.stop();
    assert.deepEqual([byAddress.status, byAddress.proven], ["failed", false]);
    assert.match(byAddress.reason ?? "", /^x509: the certificate at 127\.0\.0\.2:\d+ is for other names/);
  });

  it("fails where nobody answers at the registry's port, or something else does", async () => {
    const host = await startHost();
    const closed = await trustOne(host.client, { port: await freePort("127.0.0.2") });
    assert.equal(closed.status, "failed");
    assert.match(
      closed.reason ?? "",
      /does not reach registry\.plant7\.lan:\d+: .*; .*does not reach 127\.0\.0\.2:/,
    );
    const talksSsh = await trustOne(host.client, { addresses: ["127.0.0.1"], port: host.port });
    assert.equal(talksSsh.status, "failed");
    assert.match(talksSsh.reason ?? "", /^TLS with 127\.0\.0\.1:/);
  });
});

it("the default port has two names, any other one", () => {
  assert.deepEqual(referenceNames(["a.lan", "fd00::1"], 443), [
    "a.lan",
    "a.lan:443",
    "[fd00::1]",
    "[fd00::1]:443",
  ]);
  assert.deepEqual(referenceNames(["a.lan", "10.0.0.1"], 5000), ["a.lan:5000", "10.0.0.1:5000"]);
  assert.throws(() => referenceNames(["../x"], 443));
});

/** Shell lines that put users before those of the host's /etc/passwd and /etc/shadow; the first one counts. */
function passwd(users: string, shadow = ""): string {
  return [
    `{ printf '%s\\n' '${users.replaceAll("\n", "' '")}'; cat /etc/passwd; } > $FOLDER/passwd`,
    "mount --bind $FOLDER/passwd /etc/passwd",
    `umask 077; { cat /etc/shadow; echo '${shadow}'; } > $FOLDER/shadow`,
    "mount --bind $FOLDER/shadow /etc/shadow; umask 022",
  ].join("\n");
}
