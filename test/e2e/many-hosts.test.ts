/** 300 hosts, of which 30 are broken in ten ways, with real sshds: the good ones are done, the others named rightly. */
import assert from "node:assert/strict";
import { chmod, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { ClientResult } from "../../src/trust/client.ts";
import { makeKeys } from "../lab/clients.ts";
import {
  connectionsTo,
  etcDockerOf,
  type ManyHost,
  setTrouble,
  startManyHosts,
  type Trouble,
} from "../lab/many-hosts.ts";
import { makeNetns, type Netns } from "../lab/netns.ts";
import { type RunResult, run } from "../lab/process.ts";
import { startRegistry } from "../lab/registry.ts";
import { watchFor } from "../lab/secret-watch.ts";
import type { TestSshd } from "../lab/sshd.ts";
import { makeCertificates } from "../trust/tls-server.ts";
import { makeFolder } from "./connected.ts";
import { built, drydockWords } from "./drydock.ts";

const registryName = "registry.site.lan";
const registryAddress = "198.18.71.10";

/** What is to be said of each; those that are silent come first, since they take longest. */
const broken = new Map<Trouble, [ClientResult["status"], RegExp]>([
  ["silent", ["unreachable", /^no answer from \S+:22 within 10 s \(tried 2 times\)$/]],
  ["wrong key", ["refused", /^login as "root" with the key was refused/]],
  ["unknown host key", ["refused", /host key/]],
  ["changed host key", ["refused", /host key has changed/]],
  ["closed port", ["unreachable", /ECONNREFUSED/]],
  ["drops in a write", ["failed", /^the connection broke \(tried 3 times\)$/]],
  ["no sudo", ["refused", /^"ops" can't become root there: .*sudo/]],
  ["sudo wants a password", ["refused", /^"dev" can't become root there without a password/]],
  ["read-only", ["failed", /Read-only file system/]],
  [
    "early clock",
    ["failed", /^its clock says 2001-02-03 04:05 UTC, and the registry's certificate begins on/],
  ],
]);
const kinds = [...broken.keys()];

const hosts: ManyHost[] = Array.from({ length: 300 }, (_, at) => {
  const good =
    at % 10 === 2 ? "loud" : at % 30 === 4 ? "forwards nothing" : at === 8 ? "drops once" : undefined;
  return {
    name: `h${String(at).padStart(3, "0")}`,
    address: `198.18.${72 + Math.floor(at / 250)}.${(at % 250) + 1}`,
    trouble: at % 10 === 7 ? kinds[Math.floor(at / 10) % 10] : good,
  };
});
const isBroken = ({ trouble }: ManyHost) => trouble !== undefined && broken.has(trouble);

describe("300 hosts of which 30 are broken in ten ways", () => {
  const parts = new AsyncDisposableStack();
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  let netns: Netns;
  let sshds: TestSshd[];
  let ca: string;
  let keyFile: string;
  before(async () => {
    folder = await makeFolder("many-hosts");
    parts.defer(() => folder.remove());
    await chmod(folder.path, 0o755);
    netns = await makeNetns("many", [registryAddress, ...hosts.map(({ address }) => address)]);
    parts.defer(netns.delete);
    ({ ca } = await makeCertificates(folder.path, "site", `DNS:${registryName},IP:${registryAddress}`));
    const tls = { certificate: join(folder.path, "site-pem"), key: join(folder.path, "site-key") };
    const where = { folder: folder.path, netns: netns.name, address: registryAddress, port: 443 };
    const registry = await startRegistry({ ...where, tls });
    parts.defer(registry.stop);
    const keys = await makeKeys(join(folder.path, "keys"));
    keyFile = keys.file;
    const resolves = [`${registryAddress} ${registryName}`];
    const options = { folder: folder.path, netns: netns.name, authorizedKey: keys.ours, resolves };
    sshds = await startManyHosts(hosts, options, parts);
    await writeKnownHosts(["unknown host key", "changed host key"]);
    const users: Partial<Record<Trouble, string>> = { "no sudo": "ops", "sudo wants a password": "dev" };
    const lines = hosts.map(({ name, address, trouble = "loud" }) => {
      return `${name} ansible_host=${address} ansible_user=${users[trouble] ?? "root"}`;
    });
    const variables = ["[all:vars]", `ansible_ssh_private_key_file=${keyFile}`, ""];
    await writeFile(join(folder.path, "hosts.ini"), [...lines, ...variables].join("\n"));
    await built();
  });
  after(() => parts.disposeAsync());

  /** @param except what is wrong of hosts whose key it does not know, or has changed */
  async function writeKnownHosts(except: Trouble[]): Promise<void> {
    const other = (await readFile(`${keyFile}.pub`, "utf8")).split(" ").slice(0, 2).join(" ");
    const keyOf = new Map<string, string>();
    for (const sshd of sshds) {
      const text = await readFile(join(sshd.etcDocker, "../sshd_config"), "utf8");
      const key = sshd.hostKeyLine.split(" ").slice(1).join(" ");
      for (const [, address = ""] of text.matchAll(/^ListenAddress (\S+):22$/gm)) keyOf.set(address, key);
    }
    const lines = hosts.flatMap(({ address, trouble }) => {
      if (trouble === "unknown host key" && except.includes(trouble)) return [];
      const isOther = trouble === "changed host key" && except.includes(trouble);
      return [`${address} ${isOther ? other : (keyOf.get(address) ?? other)}\n`];
    });
    await writeFile(join(folder.path, "known_hosts"), lines.join(""));
  }

  async function trust(...more: string[]): Promise<RunResult> {
    const words = ["trust", "--clients", "hosts.ini", "--ca", "site-ca.pem", "--known-hosts", "known_hosts"];
    const registry = ["--address", registryName, "--address", registryAddress, "--stores", "docker"];
    const all = [...drydockWords, ...words, ...registry, "--ssh-config", "none", "--timeout", "10", ...more];
    return await run("nsenter", [`--net=/run/netns/${netns.name}`, ...all], {
      mayFail: true,
      cwd: folder.path,
      env: {
        ...{ PATH: process.env.PATH, HOME: folder.path, SSH_AUTH_SOCK: "" },
        ...{ DRYDOCK_CONFIG_DIR: join(folder.path, "etc"), XDG_STATE_HOME: join(folder.path, "state") },
      },
    });
  }

  const remembered = async () =>
    JSON.parse(await readFile(join(folder.path, "state/drydock/clients.json"), "utf8")).failed as string[];
  const namesOf = (some: ManyHost[]) => some.map(({ name }) => name);

  it("every good one is done and proven, over one connection, and every other named rightly", async () => {
    const { code, stdout, stderr } = await trust("--json");
    assert.equal(code, 5, stderr);
    const results = new Map((JSON.parse(stdout).hosts as ClientResult[]).map((host) => [host.name, host]));
    assert.equal(results.size, 300);
    const connections = connectionsTo(sshds);
    for (const host of hosts) {
      const { status, proven, proof, reason = "", hint } = results.get(host.name) ?? assert.fail(host.name);
      const what = `${host.name} (${host.trouble}): ${status}: ${reason}`;
      const [wanted, why] = (host.trouble && broken.get(host.trouble)) ?? ["changed", /^$/];
      assert.equal(status, wanted, what);
      assert.match(reason, why, what);
      assert.deepEqual([proven, proof], isBroken(host) ? [false, undefined] : [true, "tls"], what);
      if (isBroken(host)) assert.ok(hint, what);
      const times = host.trouble === "drops once" ? 2 : 1;
      if (!isBroken(host)) assert.equal(connections.get(host.address), times, what);
      await assertWhole(host);
    }
    assert.deepEqual(await remembered(), namesOf(hosts.filter(isBroken)));
    assert.equal((await stat(join(folder.path, "state/drydock/clients.json"))).mode & 0o777, 0o600);
  });

  /** The CA where it shall be, or nothing; in no case a part of a file. */
  async function assertWhole(host: ManyHost): Promise<void> {
    const certs = join(etcDockerOf(folder.path, host), "certs.d");
    const directories = await readdir(certs).catch((): string[] => []);
    const wanted = [registryAddress, registryName].flatMap((name) => [name, `${name}:443`]).sort();
    if (!isBroken(host) || host.trouble === "early clock")
      assert.deepEqual(directories.sort(), wanted, host.name);
    for (const directory of directories) {
      for (const file of await readdir(join(certs, directory))) {
        assert.equal(file, "ca.crt", host.name);
        assert.ok((await readFile(join(certs, directory, file), "utf8")).includes(ca.trim()), host.name);
      }
    }
  }

  it("--retry goes to those alone; what has been mended is done, the report tells the rest by kind, and our key shows nowhere", async () => {
    const mended: Trouble[] = ["drops in a write", "read-only", "early clock", "silent"];
    const keys: Trouble[] = ["unknown host key", "changed host key"];
    for (const host of hosts) {
      if (host.trouble !== undefined && mended.includes(host.trouble)) await setTrouble(folder.path, host);
    }
    process.kill(sshds.at(-1)?.pid ?? assert.fail(), "SIGCONT");
    await writeKnownHosts([]);
    const before = connectionsTo(sshds);
    const secret = (await readFile(keyFile, "utf8")).split("\n")[2] ?? assert.fail();
    const watch = await watchFor(secret);
    const { code, stdout, stderr } = await trust("--retry");
    assert.deepEqual(await watch.stop(), []);
    for (const text of [stdout, stderr, ...sshds.map((sshd) => sshd.log())])
      assert.ok(!text.includes(secret));
    assert.equal(code, 5, stderr);
    assert.match(
      stdout,
      /^15 {2}changed +proven over TLS as registry\.site\.lan\n 3 {2}ok +proven over TLS/m,
    );
    assert.match(stdout, /^ 3 {2}unreachable\n 9 {2}refused\n/m);
    assert.match(
      stdout,
      /^3 refused: h017, h117, h217\n {2}login as "root" with the key was refused\n {4}Put /m,
    );
    assert.match(
      stdout,
      /^18 clients trust the CA, 18 proven, 12 failed\nTo try those again: `drydock trust /m,
    );
    assert.ok(stdout.split("\n").length < 40, stdout);
    const still = hosts.filter(
      (host) => isBroken(host) && ![...mended, ...keys].includes(host.trouble ?? "loud"),
    );
    assert.deepEqual(await remembered(), namesOf(still));
    const connections = connectionsTo(sshds);
    for (const host of hosts.filter((one) => !isBroken(one)))
      assert.equal(connections.get(host.address), before.get(host.address), host.name);
  });

  it("once more, nothing is written where it is there", async () => {
    const some = hosts.slice(0, 30);
    const times = async () => {
      const file = (host: ManyHost) =>
        join(etcDockerOf(folder.path, host), "certs.d", registryName, "ca.crt");
      return await Promise.all(
        some.map((host) =>
          stat(file(host)).then(
            ({ ctimeMs }) => ctimeMs,
            () => 0,
          ),
        ),
      );
    };
    const before = await times();
    const { code, stdout, stderr } = await trust("--limit", "h00*:h01*:h02*", "--json");
    assert.equal(code, 5, stderr);
    const counts = new Map<string, number>();
    for (const { status } of JSON.parse(stdout).hosts as ClientResult[])
      counts.set(status, (counts.get(status) ?? 0) + 1);
    assert.deepEqual(Object.fromEntries(counts), { ok: 29, refused: 1 });
    assert.deepEqual(await times(), before);
  });
});
