/** What `trust` asks for at a real terminal: a passphrase and a password for sudo, which are seen nowhere. */
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { siteLayout } from "../../src/site/layout.ts";
import { claimSite } from "../../src/site/marker.ts";
import { writeRelease } from "../../src/site/record.ts";
import { watchFor } from "../lab/secret-watch.ts";
import { makeKey, startSshd, type TestSshd } from "../lab/sshd.ts";
import { withSudoers, withUsers } from "../lab/users.ts";
import { makeCurrent } from "../site/current.ts";
import { makeCertificates } from "../trust/tls-server.ts";
import { inTerminal } from "./in-terminal.ts";

const passphrase = "canary-5e-passphrase";
const password = "canary-5e-password";
const bin = join(import.meta.dirname, "../../bin/dev.js");
let folder: string;
let sshd: TestSshd;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-asks-"));
  const authorizedKey = await makeKey(join(folder, "id"), passphrase);
  const run = [...withUsers({ name: "ops", password }), ...withSudoers("ops ALL=(root) ALL")];
  sshd = await startSshd({ folder: join(folder, "host"), authorizedKey, run });
  await writeFile(join(folder, "known_hosts"), `${sshd.hostKeyLine}\n`);
  const host = `web ansible_host=127.0.0.1 ansible_port=${sshd.port} ansible_user=ops`;
  await writeFile(join(folder, "hosts.ini"), `${host} ansible_ssh_private_key_file=${folder}/id\n`);
  await makeSite();
});
after(async () => {
  await sshd.stop();
  await rm(folder, { recursive: true });
});

/** As much of a site as trust reads. */
async function makeSite(): Promise<void> {
  const layout = siteLayout(join(folder, "site"));
  const digest = `sha256:${"a".repeat(64)}` as const;
  await claimSite(layout);
  await writeRelease(layout, {
    ...{
      bundleDigest: digest,
      name: "plant-7",
      release: 1,
      sequence: 1,
      installedAt: "2026-01-01T00:00:00Z",
    },
    ...{ tagsBefore: {}, tagsAfter: {}, placed: { blobs: 0, bytes: 0 }, chosen: {}, registryImage: digest },
    settings: { addresses: ["127.0.0.9"], port: 4443, access: "read-only" },
  });
  await makeCurrent(layout, digest);
  const { ca } = await makeCertificates(folder, "site", "IP:127.0.0.9");
  await mkdir(join(layout.caCertificate, ".."), { recursive: true });
  await writeFile(layout.caCertificate, ca);
}

test("they are asked for before anything starts, and shown nowhere", async () => {
  const watch = await watchFor("canary-5e");
  const words = ["--site", `${folder}/site`, "--clients", `${folder}/hosts.ini`, "--ssh-config", "none"];
  const screens = await inTerminal(
    [120, 30],
    `${bin} trust ${words.join(" ")} --known-hosts ${folder}/known_hosts --ask-sudo-password`,
    { when: /sudo password of ops on 1 host:$/m, keys: [password, "Enter"] },
    { when: /Passphrase of the key .*\/id:$/m, keys: ["wrong", "Enter"] },
    { when: /Not right\. Passphrase of the key .*\/id:$/m, keys: [passphrase, "Enter"] },
  );
  const seen = await watch.stop();
  const last = screens.at(-1) ?? "";
  // The registry itself is nowhere here; the CA is there all the same.
  assert.match(last, /does not reach 127\.0\.0\.9:4443/);
  const certs = await readdir(join(sshd.etcDocker, "certs.d"));
  assert.deepEqual(certs, ["127.0.0.9:4443"]);
  assert.match(
    await readFile(join(sshd.etcDocker, "certs.d/127.0.0.9:4443/ca.crt"), "utf8"),
    /BEGIN CERTIFICATE/,
  );
  assert.ok(!screens.some((screen) => screen.includes("canary")), last);
  // tmux is told what to type; nothing else has it.
  assert.deepEqual(
    seen.filter((line) => !/^cmdline: tmux /.test(line)),
    [],
  );
});
