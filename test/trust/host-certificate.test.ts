/** Host certificates, against real sshds; OpenSSH's own ssh gives a second opinion on each. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import type { Client } from "../../src/trust/client.ts";
import { parseHostCertificate } from "../../src/trust/host-certificate.ts";
import { Reach } from "../../src/trust/reach.ts";
import { makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";

const run = promisify(execFile);
let folder: string;
let authorizedKey: string;
const started: TestSshd[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-host-certificate-"));
  authorizedKey = await makeKey(join(folder, "id"));
  for (const type of ["ed25519", "ecdsa", "rsa"])
    await run("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "", "-f", join(folder, `ca_${type}`)]);
});
after(async () => {
  for (const sshd of started) await sshd.stop();
  await rm(folder, { recursive: true });
});

async function publicKey(name: string): Promise<string> {
  return (await readFile(join(folder, `${name}.pub`), "utf8")).trim().split(" ").slice(0, 2).join(" ");
}

/** A host with one key of a type, and a certificate for it that `ssh-keygen -s` makes with these words. */
async function startHost(name: string, words: string[], type = "ed25519"): Promise<TestSshd> {
  const own = join(folder, name);
  await mkdir(own);
  const key = join(own, "host_key");
  await run("ssh-keygen", ["-q", "-t", type, "-N", "", "-C", "", "-f", key]);
  await run("ssh-keygen", ["-q", "-I", name, ...words, `${key}.pub`]);
  const sshd = await startSshd({
    folder: own,
    authorizedKey,
    // The first HostKey of its type counts.
    extraConfig: [`HostKey ${key}`, `HostCertificate ${key}-cert.pub`],
  });
  started.push(sshd);
  return sshd;
}

function sign(ca: string, ...words: string[]): string[] {
  return ["-s", join(folder, ca), "-h", ...words];
}

/** What we say, and whether ssh would go on. */
async function opinions(sshd: TestSshd, knownHosts: string): Promise<{ ours: string; ssh: boolean }> {
  const file = join(folder, "known_hosts");
  await writeFile(file, `${knownHosts}\n`);
  const client: Client = {
    ...{ name: "host", host: sshd.address, port: sshd.port, user: "root" },
    ...{ keyFile: join(folder, "id"), where: "hosts:1" },
  };
  const reach = await Reach.prepare([client], {
    ...{
      knownHostsFile: file,
      acceptNewHostKeys: false,
      sshConfigFile: "none",
      agent: "",
      timeoutMs: 60_000,
    },
  });
  const ours = await reach.connect(client).then(
    (connection) => {
      connection.close();
      return "connected";
    },
    (error: Error) => error.message,
  );
  const options = [`UserKnownHostsFile=${file}`, "GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes"];
  const ssh = await run("ssh", [
    ...["-F", "none", "-i", join(folder, "id"), "-p", String(sshd.port)],
    ...[...options, "BatchMode=yes", "IdentityAgent=none"].flatMap((option) => ["-o", option]),
    ...["--", `root@${sshd.address}`, "true"],
  ]).then(
    () => true,
    () => false,
  );
  assert.equal(await readFile(file, "utf8"), `${knownHosts}\n`);
  return { ours, ssh };
}

describe("a host with a certificate", () => {
  it("is known where its authority is, whatever the kinds of keys", async () => {
    for (const [ca, type] of [
      ["ca_ed25519", "ed25519"],
      ["ca_ecdsa", "rsa"],
      ["ca_rsa", "ecdsa"],
    ] as const) {
      const sshd = await startHost(`good-${type}`, sign(ca, "-n", "a.lan,127.0.0.1"), type);
      const authority = await publicKey(ca);
      for (const patterns of ["*", "127.0.0.1", `[127.0.0.1]:${sshd.port}`, "a.lan,127.0.0.?"]) {
        const { ours, ssh } = await opinions(sshd, `@cert-authority ${patterns} ${authority}`);
        assert.deepEqual([ours, ssh], ["connected", true], patterns);
      }
    }
  });

  it("is unknown where nothing, or another host's name, stands by the authority", async () => {
    const [sshd] = started;
    assert.ok(sshd !== undefined);
    for (const patterns of ["b.lan", "*,![127.0.0.1]:*,!127.0.0.1"]) {
      const { ours, ssh } = await opinions(
        sshd,
        `@cert-authority ${patterns} ${await publicKey("ca_ed25519")}`,
      );
      assert.match(ours, /host key ssh-ed25519 SHA256:\S+ is not in "[^"]*"$/);
      assert.equal(ssh, false);
    }
  });

  it("is refused, with the reason, where the certificate does not count", async () => {
    const stranger = await publicKey("ca_ecdsa");
    for (const [name, words, authority, reason] of [
      ["other-name", sign("ca_ed25519", "-n", "b.lan"), "", /is for other names \(b\.lan\)/],
      [
        "ended",
        sign("ca_ed25519", "-n", "127.0.0.1", "-V", "20200101:20210101"),
        "",
        /has ended on 202[01]-/,
      ],
      [
        "not-yet",
        sign("ca_ed25519", "-n", "127.0.0.1", "-V", "20900101:20910101"),
        "",
        /valid only from 20[89]/,
      ],
      ["of-another", sign("ca_ed25519", "-n", "127.0.0.1"), stranger, /is of another authority/],
      [
        "with-sha1",
        sign("ca_rsa", "-n", "127.0.0.1", "-t", "ssh-rsa"),
        await publicKey("ca_rsa"),
        /signature is wrong/,
      ],
    ] as const) {
      const sshd = await startHost(name, [...words]);
      const known = authority === "" ? await publicKey("ca_ed25519") : authority;
      const { ours, ssh } = await opinions(sshd, `@cert-authority * ${known}`);
      assert.match(ours, reason, name);
      assert.equal(ssh, false, name);
    }
  });

  it("is refused where the authority, or the key itself, is revoked", async () => {
    const [sshd] = started;
    assert.ok(sshd !== undefined);
    const authority = await publicKey("ca_ed25519");
    for (const [revoked, reason] of [
      [authority, /its certificate's authority SHA256:\S+ is revoked/],
      [await publicKey("good-ed25519/host_key"), /its host key ssh-ed25519 SHA256:\S+ is revoked/],
    ] as const) {
      const { ours, ssh } = await opinions(sshd, `@cert-authority * ${authority}\n@revoked * ${revoked}`);
      assert.match(ours, reason);
      assert.equal(ssh, false);
    }
  });

  it("is refused where it shows no certificate, and where its own key has changed", async () => {
    const own = join(folder, "bare");
    await mkdir(own);
    const bare = await startSshd({ folder: own, authorizedKey });
    started.push(bare);
    const authority = await publicKey("ca_ed25519");
    const none = await opinions(bare, `@cert-authority * ${authority}`);
    assert.match(none.ours, /and it shows no certificate of a known authority/);
    assert.equal(none.ssh, false);
    const [sshd] = started;
    assert.ok(sshd !== undefined);
    // Stricter than ssh, which asks the authority first.
    const changed = await opinions(
      sshd,
      `@cert-authority * ${authority}\n[127.0.0.1]:${sshd.port} ${authority}`,
    );
    assert.match(changed.ours, /host key has changed/);
  });
});

it("bytes that are cut, or more than a certificate, are none", async () => {
  const own = join(folder, "cut");
  await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", own]);
  await run("ssh-keygen", ["-q", ...sign("ca_ed25519", "-I", "cut", "-n", "a"), `${own}.pub`]);
  const text = (await readFile(`${own}-cert.pub`, "utf8")).split(" ")[1] ?? "";
  const blob = Buffer.from(text, "base64");
  const parsed = parseHostCertificate(blob);
  assert.deepEqual([parsed?.keyId, parsed?.principals, parsed?.type], ["cut", ["a"], 2]);
  for (let length = 0; length < blob.length; length += 1)
    assert.equal(parseHostCertificate(blob.subarray(0, length)), undefined);
  assert.equal(parseHostCertificate(Buffer.concat([blob, Buffer.alloc(1)])), undefined);
});
