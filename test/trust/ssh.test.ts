import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { type Client, ClientFailure } from "../../src/trust/client.ts";
import type { Connection } from "../../src/trust/connection.ts";
import { Reach, type ReachOptions } from "../../src/trust/reach.ts";
import { freePort, makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";
import { assertGivesStreams, limitMs } from "./given-streams.ts";
import { reachOne, sshConnects } from "./ssh-opinion.ts";

const run = promisify(execFile);
let folder: string;
let sshd: TestSshd;
let knownHostsFile: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-ssh-"));
  knownHostsFile = join(folder, "known_hosts");
  const authorizedKey = await makeKey(join(folder, "id"));
  await makeKey(join(folder, "stranger"));
  await run("cp", [join(folder, "id"), join(folder, "locked")]);
  await run("ssh-keygen", ["-q", "-p", "-N", "canary-passphrase", "-f", join(folder, "locked")]);
  await run("ssh-keygen", ["-q", "-t", "rsa", "-N", "", "-f", join(folder, "host_rsa")]);
  const extraConfig = [`HostKey ${folder}/host_rsa`];
  sshd = await startSshd({ folder: join(folder, "host"), authorizedKey, extraConfig });
  await writeFile(knownHostsFile, `${sshd.hostKeyLine}\n`);
});
after(async () => {
  await sshd.stop();
  await rm(folder, { recursive: true });
});

function client(changes: Partial<Client> = {}): Client {
  const keyFile = join(folder, "id");
  return {
    name: "host",
    host: "127.0.0.1",
    port: sshd.port,
    user: "root",
    keyFile,
    where: "hosts.ini:1",
    ...changes,
  };
}

function withoutKey(): Client {
  const { keyFile: _, ...rest } = client();
  return rest;
}

async function open(
  who: Client,
  options: Partial<ReachOptions> & { file?: string } = {},
): Promise<Connection> {
  const { file = knownHostsFile, ...rest } = options;
  const reach = await Reach.prepare([who], {
    knownHostsFile: file,
    acceptNewHostKeys: false,
    timeoutMs: 60_000,
    agent: "",
    sshConfigFile: "none",
    ...rest,
  });
  return await reach.connect(who);
}

async function failure(promise: Promise<Connection>): Promise<ClientFailure> {
  const error: unknown = await promise.then(
    (connection) => {
      connection.close();
      assert.fail("connected");
    },
    (error: unknown) => error,
  );
  assert.ok(error instanceof ClientFailure, String(error));
  return error;
}

async function fingerprintOf(publicKeyFile: string): Promise<string> {
  return (await run("ssh-keygen", ["-l", "-f", publicKeyFile])).stdout.split(" ")[1] ?? "none";
}

describe("a connection", () => {
  it("logs in with a key file, and runs commands", async () => {
    const connection = await open(client());
    try {
      const result = await connection.exec("cat; echo oops >&2; exit 3", "given");
      assert.deepEqual(result, { code: 3, signal: undefined, stdout: "given", stderr: "oops\n" });
      const killed = await connection.exec("kill -9 $$");
      assert.deepEqual([killed.code, killed.signal], [null, "SIGKILL"]);
    } finally {
      connection.close();
    }
  });

  it("bounds what it keeps of a command's output, and of its time", async () => {
    const connection = await open(client(), { timeoutMs: 2000 });
    const { stdout, code } = await connection.exec("head -c 9000000 /dev/zero");
    assert.deepEqual([stdout.length, code], [512 * 1024, 0]);
    await assert.rejects(connection.exec("sleep 30"), /did not end within 2 s/);
    await assert.rejects(connection.exec("true"), /the connection broke/);
  });

  it("gives a command what a stream gives, as it takes it", async () => {
    await assertGivesStreams(await open(client(), { timeoutMs: limitMs }));
  });

  it("logs in with an agent, which it doesn't forward", async () => {
    const socket = join(folder, "agent");
    const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(agent.stdout, "data");
      await run("ssh-add", ["-q", join(folder, "id")], { env: { ...process.env, SSH_AUTH_SOCK: socket } });
      for (const who of [withoutKey(), client({ keyFile: join(folder, "locked") })]) {
        const connection = await open(who, { agent: socket });
        assert.equal((await connection.exec("echo agent=$SSH_AUTH_SOCK")).stdout, "agent=\n");
        connection.close();
      }
    } finally {
      agent.kill();
      await once(agent, "exit");
    }
  });

  it("asks for the kind of host key that is known, where the host has several", async () => {
    const rsa = (await readFile(join(folder, "host_rsa.pub"), "utf8")).trim();
    const file = join(folder, "known_rsa");
    await writeFile(file, `[127.0.0.1]:${sshd.port} ${rsa}\n`);
    (await open(client(), { file })).close();
  });

  it("finds a hashed name", async () => {
    const file = join(folder, "known_hashed");
    await writeFile(file, `${sshd.hostKeyLine}\n`);
    await run("ssh-keygen", ["-q", "-H", "-f", file]);
    (await open(client(), { file })).close();
  });

  it("agrees with ssh about every form of a line in known_hosts", async () => {
    const key = sshd.hostKeyLine.split(" ").slice(1).join(" ");
    const other = (await readFile(join(folder, "stranger.pub"), "utf8")).trim();
    const named = `[127.0.0.1]:${sshd.port}`;
    const hashed = async (name: string) => {
      const file = join(folder, "to-hash");
      await writeFile(file, `${name} ${key}\n`);
      await run("ssh-keygen", ["-q", "-H", "-f", file]);
      return (await readFile(file, "utf8")).trim();
    };
    const file = join(folder, "known_forms");
    const system = join(folder, "known_system");
    const config = join(folder, "config");
    const lines = [
      `UserKnownHostsFile ${file}`,
      `GlobalKnownHostsFile ${system}`,
      `IdentityFile ${folder}/id`,
    ];
    await writeFile(config, `Host *\n${lines.join("\n")}\n`);
    for (const [text, wanted] of [
      [`${named} ${key}`, true],
      [`a.lan,${named},b.lan ${key} a comment`, true],
      [`\t ${named} ${key}\r`, true],
      [`127.0.0.1 ${key}`, true],
      [`[127.0.0.?]:* ${key}`, true],
      [`*,!a.lan ${key}`, true],
      [`*,!${named} ${key}`, true],
      [`*,!127.0.0.1 ${key}`, true],
      [`*,![127.0.0.1]:*,!127.0.0.1 ${key}`, false],
      [await hashed(named), true],
      [await hashed("127.0.0.1"), true],
      [await hashed("127.0.0.2"), false],
      [`#${named} ${key}`, false],
      [`@else ${named} ${key}`, false],
      [`${named} ${other}`, false],
      [`${named} ${other}\n${named} ${key}`, true],
      [`127.0.0.1 ${other}`, false],
      [`${named} ${key}\n@revoked ${named} ${key}`, false],
      [`${named} ${key}\n@revoked * ${key}`, false],
      [`${named} ${key}\n@revoked b.lan ${key}`, true],
      [`${named} ${key}\n@revoked * ${other}`, true],
      [`@cert-authority ${named} ${key}`, false],
      [`${named} ssh-rsa ${key.split(" ")[1]}`, false],
      ["", false],
    ] as const) {
      // The system's file counts as the user's does; two lines are enough to see it.
      const inSystem = text === `${named} ${key}` || text.endsWith(`@revoked * ${key}`);
      await writeFile(file, inSystem ? "" : `${text}\n`);
      await writeFile(system, inSystem ? `${text}\n` : "");
      const reach = await reachOne({ ...withoutKey(), host: "127.0.0.1" }, { sshConfigFile: config });
      assert.equal(reach === "root", wanted, `${text}: ${reach}`);
      const words = ["-F", config, "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"];
      const theirs = await sshConnects([...words, "-p", String(sshd.port), "--", "root@127.0.0.1"]);
      assert.equal(theirs, wanted, text);
    }
  });

  it("to an unknown host is refused, with its fingerprint and the way on; or accepted and recorded", async () => {
    const file = join(folder, "known_none");
    const error = await failure(open(client(), { file }));
    assert.equal(error.status, "refused");
    const fingerprint = await fingerprintOf(join(folder, "host/host_ed25519.pub"));
    assert.ok(error.message.includes(fingerprint), error.message);
    const commands = [...(error.hint ?? "").matchAll(/`([^`]+)`/g)].map(([, command = ""]) => command);
    assert.equal(commands[0], "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
    await run("sh", ["-c", commands[1] ?? ""]);
    assert.equal(await readFile(file, "utf8"), `${sshd.hostKeyLine}\n`);
    (await open(client(), { file })).close();
    assert.match(error.hint ?? "", /--accept-new-host-keys/);
    await rm(file);

    (await open(client(), { file, acceptNewHostKeys: true })).close();
    assert.equal((await readFile(file, "utf8")).split(" ").slice(0, 3).join(" ").trim(), sshd.hostKeyLine);
    (await open(client(), { file })).close();
  });

  it("to a host whose key has changed is refused, also where new ones are accepted", async () => {
    const other = (await readFile(join(folder, "stranger.pub"), "utf8")).trim();
    const file = join(folder, "known_changed");
    await writeFile(file, `[127.0.0.1]:${sshd.port} ${other}\n`);
    const error = await failure(open(client(), { file, acceptNewHostKeys: true }));
    assert.equal(error.status, "refused");
    assert.match(error.message, /host key has changed/);
    assert.ok(error.message.includes(await fingerprintOf(join(folder, "stranger.pub"))));
    assert.match(error.hint ?? "", /`ssh-keygen -R '\[127\.0\.0\.1\]:\d+' -f \S+`/);
    assert.equal(await readFile(file, "utf8"), `[127.0.0.1]:${sshd.port} ${other}\n`);
  });

  it("to a host whose key is revoked is refused, also where it is known as well", async () => {
    const file = join(folder, "known_revoked");
    await writeFile(
      file,
      `${sshd.hostKeyLine}\n@revoked * ${sshd.hostKeyLine.split(" ").slice(1).join(" ")}\n`,
    );
    assert.match((await failure(open(client(), { file, acceptNewHostKeys: true }))).message, /is revoked/);
  });

  it("is refused where the key is not authorized, and the key is in no output", async () => {
    const error = await failure(open(client({ keyFile: join(folder, "stranger") })));
    assert.equal(error.status, "refused");
    assert.match(error.message, /login as "root" with the key was refused/);
    assert.match(error.hint ?? "", /^Put the public key into that user's authorized_keys/);
    const asked = { ask: async () => "canary-password", askPassword: true };
    const again = await failure(open(client({ keyFile: join(folder, "stranger") }), asked));
    assert.match(again.hint ?? "", /^It takes no password\. Put the public key/);
    const secret = (await readFile(join(folder, "stranger"), "utf8")).split("\n")[2] ?? "none";
    assert.ok(!`${error.stack}${error.hint}${JSON.stringify(error)}`.includes(secret));
  });

  it("with a key that has a passphrase asks for an agent", async () => {
    const error = await failure(open(client({ keyFile: join(folder, "locked") })));
    assert.equal(error.status, "refused");
    assert.match(error.message, /has a passphrase/);
    assert.match(error.hint ?? "", /ssh-add/);
  });

  it("without key and agent says so", async () => {
    assert.match((await failure(open(withoutKey()))).message, /no key for it, and no agent/);
    const error = await failure(open(withoutKey(), { agent: join(folder, "no-agent") }));
    assert.match(error.message, /no key for it, and the agent does not answer \(Failed to connect/);
  });

  it("to a closed port, or an unknown name, is unreachable", async () => {
    const closed = await failure(open(client({ port: await freePort() })));
    assert.equal(closed.status, "unreachable");
    assert.match(closed.message, /ECONNREFUSED/);
    const unknown = await failure(open(client({ host: "no-such-host.invalid" })));
    assert.equal(unknown.status, "unreachable");
    assert.match(unknown.message, /"no-such-host.invalid" does not resolve here/);
  });

  it("to a host that says nothing, or hangs up, is unreachable in time", async () => {
    for (const [hangUp, message] of [
      [false, /no answer from 127\.0\.0\.1:\d+ within 0\.3 s/],
      [true, /127\.0\.0\.1:\d+: Connection lost/],
    ] as const) {
      const fake = createServer((socket) => {
        socket.on("error", () => undefined);
        if (hangUp) socket.end();
      }).listen(0, "127.0.0.1");
      await once(fake, "listening");
      const address = fake.address();
      assert.ok(address !== null && typeof address === "object");
      const error = await failure(open(client({ port: address.port }), { timeoutMs: 300 })).finally(() =>
        fake.close(),
      );
      assert.deepEqual([error.status, message.test(error.message)], ["unreachable", true], error.message);
    }
  });
});
