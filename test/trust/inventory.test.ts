import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { DrydockError } from "../../src/errors.ts";
import { checkRepoHosts, readInventory } from "../../src/trust/inventory.ts";
import { splitWords } from "../../src/trust/shell-words.ts";
import { makeKey } from "../lab/sshd.ts";

let folder: string;
let file: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-inventory-"));
  file = join(folder, "hosts.ini");
  await mkdir(join(folder, "keys"));
  await makeKey(join(folder, "keys/id"));
  await makeKey(join(folder, "keys/locked"), "a passphrase");
});
after(() => rm(folder, { recursive: true }));

async function read(text: string) {
  await writeFile(file, text);
  return await readInventory(file);
}

async function refused(text: string, message: RegExp): Promise<DrydockError> {
  const error: unknown = await read(text).then(
    () => assert.fail(`taken: ${text}`),
    (error: unknown) => error,
  );
  assert.ok(error instanceof DrydockError, String(error));
  assert.equal(error.kind, "input");
  assert.match(error.message, message);
  return error;
}

describe("an inventory", () => {
  it("is read as Ansible reads it", async () => {
    const clients = await read(`# the plant
host-a

[web]
host-b ansible_host=10.0.0.5 ansible_port=2222 ansible_user=ops repo_host="10.0.0.10" # of the plant
host-c   http_port=80 note='two words' ansible_user="'admin'" ansible_python_interpreter=/usr/bin/python3
[lab] # a comment
; another
host-b ansible_ssh_private_key_file=keys/id
fd00::1 ansible_connection=ssh ansible_become=true
`);
    const user = userInfo().username;
    assert.deepEqual(clients, [
      { name: "host-a", host: "host-a", port: 22, user, where: `${file}:2` },
      {
        name: "host-b",
        host: "10.0.0.5",
        port: 2222,
        user: "ops",
        where: `${file}:5`,
        repoHost: "10.0.0.10",
        keyFile: join(folder, "keys/id"),
      },
      { name: "host-c", host: "host-c", port: 22, user: "admin", where: `${file}:6` },
      { name: "fd00::1", host: "fd00::1", port: 22, user, where: `${file}:10` },
    ]);
  });

  it("takes a key with a passphrase, which an agent may hold", async () => {
    const [client] = await read("a ansible_ssh_private_key_file=keys/locked");
    assert.equal(client?.keyFile, join(folder, "keys/locked"));
  });

  for (const [text, message] of [
    ["[web:vars]\nansible_user=x", /hosts\.ini:1: "\[web:vars\]" is not read/],
    ["a\n[all:children]\nweb", /hosts\.ini:2: "\[all:children\]"/],
    ["web[01:50]", /hosts\.ini:1: the range "web\[01:50\]"/],
    ["[web", /hosts\.ini:1: "\[web" is neither/],
    ["all:", /hosts\.ini:1: host "all:" is no host name/],
    ["#!/usr/bin/python3", /hosts\.ini:1: an inventory script/],
    ["-oProxyCommand=x", /hosts\.ini:1: host "-oProxyCommand=x"/],
    ["a ansible_host=-x", /hosts\.ini:1: host "a": ansible_host "-x"/],
    ["a$(id)", /no host name/],
    ["a:2222", /no host name/],
    ["a 'open", /hosts\.ini:1: a quote is not closed/],
    ["a ansible_port=0", /hosts\.ini:1: host "a": ansible_port "0"/],
    ["a ansible_port=22x", /ansible_port "22x"/],
    ["a ansible_port=65536", /ansible_port "65536"/],
    ["a ansible_user=-l", /ansible_user "-l"/],
    ["a ansible_user='{{ user }}'", /ansible_user holds a template/],
    ["a ansible_user=", /ansible_user is empty/],
    ["\n\na repo_host=http://x", /hosts\.ini:3: host "a": repo_host "http:\/\/x"/],
    ["a ansible_connection=local", /hosts\.ini:1: host "a": ansible_connection/],
    ["a ansible_become_user=postgres", /ansible_become_user/],
    ["a ansible_ssh_common_args='-J b'", /ansible_ssh_common_args/],
    ["a ansible_ssh_host=b", /ansible_ssh_host/],
    ["# nobody", /names no host/],
    [
      "a\nb ansible_ssh_private_key_file=keys/none",
      /hosts\.ini:2: host "b": key ".*keys\/none" can't be read: there is no such file/,
    ],
    ["a ansible_ssh_private_key_file=keys", /host "a": key ".*" can't be read: it is a folder/],
    ["a ansible_ssh_private_key_file=hosts.ini", /host "a": key ".*hosts\.ini" is not a private key/],
    ["a ansible_ssh_private_key_file=keys/id.pub", /host "a": key ".*id\.pub" is not a private key/],
    ["a ansible_ssh_private_key_file=~/no-such-key", new RegExp(`"${homedir()}/no-such-key" can't be read`)],
  ] as const) {
    it(`with ${JSON.stringify(text)} is refused`, async () => {
      await refused(text, message);
    });
  }

  it("never shows a password", async () => {
    const error = await refused("a ansible_password=canary-7f3", /ansible_password/);
    assert.doesNotMatch(JSON.stringify(error) + error.message + error.hint, /canary/);
    const lost = await refused("a ansible_user=x canary 7f3", /key=value/);
    assert.doesNotMatch(JSON.stringify(lost) + lost.message + lost.hint, /canary/);
  });

  it("that is not there is named", async () => {
    await assert.rejects(
      readInventory(join(folder, "none")),
      /read inventory ".*none": there is no such file/,
    );
  });

  it("with group_vars beside it is refused, since these are not read", async () => {
    const nested = join(folder, "nested");
    await mkdir(join(nested, "group_vars"), { recursive: true });
    await writeFile(join(nested, "hosts"), "a\n");
    await assert.rejects(readInventory(join(nested, "hosts")), /group_vars" is beside it/);
  });

  it("may name only the registry's addresses as repo_host", async () => {
    const clients = await read("a repo_host=Registry.LAN\nb repo_host=fd00:0::1\nc repo_host=10.0.0.11");
    checkRepoHosts(clients.slice(0, 2), ["registry.lan", "fd00::1"]);
    assert.throws(
      () => checkRepoHosts(clients, ["registry.lan", "fd00::1"]),
      /hosts\.ini:3: host "c": repo_host "10.0.0.11"/,
    );
  });
});

it("words are split as Python's shlex does", () => {
  assert.deepEqual(splitWords(`a b="c d" e='f "g"' h\\ i "\\"j\\k" l#m n`), [
    "a",
    "b=c d",
    'e=f "g"',
    "h i",
    '"j\\k',
    "l",
  ]);
  assert.deepEqual(splitWords(`'' ""`), ["", ""]);
  assert.equal(splitWords("a \\"), undefined);
  assert.equal(splitWords(`a "b`), undefined);
});
