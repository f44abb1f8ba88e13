/** SSH's configuration, against a real sshd; ssh itself gives a second opinion. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { callingUser } from "../../src/trust/calling-user.ts";
import type { Client } from "../../src/trust/client.ts";
import { Reach } from "../../src/trust/reach.ts";
import { SshConfigs } from "../../src/trust/ssh-config.ts";
import { rootsHome } from "../lab/own-namespace.ts";
import { makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";
import { reachOne, sshConnects } from "./ssh-opinion.ts";

const run = promisify(execFile);
let folder: string;
let sshd: TestSshd;
let config: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-ssh-config-"));
  const authorizedKey = await makeKey(join(folder, "id"));
  sshd = await startSshd({ folder: join(folder, "host"), authorizedKey });
  config = join(folder, "config");
});
after(async () => {
  await sshd.stop();
  await rm(folder, { recursive: true });
});

const client = (changes: Partial<Client> = {}): Client => ({
  name: "web",
  host: "web",
  where: "hosts:1",
  ...changes,
});

async function write(name: string, ...lines: string[]): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, `${lines.join("\n")}\n`);
  return file;
}

/** Lines for a host "web" that stands where our sshd does. */
function web(): string[] {
  return [
    "Host web",
    "  HostName 127.0.0.1",
    `  Port ${sshd.port}`,
    "  User root",
    `  IdentityFile ${folder}/id`,
    `  UserKnownHostsFile ${folder}/known_hosts`,
  ];
}

describe("ssh's configuration", () => {
  it("says host, port, user, key and known hosts, also from an included file", async () => {
    await write("known_hosts", sshd.hostKeyLine);
    await write("included", ...web());
    await write("config", `Include ${folder}/inc*ded`, "Host *", "  User nobody-else");
    assert.equal(await reachOne(client(), { sshConfigFile: config }), "root");
    assert.ok(await sshConnects(["-F", config, "--", "web"]));
    assert.match(
      await reachOne(client({ host: "other.invalid" }), { sshConfigFile: config }),
      /there is no key/,
    );
  });

  it("gives way to the inventory", async () => {
    await write("config", ...web());
    const options = { sshConfigFile: config };
    assert.match(await reachOne(client({ port: 1 }), options), /connect to 127\.0\.0\.1:1: ECONNREFUSED/);
    assert.match(await reachOne(client({ user: "ops" }), options), /login as "ops" with the key was refused/);
    const stranger = join(folder, "stranger");
    await makeKey(stranger);
    // As with `ssh -i`: the inventory's key first, then the configuration's.
    assert.equal(await reachOne(client({ keyFile: stranger }), options), "root");
  });

  it("says the name in known_hosts, and which files are read", async () => {
    await write("known_alias", sshd.hostKeyLine.replace(/^\S+/, "the-alias"));
    const lines = [...web(), `  UserKnownHostsFile ${folder}/none`];
    await write(
      "config",
      "Host web",
      "  HostKeyAlias the-alias",
      `  GlobalKnownHostsFile ${folder}/known_alias`,
      ...lines,
    );
    assert.equal(await reachOne(client(), { sshConfigFile: config }), "root");
    assert.ok(await sshConnects(["-F", config, "--", "web"]));
    await write("known_alias", "");
    const words = /not in "[^"]*known_hosts"/;
    assert.match(await reachOne(client(), { sshConfigFile: config }), words);
  });

  it("can't switch the check of host keys off", async () => {
    await write("config", "Host *", "  StrictHostKeyChecking no", ...web(), "  UserKnownHostsFile /dev/null");
    await write("known_hosts", "");
    assert.match(await reachOne(client(), { sshConfigFile: config }), /its host key .* is not in/);
    assert.ok(await sshConnects(["-F", config, "--", "web"]), "ssh would have gone on");
  });

  it("makes new names in known_hosts unreadable, where it says so", async () => {
    await rm(join(folder, "known_hosts"), { force: true });
    await write("config", "HashKnownHosts yes", ...web());
    assert.equal(await reachOne(client(), { sshConfigFile: config, acceptNewHostKeys: true }), "root");
    const text = await readFile(join(folder, "known_hosts"), "utf8");
    assert.match(text, /^\|1\|\S+ ssh-ed25519 \S+\n$/);
    const name = `[127.0.0.1]:${sshd.port}`;
    const found = await run("ssh-keygen", ["-F", name, "-f", join(folder, "known_hosts")]);
    assert.match(found.stdout, /found: line 1/);
    assert.ok(await sshConnects(["-F", config, "-o", "StrictHostKeyChecking=yes", "--", "web"]));
  });

  it("that can't be read is told once, with file and line, before any connection", async () => {
    const bad = await write("bad", "Host web", "  Foo bar");
    await assert.rejects(Reach.prepare([client()], { sshConfigFile: bad, acceptNewHostKeys: false }), {
      kind: "input",
      message: new RegExp(
        `read ssh's configuration for "web": ${bad}: line 2: Bad configuration option: foo`,
      ),
    });
  });

  it("is asked for each distinct host once, and no name is taken as an option", async () => {
    const bin = join(folder, "bin");
    await mkdir(bin);
    const { stdout } = await run("sh", ["-c", "command -v ssh"]);
    // The real ssh behind a script that counts.
    const script = `#!/bin/sh\necho "$*" >> ${folder}/asked\nexec ${stdout.trim()} "$@"\n`;
    await writeFile(join(bin, "ssh"), script, { mode: 0o755 });
    const path = process.env.PATH;
    process.env.PATH = `${bin}:${path}`;
    try {
      const configs = new SshConfigs(await callingUser({}), "none");
      const asked = Array.from({ length: 20 }, (_, at) => ({ host: `h${at % 4}` }));
      assert.equal((await Promise.all(asked.map((one) => configs.of(one)))).at(-1)?.host, "h3");
      for (const host of ["-oProxyCommand=touch /tmp/x", "a b", "a;b", "$(x)", "", "a\nb"])
        await assert.rejects(configs.of({ host }), /is no host name and no IP address/);
    } finally {
      process.env.PATH = path;
    }
    const lines = (await readFile(join(folder, "asked"), "utf8")).trim().split("\n");
    assert.deepEqual(
      lines.sort(),
      ["h0", "h1", "h2", "h3"].map((host) => `-G -T -F none -- ${host}`),
    );
  });

  it("is not needed: without OpenSSH its defaults hold", async () => {
    const path = process.env.PATH;
    process.env.PATH = join(folder, "nothing");
    try {
      const configs = new SshConfigs(await callingUser({}), "none");
      const { host, port, keyFiles, knownHostsFiles } = await configs.of({ host: "a.lan" });
      assert.deepEqual([host, port, configs.present], ["a.lan", 22, false]);
      assert.ok(keyFiles.some(({ file, byDefault }) => file.endsWith("/.ssh/id_ed25519") && byDefault));
      assert.match(knownHostsFiles.join(), /^\/.*\/\.ssh\/known_hosts$/);
    } finally {
      process.env.PATH = path;
    }
  });

  it("may name an agent, or none, and only some keys", async () => {
    await write("known_hosts", sshd.hostKeyLine);
    const socket = join(folder, "agent");
    const started = await run("ssh-agent", ["-a", socket, "-s"]);
    const pid = Number(/SSH_AGENT_PID=(\d+)/.exec(started.stdout)?.[1]);
    try {
      const env = { ...process.env, SSH_AUTH_SOCK: socket };
      await run("ssh-add", ["-q", join(folder, "id")], { env });
      const withoutKey = web().filter((line) => !line.includes("IdentityFile"));
      const options = { sshConfigFile: config, agent: undefined };
      await write("config", ...withoutKey, `  IdentityAgent ${socket}`);
      assert.equal(await reachOne(client(), options), "root");
      await write("config", ...withoutKey, `  IdentityAgent ${socket}`, "  IdentitiesOnly yes");
      assert.match(await reachOne(client(), options), /no key/);
      await write("config", ...withoutKey, "  IdentityAgent none");
      assert.match(await reachOne(client(), options), /there is no key for it, and no agent is running/);
    } finally {
      process.kill(pid);
    }
  });
});

it("the user's own file that others may write is refused, as ssh does", async () => {
  // Root's own, in a mount namespace where /root is a folder of the test's.
  const home = join(folder, "home");
  await mkdir(join(home, ".ssh"), { recursive: true, mode: 0o700 });
  await writeFile(join(home, ".ssh/config"), "Host web\n  HostName 127.0.0.9\n");
  const script = [
    `import { SshConfigs } from ${JSON.stringify(join(import.meta.dirname, "../../src/trust/ssh-config.ts"))};`,
    `import { callingUser } from ${JSON.stringify(join(import.meta.dirname, "../../src/trust/calling-user.ts"))};`,
    `const configs = new SshConfigs(await callingUser({}));`,
    `console.log(await configs.of({ host: "web" }).then((config) => config.host, (error) => error.message));`,
  ];
  const file = await write("ask.mts", ...script);
  const inside = async () => {
    const command = `${rootsHome(home)}; exec ${process.execPath} ${file}`;
    return (await run("unshare", ["-m", "sh", "-c", command])).stdout;
  };
  assert.equal(await inside(), "127.0.0.9\n");
  await chmod(join(home, ".ssh/config"), 0o666);
  assert.match(await inside(), /Bad owner or permissions on \/root\/\.ssh\/config/);
});
