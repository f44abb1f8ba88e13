/** Root's rights at a client, with a real sudo in each of its moods. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import type { Client } from "../../src/trust/client.ts";
import { Reach, type ReachOptions } from "../../src/trust/reach.ts";
import { runAsRoot } from "../../src/trust/remote-shell.ts";
import { type StoreOrder, workOnStores } from "../../src/trust/stores/work.ts";
import { watchFor } from "../lab/secret-watch.ts";
import { makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";
import { withSudoers, withUsers } from "../lab/users.ts";

const run = promisify(execFile);
const canary = "canary-91ab sudo!'\\";
const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
const names = ["registry.plant7.lan", "registry.plant7.lan:443", "[fd00::1]:443"];
let folder: string;
let authorizedKey: string;
let count = 0;
const started: TestSshd[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-sudo-"));
  authorizedKey = await makeKey(join(folder, "id"));
});
after(async () => {
  for (const sshd of started) await sshd.stop();
  await rm(folder, { recursive: true });
});

interface Host extends TestSshd {
  client: Client;
  /** what is left in its folder for temporary files */
  leftovers(): Promise<string[]>;
}

/** A host whose user ops has a password, and sudoers these lines; mktemp -d works in a folder of its own. */
async function startHost(sudoers: string[], more: string[] = [], umask = "022"): Promise<Host> {
  count += 1;
  const own = join(folder, `host-${count}`);
  await mkdir(own);
  const sshd = await startSshd({
    folder: own,
    authorizedKey,
    extraConfig: ["SetEnv TMPDIR=/run/tmp"],
    run: [
      ...withUsers({ name: "ops", password: canary }, { name: "dev", uid: 4712, password: "other" }),
      ...withSudoers(...sudoers),
      "mkdir -m 1777 /run/tmp",
      ...more,
      `umask ${umask}`,
    ],
  });
  started.push(sshd);
  await writeFile(join(folder, "known_hosts"), `${sshd.hostKeyLine}\n`, { flag: "a" });
  const { address, port } = sshd;
  return {
    ...sshd,
    client: { name: "c", host: address, port, user: "ops", keyFile: join(folder, "id"), where: "c:1" },
    leftovers: () => readdir(join(own, "run/tmp")),
  };
}

/** @param password what is answered to the question for it; nothing is asked for without */
async function reachWith(client: Client, password?: string): Promise<Reach> {
  const options: ReachOptions = {
    ...{ knownHostsFile: join(folder, "known_hosts"), sshConfigFile: "none", agent: "", timeoutMs: 60_000 },
    ...{ acceptNewHostKeys: false, askSudoPassword: password !== undefined },
    ask: async (question) => {
      assert.equal(question, "sudo password of ops on 1 host: ");
      return password ?? "not asked";
    },
  };
  return await Reach.prepare([client], options);
}

/** Installs the CA, or takes it away. @returns "changed", "ok", or what went wrong, with its hint */
async function installAt(
  client: Client,
  password?: string,
  changes: Partial<StoreOrder> = {},
): Promise<string> {
  const reach = await reachWith(client, password);
  try {
    const connection = await reach.connect(client);
    try {
      let status = "ok";
      const order: StoreOrder = {
        ...{ verb: "install", names, authorities: [pem], removeOld: false, stores: ["docker"] },
        ...{ mirrors: [], endpoints: [], restartRuntimes: false, ...changes },
      };
      await workOnStores(connection, client, order, () => {
        status = "changed";
      });
      return status;
    } finally {
      connection.close();
    }
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return `${error.message} | ${"hint" in error ? error.hint : ""}`;
  }
}

/** The file begins with drydock's mark. */
function withoutMark(text: string): string {
  assert.match(text, /^# Written by drydock trust \(directories made: \d\)/);
  return text.slice(text.indexOf("\n") + 1);
}

async function assertInstalled(host: Host): Promise<void> {
  const certs = join(host.etcDocker, "certs.d");
  assert.deepEqual((await readdir(certs)).sort(), [...names].sort());
  for (const name of names) {
    assert.deepEqual(await readdir(join(certs, name)), ["ca.crt"]);
    assert.equal(withoutMark(await readFile(join(certs, name, "ca.crt"), "utf8")), `${pem}\n`);
    const { mode, uid, gid } = await stat(join(certs, name, "ca.crt"));
    assert.deepEqual([mode & 0o7777, uid, gid], [0o644, 0, 0]);
    assert.equal((await stat(join(certs, name))).mode & 0o7777, 0o755);
  }
  assert.deepEqual(await host.leftovers(), []);
}

describe("a user who is not root", () => {
  it("needs no password where sudo asks for none, requiretty or not, also with umask 077", async () => {
    for (const [more, umask] of [
      [[], "022"],
      [["Defaults:ops requiretty"], "077"],
      [["Defaults use_pty", "Defaults:ops umask=0077,umask_override"], "022"],
    ] as const) {
      const host = await startHost([...more, "ops ALL=(root) NOPASSWD: ALL"], [], umask);
      assert.equal(await installAt(host.client), "changed", more.join());
      await assertInstalled(host);
      assert.equal(await installAt(host.client, canary), "ok");
    }
  });

  it("gives the password where sudo wants it, requiretty or not", async () => {
    for (const more of [
      [],
      ["Defaults:ops requiretty"],
      ["Defaults use_pty,requiretty"],
      ["Defaults lecture=always,timestamp_timeout=0"],
    ]) {
      const host = await startHost([...more, "ops ALL=(root) ALL"]);
      assert.equal(await installAt(host.client, canary), "changed", more.join());
      await assertInstalled(host);
      assert.equal(await installAt(host.client, canary), "ok");
      assert.ok(!host.log().includes("canary"));
    }
  });

  it("is refused with the reason where sudo refuses, and nothing is left there", async () => {
    const missing = [
      "mkdir -p $FOLDER/up $FOLDER/work; mount -t overlay overlay -o lowerdir=/usr/bin,upperdir=$FOLDER/up,workdir=$FOLDER/work /usr/bin",
      "rm /usr/bin/sudo",
    ];
    for (const [sudoers, password, text, more] of [
      [
        ["ops ALL=(root) ALL"],
        undefined,
        /can't become root there without a password: sudo: a password is required \| .*--ask-sudo-password/,
      ],
      [["ops ALL=(root) ALL"], "wrong", /^sudo does not take the password of "ops" \| It was sent once/],
      [["ops ALL=(root) ALL", "Defaults requiretty"], "wrong", /^sudo does not take the password of "ops"/],
      [["ops ALL=(root) ALL"], "", /^sudo does not take the password of "ops"/],
      [["dev ALL=(root) ALL"], canary, /^"ops" is not in the sudoers file there \| .*docs\/sudo\.md/],
      [
        ["ops ALL=(root) /usr/bin/id"],
        canary,
        /^"ops" may not run this with sudo there: .*not allowed to execute/,
      ],
      [
        ["ops ALL=(root) NOPASSWD: /usr/bin/true"],
        undefined,
        /may not run this with sudo|without a password: make .*sudo: a password is required/,
      ],
      [["dev ALL=(root) ALL"], canary, /^"ops" is not root, and there is no sudo there/, missing],
    ] as const) {
      const host = await startHost([...sudoers], [...(more ?? [])]);
      // Had it waited for sudo until its time ended, that would be the reason.
      assert.match(await installAt(host.client, password), text);
      assert.deepEqual(await readdir(host.etcDocker), []);
      assert.deepEqual(await host.leftovers(), [], text.source);
    }
  });

  it("is not made root where the inventory says so", async () => {
    const host = await startHost(["ops ALL=(root) NOPASSWD: ALL"]);
    assert.match(
      await installAt({ ...host.client, become: false }),
      /the inventory has ansible_become=false for "ops"/,
    );
    assert.equal(await installAt({ ...host.client, user: "root", become: false }), "changed");
  });

  it("leaves the password in no process's arguments or environment, also while root works", async () => {
    for (const more of [[], ["Defaults requiretty"]]) {
      const host = await startHost([...more, "ops ALL=(root) ALL"]);
      const watch = await watchFor("canary-91ab");
      const control = spawn("sh", ["-c", "read line", "canary-91ab"]);
      const reach = await reachWith(host.client, canary);
      const connection = await reach.connect(host.client);
      const script = ["sleep 1; id -un | sed s/^/drydock:/; root id -u | sed s/^/drydock:/"];
      assert.deepEqual(await runAsRoot(connection, host.client, script, ["x"], "payload"), ["root", "0"]);
      // Known by now: sudo is not tried without the password again.
      assert.deepEqual(await runAsRoot(connection, host.client, script), ["root", "0"]);
      connection.close();
      control.kill();
      const seen = await watch.stop();
      assert.ok(seen.length === 1 && seen[0]?.startsWith("cmdline: sh -c"), `the control alone: ${seen}`);
    }
  });
});

describe("the lines for sudoers that the docs have", () => {
  it("are enough, for names with ports and IPv6 addresses, and allow nothing else", async () => {
    const text = await readFile(join(import.meta.dirname, "../../docs/sudo.md"), "utf8");
    const script = /```sh\n(.*?)```/s.exec(text)?.[1] ?? "";
    await writeFile(join(folder, "sudoers.sh"), script);
    const { stdout } = await run("sh", [join(folder, "sudoers.sh"), "ops", ...names]);
    await writeFile(join(folder, "drydock"), stdout, { mode: 0o440 });
    await run("visudo", ["-c", "-f", join(folder, "drydock")]);
    for (const more of ["Defaults env_reset", "Defaults:ops requiretty"]) {
      const host = await startHost([more, `@include ${folder}/drydock`]);
      assert.equal(await installAt(host.client), "changed", more);
      await assertInstalled(host);
      const stores = ["docker", "containers", "containerd"] as const;
      assert.equal(await installAt(host.client, undefined, { stores }), "changed", more);
      assert.equal(await installAt(host.client, undefined, { stores }), "ok");
      assert.equal(await installAt(host.client, undefined, { stores, verb: "remove" }), "changed");
      assert.deepEqual(await readdir(host.etcDocker), []);
      assert.equal(await installAt(host.client), "changed");
      const reach = await reachWith(host.client);
      const connection = await reach.connect(host.client);
      const certs = "/etc/docker/certs.d";
      for (const command of [
        "id",
        "/bin/sh -c id",
        `mkdir -m 0755 ${certs}/other`,
        `mkdir -m 0755 ${certs}/../x`,
        `install -o root -g root -m 0644 /dev/stdin ${certs}/registry.plant7.lan/ca.crt`,
        `install -o root -g root -m 0644 /dev/stdin -t /root ${certs}/registry.plant7.lan/.ca.crt.drydock`,
        `install -o root -g root -m 0644 /etc/shadow ${certs}/registry.plant7.lan/.ca.crt.drydock`,
        `rm -f ${certs}/registry.plant7.lan/another.crt`,
        "rm -f /etc/shadow",
      ])
        assert.notEqual((await connection.exec(`sudo -n -- ${command} </dev/null`)).code, 0, command);
      connection.close();
    }
  });

  it("that lack a name are told of, and no partial file is left", async () => {
    const { stdout } = await run("sh", [join(folder, "sudoers.sh"), "ops", ...names.slice(0, 2)]);
    await writeFile(join(folder, "too-few"), stdout, { mode: 0o440 });
    const host = await startHost([`@include ${folder}/too-few`]);
    assert.match(
      await installAt(host.client),
      /make \/etc\/docker\/certs\.d\/\[fd00::1\]:443: sudo: .*docs\/sudo\.md/s,
    );
    // An empty directory would hide another store.
    assert.deepEqual(await readdir(host.etcDocker), []);
    assert.deepEqual(await host.leftovers(), []);
  });
});

it("what is sent is checked where root has put it, before it gets its name", async () => {
  const host = await startHost(["ops ALL=(root) NOPASSWD: ALL"]);
  for (const user of ["root", "ops"]) {
    const client = { ...host.client, user };
    const reach = await reachWith(client);
    const connection = await reach.connect(client);
    // Between sending and writing, somebody changes the file.
    const script = [
      "make /etc/docker/x; echo more >>$payload;",
      'stage /etc/docker/x/ca.crt $payload $want "-o root -g root -m 0644"; verify; publish; exit 0',
    ];
    await assert.rejects(
      runAsRoot(connection, client, script, [], pem),
      /write \/etc\/docker\/x\/ca\.crt: it has another sha256 there/,
    );
    connection.close();
    assert.deepEqual(await readdir(host.etcDocker), []);
    assert.deepEqual(await host.leftovers(), []);
  }
});
