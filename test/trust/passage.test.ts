/** Jump hosts and ProxyCommands, with real sshds: whoever is behind one is reached through it alone. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Client, Hop } from "../../src/trust/client.ts";
import { freePort, makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";
import { reachAll, reachOne, sshConnects } from "./ssh-opinion.ts";

let folder: string;
let authorizedKey: string;
let knownHostsFile: string;
let config: string;
let one: TestSshd;
let two: TestSshd;
let last: TestSshd;
const started: TestSshd[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-passage-"));
  knownHostsFile = join(folder, "known_hosts");
  config = join(folder, "config");
  authorizedKey = await makeKey(join(folder, "id"));
  // Each at an address of its own family or port; the last one is behind the two.
  one = await start("one");
  two = await start("two", "::1");
  last = await start("last", "127.0.0.3");
});
after(async () => {
  for (const sshd of started) await sshd.stop();
  await rm(folder, { recursive: true });
});

async function start(name: string, address = "127.0.0.1", extraConfig: string[] = []): Promise<TestSshd> {
  const sshd = await startSshd({ folder: join(folder, name), address, authorizedKey, extraConfig });
  started.push(sshd);
  const line = sshd.hostKeyLine.replace(/^::1/, "[::1]");
  await writeFile(knownHostsFile, `${line}\n`, { flag: "a" });
  return sshd;
}

const at = ({ address, port }: TestSshd): Hop => ({
  host: address,
  port,
  user: "root",
  keyFile: join(folder, "id"),
});
const client = (sshd: TestSshd, changes: Partial<Client> = {}): Client => ({
  name: "c",
  where: "c:1",
  ...at(sshd),
  ...changes,
});
const options = () => ({ knownHostsFile, sshConfigFile: "none" });

/** How often somebody logged in there, and from which addresses. */
function logins(sshd: TestSshd): string[] {
  return [...sshd.log().matchAll(/Accepted publickey for root from (\S+)/g)].map(([, from = ""]) => from);
}

describe("a client behind jump hosts", () => {
  it("is reached through all of them, over IPv6 too, and each is connected to once for all", async () => {
    const clients = Array.from({ length: 12 }, () => client(last, { jumps: [at(one), at(two)] }));
    assert.deepEqual(
      await reachAll(clients, options()),
      clients.map(() => "root"),
    );
    assert.deepEqual([logins(one), logins(two)], [["127.0.0.1"], ["::1"]]);
    assert.equal(logins(last).length, 12);
    const jumps = [one, two].map(
      ({ address, port }) => `root@${address.includes(":") ? `[${address}]` : address}:${port}`,
    );
    // ssh gives its options to the jump hosts only by way of its configuration.
    const lines = ["Host *", `  IdentityFile ${folder}/id`, `  UserKnownHostsFile ${knownHostsFile}`];
    await writeFile(config, lines.join("\n"));
    const words = ["-F", config, "-J", jumps.join(), "-p", String(last.port), "--", `root@${last.address}`];
    assert.ok(await sshConnects(words));
  });

  it("is reached as SSH's configuration says, also where the jump host has one itself", async () => {
    const hosts = Object.entries({ one, two, last });
    const lines = hosts.flatMap(([name, { address, port }]) => [
      ...[`Host ${name}`, `  HostName ${address}`, `  Port ${port}`, "  User root"],
      ...(name === "last" ? ["  ProxyJump two"] : []),
    ]);
    // It holds for "one" as well, which is then reached straight; OpenSSH 9.2 calls itself for ever.
    const all = [
      "Host *",
      "  ProxyJump one",
      `  IdentityFile ${folder}/id`,
      `  UserKnownHostsFile ${knownHostsFile}`,
    ];
    await writeFile(config, [...lines, ...all, ""].join("\n"));
    const before = [one, two, last].map((sshd) => logins(sshd).length);
    const named: Client = { name: "last", host: "last", where: "c:1" };
    assert.equal(await reachOne(named, { sshConfigFile: config }), "root");
    assert.deepEqual(
      [one, two, last].map((sshd, index) => logins(sshd).length - (before[index] ?? 0)),
      [1, 1, 1],
    );
    // The inventory can say that there is none.
    assert.equal(await reachOne({ ...named, jumps: [] }, { sshConfigFile: config }), "root");
    assert.equal(logins(one).length, (before[0] ?? 0) + 1);
  });

  it("is refused where a jump host's key is unknown, or has changed, and the jump host is named", async () => {
    const all = await readFile(knownHostsFile, "utf8");
    const without = join(folder, "known_without");
    const [first, , third] = all.split("\n");
    await writeFile(without, `${first}\n${third}\n`);
    const text = await reachOne(client(last, { jumps: [at(one), at(two)] }), {
      ...options(),
      knownHostsFile: without,
    });
    assert.match(
      text,
      new RegExp(`^jump host \\[::1\\]:${two.port}: its host key ssh-ed25519 SHA256:\\S+ is not in`),
    );
    const changed = `${first}\n[::1]:${two.port} ${third?.split(" ").slice(1).join(" ")}\n`;
    await writeFile(without, changed);
    for (const acceptNewHostKeys of [false, true]) {
      const said = await reachOne(client(last, { jumps: [at(one), at(two)] }), {
        ...options(),
        knownHostsFile: without,
        acceptNewHostKeys,
      });
      assert.match(said, /^jump host \[::1\]:\d+: its host key has changed/);
    }
  });

  it("whose own key is unknown is refused with a line that needs no way there", async () => {
    const without = join(folder, "known_jumps");
    const lines = (await readFile(knownHostsFile, "utf8")).split("\n");
    await writeFile(without, `${lines.slice(0, 2).join("\n")}\n`);
    const text = await reachOne(client(last, { jumps: [at(one)] }), {
      ...options(),
      knownHostsFile: without,
    });
    assert.match(text, /^its host key ssh-ed25519 SHA256:/);
  });

  it("is unreachable where a jump host forwards nothing, is not there, or does not reach it", async () => {
    const strict = await start("strict", "127.0.0.1", ["AllowTcpForwarding no"]);
    const nobody = { ...at(one), port: await freePort() };
    const closed = await freePort();
    for (const [who, text] of [
      [
        client(last, { jumps: [at(strict)] }),
        /^jump host 127\.0\.0\.1:\d+: it does not reach 127\.0\.0\.3:\d+: /,
      ],
      [client(last, { jumps: [nobody, at(two)] }), /^jump host 127\.0\.0\.1:\d+: connect to .*ECONNREFUSED/],
      [
        client(last, { port: closed, jumps: [at(one)] }),
        /^jump host .* does not reach 127\.0\.0\.3:\d+: .*refused/,
      ],
      [
        client(last, { jumps: [{ ...at(one), user: "nobody-else" }] }),
        /^jump host .*: login as "nobody-else" with the key was refused/,
      ],
    ] as const) {
      const started = Date.now();
      assert.match(await reachOne(who, options()), text);
      assert.ok(Date.now() - started < 9000, "it did not wait for its time to end");
    }
  });

  it("is told of where it closes the connection, which a jump host leaves half open", async () => {
    const hangsUp = createServer((socket) => socket.end("SSH-2.0-x\r\n")).listen(0, "127.0.0.3");
    await once(hangsUp, "listening");
    const { port } = hangsUp.address() as AddressInfo;
    const behind = client(last, { port, jumps: [at(one)] });
    assert.match(await reachOne(behind, options()), /^connect to 127\.0\.0\.3:\d+: it closed the connection/);
    hangsUp.close();
  });

  it("whose jump hosts lead in a circle is told so", async () => {
    const circle = [
      "Host a",
      "  ProxyJump b",
      "Host b",
      "  ProxyJump a",
      "Host *",
      `  IdentityFile ${folder}/id`,
      "",
    ];
    await writeFile(config, circle.join("\n"));
    const text = await reachOne({ name: "a", host: "a", where: "c:1" }, { sshConfigFile: config });
    assert.match(text, /jump hosts lead in a circle/);
  });
});

describe("a client behind a ProxyCommand", () => {
  const through = ["busybox nc %h %p", "busybox nc $(echo %h) %p"];

  it("of the inventory is reached with it, its tokens filled in", async () => {
    for (const proxyCommand of through)
      assert.equal(await reachOne(client(last, { proxyCommand }), options()), "root");
    const shown = join(folder, "shown");
    const proxyCommand = `sh -c 'echo %n %h %p %r %% > ${shown}; exec busybox nc %h %p'`;
    assert.equal(await reachOne(client(last, { proxyCommand }), options()), "root");
    assert.equal(await readFile(shown, "utf8"), `${last.address} ${last.address} ${last.port} root %\n`);
  });

  it("of SSH's configuration only where it is allowed", async () => {
    const mark = join(folder, "was-run");
    const lines = ["Host last", `  HostName ${last.address}`, `  Port ${last.port}`, "  User root"];
    const command = `  ProxyCommand sh -c 'touch ${mark}; exec busybox nc %h %p'`;
    await writeFile(config, [...lines, command, `  IdentityFile ${folder}/id`, ""].join("\n"));
    const named: Client = { name: "last", host: "last", where: "c:1" };
    const refused = await reachOne(named, { knownHostsFile, sshConfigFile: config });
    assert.match(refused, /SSH's configuration has a ProxyCommand for "last"/);
    await assert.rejects(readFile(mark), { code: "ENOENT" });
    const allowed = { knownHostsFile, sshConfigFile: config, allowProxyCommand: true };
    assert.equal(await reachOne(named, allowed), "root");
    await readFile(mark);
  });

  it("that fails is unreachable, in the command's own words, and nothing of it goes on", async () => {
    for (const [proxyCommand, text] of [
      [
        "sh -c 'echo no route to the moon >&2; exit 3'",
        /its ProxyCommand ended with exit 3: no route to the moon/,
      ],
      ["/no/such/program %h", /its ProxyCommand ended with exit 127: .*not found/],
      ["busybox nc %h %q", /its ProxyCommand has the token %q, which is not known/],
      ["true", /connect to 127\.0\.0\.3:\d+: Connection lost before handshake/],
    ] as const)
      assert.match(await reachOne(client(last, { proxyCommand }), options()), text);
    const pid = join(folder, "pid");
    const silent = client(last, { proxyCommand: `sh -c 'echo $$ > ${pid}; exec sleep 600'` });
    assert.match(await reachOne(silent, { ...options(), timeoutMs: 500 }), /no answer from .* within 0\.5 s/);
    const number = Number(await readFile(pid, "utf8"));
    for (let tries = 0; tries < 50 && isThere(number); tries += 1)
      await new Promise((done) => setTimeout(done, 20));
    assert.ok(!isThere(number));
  });

  it("gets no name that the shell would take apart", async () => {
    const proxyCommand = "busybox nc %h %p; echo %r";
    const text = await reachOne(client(last, { user: "x;touch", proxyCommand }), options());
    assert.match(text, /"x;touch" is no user name/);
    const other = await reachOne(client(last, { user: "a#b", proxyCommand }), options());
    assert.match(other, /its ProxyCommand can't be given "a#b" for %r/);
  });
});

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
