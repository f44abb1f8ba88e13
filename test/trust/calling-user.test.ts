/** Under a real sudo: the calling user's configuration, keys and known hosts, which stay that user's. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { chmod, chown, mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { callingUser } from "../../src/trust/calling-user.ts";
import { inOwnNamespace } from "../lab/own-namespace.ts";
import { makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";
import { withSudoers, withUsers } from "../lab/users.ts";

const ops = 4711;
let folder: string;
let home: string;
let sshd: TestSshd;
let program: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-calling-user-"));
  await chmod(folder, 0o755);
  home = join(folder, "home");
  await mkdir(join(home, ".ssh"), { recursive: true });
  const authorizedKey = await makeKey(join(home, ".ssh/id"));
  sshd = await startSshd({ folder: join(folder, "host"), authorizedKey });
  const lines = [
    "Host web",
    "  HostName 127.0.0.1",
    `  Port ${sshd.port}`,
    "  User root",
    "  IdentityFile ~/.ssh/id",
  ];
  await writeFile(join(home, ".ssh/config"), `${lines.join("\n")}\n`);
  await promisify(execFile)("chown", ["-R", `${ops}:${ops}`, home]);
  await chmod(join(home, ".ssh"), 0o700);
  program = join(folder, "reach.mts");
  const source = (name: string) => JSON.stringify(join(import.meta.dirname, "../../src/trust", name));
  await writeFile(
    program,
    `import { Reach } from ${source("reach.ts")};
    import { callingUser } from ${source("calling-user.ts")};
    const client = { name: "c", host: process.argv[2], where: "c:1" };
    const told = { caller: await callingUser(), uid: process.getuid() };
    try {
      const reach = await Reach.prepare([client], { acceptNewHostKeys: process.argv[3] === "accept" });
      const connection = await reach.connect(client);
      told.user = (await connection.exec("id -un")).stdout.trim();
      connection.close();
    } catch (error) {
      told.error = error.message;
      told.hint = error.hint;
    }
    console.log(JSON.stringify(told));`,
  );
});
after(async () => {
  await sshd.stop();
  await rm(folder, { recursive: true });
});

interface Told {
  caller: { name: string; home: string; uid: number; viaSudo: boolean };
  uid: number;
  user?: string;
  error?: string;
  hint?: string;
}

/** As ops, who calls sudo. */
async function underSudo(...words: string[]): Promise<Told> {
  const setup = [...withUsers({ name: "ops", home }), ...withSudoers("ops ALL=(root) NOPASSWD: ALL")];
  const asOps = ["setpriv", `--reuid=${ops}`, `--regid=${ops}`, "--clear-groups"];
  const command = [...asOps, "sudo", "-n", process.execPath, program, ...words];
  return JSON.parse(await inOwnNamespace(folder, setup, command)) as Told;
}

describe("under sudo", () => {
  it("the calling user's configuration, key and known hosts are meant, and a new host is written there", async () => {
    const unknown = await underSudo("web");
    assert.deepEqual(
      [unknown.uid, unknown.caller.name, unknown.caller.home, unknown.caller.viaSudo],
      [0, "ops", home, true],
    );
    assert.match(unknown.error ?? "", new RegExp(`its host key .* is not in "${home}/\\.ssh/known_hosts"`));

    const accepted = await underSudo("web", "accept");
    assert.deepEqual([accepted.user, accepted.error], ["root", undefined]);
    const file = join(home, ".ssh/known_hosts");
    const { uid, gid, mode } = await stat(file);
    assert.deepEqual([uid, gid, mode & 0o777], [ops, ops, 0o600]);
    assert.match(await readFile(file, "utf8"), /^(?:\[127\.0\.0\.1\]:\d+|\|1\|\S+) ssh-ed25519 /);
    const again = await underSudo("web");
    assert.deepEqual([again.user, again.error], ["root", undefined]);
  });

  it("root writes through no link that the user has laid", async () => {
    const file = join(home, ".ssh/known_hosts");
    const roots = join(folder, "of-root");
    await writeFile(roots, "", { mode: 0o600 });
    await rm(file);
    await symlink(roots, file);
    const { error } = await underSudo("web", "accept");
    assert.match(error ?? "", /write its host key to .*Permission denied/);
    assert.equal(await readFile(roots, "utf8"), "");
    await rm(file);
  });

  it("an agent that sudo has taken away is told of, with what to do", async () => {
    const { error, hint } = await underSudo("127.0.0.1");
    assert.match(error ?? "", /no key for it, and no agent is running/);
    assert.match(hint ?? "", /sudo --preserve-env=SSH_AUTH_SOCK/);
  });

  it("a configuration of the user's that others may write is refused", async () => {
    await chmod(join(home, ".ssh/config"), 0o666);
    assert.match((await underSudo("web")).error ?? "", /Bad owner or permissions on .*\/home\/\.ssh\/config/);
    await chmod(join(home, ".ssh/config"), 0o644);
    await chown(join(home, ".ssh/config"), 4712, ops);
    assert.match((await underSudo("web")).error ?? "", /Bad owner or permissions/);
  });
});

it("only root has a calling user besides itself, and only one that exists", async () => {
  const own = await callingUser({});
  for (const SUDO_UID of ["", "0", "4294967", "1;id", "-1", "root"])
    assert.deepEqual(await callingUser({ SUDO_UID, SUDO_USER: "ops" }), own);
});
