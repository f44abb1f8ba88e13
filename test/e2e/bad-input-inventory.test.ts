/** Inventories that cannot be meant: file and line, before any connection and before anything is written. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { assertRefused } from "./bad-input.ts";
import { makeFolder } from "./connected.ts";
import { drydock } from "./drydock.ts";

describe("an inventory", () => {
  let folder: Awaited<ReturnType<typeof makeFolder>>;
  before(async () => {
    folder = await makeFolder("bad-inventory");
    await mkdir(join(folder.path, "keys"));
    await writeFile(join(folder.path, "keys/id.pub"), "ssh-ed25519 AAAA nobody@nowhere\n");
  });
  after(() => folder.remove());

  /** With a bundle that is not there, and a site that would be made: neither is come to. */
  async function refused(hosts: string | undefined, says: (string | RegExp)[]): Promise<void> {
    const cwd = folder.path;
    if (hosts !== undefined) await writeFile(join(cwd, "hosts.ini"), hosts);
    const file = hosts === undefined ? "no-hosts.ini" : "hosts.ini";
    const result = await drydock(["install", "site.tar", "--clients", file, "--site", "site"], { cwd });
    assertRefused(result, { exit: 3, says });
    assert.ok(!existsSync(join(cwd, "site")));
  }

  it("that is not there, or names nobody", async () => {
    await refused(undefined, ['read inventory "no-hosts.ini": there is no such file']);
    await refused("# all gone\n[clients]\n", ['inventory "hosts.ini" names no host']);
  });

  it("with a key that cannot be read, or is none", async () => {
    const key = (file: string) => `[clients]\nplc-1 ansible_ssh_private_key_file=keys/${file}\n`;
    await refused(key("none"), [
      /^Error: hosts\.ini:2: host "plc-1": key ".*keys\/none" can't be read: there is no such file/m,
    ]);
    await refused(key(""), [/hosts\.ini:2: host "plc-1": key ".*keys" can't be read: it is a folder/]);
    await refused(key("id.pub"), [/hosts\.ini:2: .*id\.pub" is not a private key/, "without .pub"]);
  });

  it("with a host, a port or a variable that cannot be taken", async () => {
    await refused("plc-1\nplc-2:22a\n", ['hosts.ini:2: host "plc-2:22a" is no host name', "ansible_host"]);
    await refused("plc-1 ansible_port=70000\n", [
      'hosts.ini:1: host "plc-1": ansible_port "70000" is no number from 1 to 65535',
    ]);
    await refused("plc-1 ansible_password=geheim\n", [
      "hosts.ini:1: ",
      "ansible_password is a password",
      "Take it out",
    ]);
    await refused("plc-1\n[clients:vars]\nansible_user=root\n", ['hosts.ini:2: there is no group "clients"']);
    await refused("[clients]\nplc-1\n[clients:vars]\nansible_user={{ me }}\n", [
      'hosts.ini:4: host "plc-1": ansible_user holds a template',
    ]);
  });
});
