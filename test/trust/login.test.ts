/** Logging in with passphrases, passwords and answers, at real sshds; each thing is asked once. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import type { Client } from "../../src/trust/client.ts";
import { Reach, type ReachOptions } from "../../src/trust/reach.ts";
import { watchFor } from "../lab/secret-watch.ts";
import { makeKey, type SshdOptions, startSshd, type TestSshd } from "../lab/sshd.ts";
import { withUsers } from "../lab/users.ts";
import { reachAll, reachOne } from "./ssh-opinion.ts";

const run = promisify(execFile);
const canary = "canary-7c1f-Pässword $x";
let folder: string;
let knownHostsFile: string;
let sshd: TestSshd;
let withPasswords: TestSshd;
const started: TestSshd[] = [];
const keys: string[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-login-"));
  knownHostsFile = join(folder, "known_hosts");
  for (const name of ["id", "locked", "locked-too"])
    keys.push(await makeKey(join(folder, name), name === "id" ? "" : canary));
  sshd = await start("keys");
  withPasswords = await start("passwords", {
    extraConfig: ["PasswordAuthentication yes", "PubkeyAuthentication no", "PermitRootLogin yes"],
    run: withUsers({ name: "ops", password: canary }, { name: "dev", uid: 4712, password: "other" }),
  });
});
after(async () => {
  for (const one of started) await one.stop();
  await rm(folder, { recursive: true });
});

async function start(name: string, options: Partial<SshdOptions> = {}): Promise<TestSshd> {
  const one = await startSshd({ folder: join(folder, name), authorizedKey: keys.join("\n"), ...options });
  started.push(one);
  await writeFile(knownHostsFile, `${one.hostKeyLine}\n`, { flag: "a" });
  return one;
}

function client({ address, port }: TestSshd, changes: Partial<Client> = {}): Client {
  return { name: "c", host: address, port, user: "root", where: "c:1", ...changes };
}

/** Answers in their order, and what was asked. */
function answering(...answers: string[]): { ask: (question: string) => Promise<string>; asked: string[] } {
  const asked: string[] = [];
  const ask = async (question: string) => {
    asked.push(question);
    const answer = answers.shift();
    assert.ok(answer !== undefined, `asked once more: ${question}`);
    return answer;
  };
  return { ask, asked };
}

const options = (changes: Partial<ReachOptions> = {}) => ({
  knownHostsFile,
  sshConfigFile: "none",
  ...changes,
});

describe("a key with a passphrase", () => {
  it("is asked for once, for all hosts, before the first connection", async () => {
    const { ask, asked } = answering("wrong", canary, canary);
    const clients = ["locked", "locked", "locked-too", "locked"].map((name) =>
      client(sshd, { keyFile: join(folder, name) }),
    );
    const logins = () => sshd.log().split("Accepted publickey").length - 1;
    const before = logins();
    const reach = await Reach.prepare(clients, { acceptNewHostKeys: false, agent: "", ...options({ ask }) });
    assert.equal(logins(), before);
    assert.deepEqual(asked, [
      `Passphrase of the key ${folder}/locked: `,
      `Not right. Passphrase of the key ${folder}/locked: `,
      `Passphrase of the key ${folder}/locked-too: `,
    ]);
    for (const one of clients) (await reach.connect(one)).close();
    reach.close();
  });

  it("is an error where three are wrong, and is not in it", async () => {
    const { ask } = answering("x-canary", "y-canary", "");
    const who = client(sshd, { keyFile: join(folder, "locked") });
    await assert.rejects(reachOne(who, options({ ask })), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, "input");
      assert.match(error.message, /unlock key ".*locked": three passphrases were not right/);
      assert.ok(!JSON.stringify([error.message, error.stack, error]).includes("canary"));
      return true;
    });
  });

  it("is not asked for where the agent has it; and the agent's key comes before its others", async () => {
    const socket = join(folder, "agent");
    const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      await once(agent.stdout, "data");
      const env = {
        ...process.env,
        SSH_AUTH_SOCK: socket,
        SSH_ASKPASS_REQUIRE: "force",
        SSH_ASKPASS: join(folder, "askpass"),
      };
      await writeFile(join(folder, "askpass"), `#!/bin/sh\necho '${canary}'\n`, { mode: 0o700 });
      // sshd ends a login after six keys that it doesn't know.
      for (let number = 0; number < 7; number += 1) {
        await makeKey(join(folder, `unknown-${number}`));
        await run("ssh-add", ["-q", join(folder, `unknown-${number}`)], { env });
      }
      await run("ssh-add", ["-q", join(folder, "locked")], { env });
      const { ask } = answering();
      const found = client(sshd, { keyFile: join(folder, "locked") });
      assert.equal(await reachOne(found, options({ ask, agent: socket })), "root");
      const text = await reachOne(client(sshd), options({ agent: socket }));
      assert.match(
        text,
        /login as "root" with the agent's keys was refused \(it ended the login after too many keys\)/,
      );
    } finally {
      agent.kill();
      await once(agent, "exit");
    }
  });

  it("may be in any form that ssh has", async () => {
    const pem = async (name: string, ...words: string[]) => {
      const file = join(folder, name);
      await run("ssh-keygen", ["-q", "-N", canary, "-C", "", "-f", file, ...words]);
      keys.push((await readFile(`${file}.pub`, "utf8")).trim());
      return file;
    };
    const files = [
      await pem("rsa-pem", "-t", "rsa", "-m", "PEM"),
      await pem("rsa-pkcs8", "-t", "rsa", "-m", "PKCS8"),
      await pem("ecdsa-pem", "-t", "ecdsa", "-m", "PEM"),
      await pem("ecdsa-pkcs8", "-t", "ecdsa", "-b", "384", "-m", "PKCS8"),
      await pem("ecdsa-own", "-t", "ecdsa", "-b", "521"),
    ];
    const many = await start("forms");
    for (const keyFile of files) {
      const { ask } = answering(canary);
      assert.equal(await reachOne(client(many, { keyFile }), options({ ask })), "root", keyFile);
    }
    const plain = join(folder, "plain-pkcs8");
    await run("ssh-keygen", ["-q", "-N", "", "-t", "rsa", "-m", "PKCS8", "-f", plain]);
    assert.match(
      await reachOne(client(many, { keyFile: plain }), options()),
      /login as "root" with the key was refused/,
    );
  });
});

describe("a password", () => {
  it("is asked for once for each user name, and only where it is wanted", async () => {
    const { ask, asked } = answering(canary, "other");
    const clients = [
      ...["ops", "dev", "ops"].map((user) => client(withPasswords, { user })),
      client(sshd, { user: "ops", keyFile: join(folder, "id") }),
    ];
    const result = await reachAll(clients, options({ ask, askPassword: true }));
    assert.deepEqual(result.slice(0, 3), ["ops", "dev", "ops"]);
    assert.deepEqual(asked, ["Password of ops on 3 hosts: ", "Password of dev on 1 host: "]);
    assert.match(await reachOne(client(withPasswords, { user: "ops" }), options()), /there is no key for it/);
    const locked = client(withPasswords, { user: "ops", keyFile: join(folder, "id") });
    assert.match(await reachOne(locked, options()), /login as "ops" with the key was refused/);
  });

  it("that is wrong is sent once", async () => {
    const { ask } = answering("wrong-canary");
    const failed = () => withPasswords.log().split("Failed password for dev").length - 1;
    const before = failed();
    const text = await reachOne(client(withPasswords, { user: "dev" }), options({ ask, askPassword: true }));
    assert.equal(text, 'login as "dev" with the password was refused');
    assert.equal(failed(), before + 1);
  });

  it("is an error where nobody can be asked", async () => {
    await assert.rejects(reachOne(client(withPasswords), options({ askPassword: true })), {
      kind: "usage",
      message: /no terminal to ask at/,
    });
  });

  it("answers the question of keyboard-interactive, and no other", async () => {
    const pam = ["auth", "account", "password", "session"]
      .map((kind) => `${kind} required pam_unix.so`)
      .join("\\n");
    const ownPam = [
      `mkdir -p $FOLDER/pam.d; printf '${pam}\\n' > $FOLDER/pam.d/sshd`,
      "mount --bind $FOLDER/pam.d /etc/pam.d",
    ];
    const extraConfig = ["UsePAM yes", "KbdInteractiveAuthentication yes", "PubkeyAuthentication no"];
    const inside = (expired: boolean) => ({
      extraConfig,
      run: [...withUsers({ name: "ops", password: canary, expired }), ...ownPam],
    });
    const interactive = await start("interactive", inside(false));
    const twice = await start("twice", inside(true));
    const ops = (host: TestSshd) => client(host, { user: "ops" });
    assert.equal(
      await reachOne(ops(interactive), options({ ...answering(canary), askPassword: true })),
      "ops",
    );
    assert.match(
      await reachOne(ops(interactive), options({ ...answering("wrong-canary"), askPassword: true })),
      /login as "ops"/,
    );
    assert.match(
      await reachOne(ops(twice), options({ ...answering(canary), askPassword: true })),
      /login as "ops": it asks for more than a password \("You are required to change your password/,
    );
  });

  it("that is wrong is sent once also where a host has two ways to take it", async () => {
    const extraConfig = ["UsePAM yes", "PasswordAuthentication yes", "KbdInteractiveAuthentication yes"];
    const host = await start("two-ways", { extraConfig, run: withUsers({ name: "ops", password: canary }) });
    const wrong = options({ ...answering("wrong-canary"), askPassword: true });
    assert.match(await reachOne(client(host, { user: "ops" }), wrong), /with the password was refused/);
    assert.equal(
      host.log().match(/Failed (?:password|keyboard-interactive)|PAM: Authentication failure/g)?.length,
      1,
    );
  });

  it("comes after a key, where the host wants both", async () => {
    const both = await start("both", {
      extraConfig: ["PasswordAuthentication yes", "AuthenticationMethods publickey,password"],
      run: withUsers({ name: "ops", password: canary }),
    });
    const who = client(both, { user: "ops", keyFile: join(folder, "id") });
    assert.equal(await reachOne(who, options({ ...answering(canary), askPassword: true })), "ops");
  });

  it("is in no process's arguments or environment, and in no log of the host", async () => {
    const watch = await watchFor("canary-7c1f");
    const control = spawn("sleep", ["60"], { env: { ...process.env, X: "canary-7c1f" } });
    const { ask } = answering(canary);
    const reach = await Reach.prepare([client(withPasswords, { user: "ops" })], {
      acceptNewHostKeys: false,
      agent: "",
      ...options({ ask, askPassword: true }),
    });
    const jumps = client(withPasswords, { user: "ops" });
    assert.equal(await reachOne(jumps, options({ ...answering(canary), askPassword: true })), "ops");
    assert.ok(!JSON.stringify(reach).includes("canary"));
    await new Promise((done) => setTimeout(done, 300));
    control.kill();
    const seen = await watch.stop();
    assert.ok(
      seen.length === 1 && seen[0]?.startsWith("environ: "),
      `the watch sees the control alone: ${seen}`,
    );
    assert.ok(!withPasswords.log().includes("canary-7c1f"));
  });
});

it("a folder in place of a key, or junk, is told", async () => {
  await mkdir(join(folder, "a-folder"));
  await writeFile(
    join(folder, "junk"),
    "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
  );
  for (const [name, text] of [
    ["a-folder", /^read key ".*a-folder": .*EISDIR.*, and no agent is running/],
    ["junk", /^".*junk" is not a private key, and no agent is running/],
  ] as const)
    assert.match(await reachOne(client(sshd, { keyFile: join(folder, name) }), options()), text);
});
