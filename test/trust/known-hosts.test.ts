import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import { callingUser } from "../../src/trust/calling-user.ts";
import {
  fingerprint,
  hostKeyAlgorithms,
  lookup,
  readKnownHosts,
  remember,
} from "../../src/trust/known-hosts.ts";
import { makeKey } from "../lab/sshd.ts";

const run = promisify(execFile);
let folder: string;
let file: string;
let one: string;
let two: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-known-hosts-"));
  file = join(folder, "known_hosts");
  one = (await makeKey(join(folder, "one"))).split(" ").slice(0, 2).join(" ");
  two = (await makeKey(join(folder, "two"))).split(" ").slice(0, 2).join(" ");
});
after(() => rm(folder, { recursive: true }));

async function keysOf(text: string, host: string, port = 22): Promise<string[]> {
  await writeFile(file, text);
  return lookup(await readKnownHosts(file), host, port).keys.map(
    (key) => `${key.type} ${key.blob.toString("base64")}`,
  );
}

describe("known hosts", () => {
  it("match plain names, names with ports, patterns and negation", async () => {
    const text = `# a comment
a.lan,10.0.0.5 ${one} with a comment
[a.lan]:2222 ${two}
*.plant7.lan,!bad.plant7.lan ${one}
db? ${two}
broken line
`;
    assert.deepEqual(await keysOf(text, "A.lan"), [one]);
    assert.deepEqual(await keysOf(text, "10.0.0.5"), [one]);
    assert.deepEqual(await keysOf(text, "a.lan", 2222), [two]);
    assert.deepEqual(await keysOf(text, "10.0.0.5", 2222), []);
    assert.deepEqual(await keysOf(text, "x.plant7.lan"), [one]);
    assert.deepEqual(await keysOf(text, "bad.plant7.lan"), []);
    assert.deepEqual(await keysOf(text, "db1"), [two]);
    assert.deepEqual(await keysOf(text, "db12"), []);
    assert.deepEqual(await keysOf(text, "aXlan"), []);
  });

  it("match names that ssh-keygen hashed", async () => {
    await writeFile(file, `a.lan ${one}\n[10.0.0.5]:2222 ${two}\n`);
    await run("ssh-keygen", ["-q", "-H", "-f", file]);
    const text = await readFile(file, "utf8");
    assert.match(text, /^\|1\|/);
    assert.deepEqual(await keysOf(text, "a.lan"), [one]);
    assert.deepEqual(await keysOf(text, "10.0.0.5", 2222), [two]);
    assert.deepEqual(await keysOf(text, "b.lan"), []);
  });

  it("keep revoked keys apart, and an authority's key is no host's", async () => {
    assert.deepEqual(await keysOf(`@revoked * ${one}\n@cert-authority * ${two}\n@else * ${two}\n`, "a"), []);
    const { revoked } = lookup(await readKnownHosts(file), "a", 22);
    assert.equal(revoked.length, 1);
  });

  it("are written for ssh-keygen to find, after a line that lacks its end, and 0600 if new", async () => {
    const fresh = join(folder, "new", "known_hosts");
    const blob = Buffer.from(one.split(" ")[1] ?? "", "base64");
    const known = await readKnownHosts(fresh);
    const user = await callingUser({});
    await remember(known, user, {
      host: "a.lan",
      port: 2222,
      key: { type: "ssh-ed25519", blob },
      hashed: false,
    });
    assert.equal((await stat(fresh)).mode & 0o777, 0o600);
    assert.equal(lookup(known, "a.lan", 2222).keys.length, 1);
    assert.match((await run("ssh-keygen", ["-F", "[a.lan]:2222", "-f", fresh])).stdout, /ssh-ed25519/);

    await writeFile(file, `x ${two}`);
    const more = { host: "b.lan", port: 22, key: { type: "ssh-ed25519", blob }, hashed: false };
    await remember(await readKnownHosts(file), user, more);
    assert.equal(await readFile(file, "utf8"), `x ${two}\nb.lan ${one}\n`);
  });

  it("have ssh-keygen's fingerprints", async () => {
    const { stdout } = await run("ssh-keygen", ["-l", "-f", join(folder, "one.pub")]);
    assert.ok(stdout.includes(fingerprint(Buffer.from(one.split(" ")[1] ?? "", "base64"))));
  });

  it("decide which algorithms are asked for first, never SHA-1", () => {
    const algorithms = hostKeyAlgorithms([{ type: "ssh-rsa", blob: Buffer.alloc(0) }]);
    assert.deepEqual(algorithms.slice(0, 3), ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
    assert.ok(!algorithms.includes("ssh-rsa"));
  });
});
