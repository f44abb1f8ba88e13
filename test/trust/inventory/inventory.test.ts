import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { DrydockError } from "../../../src/errors.ts";
import { type InventoryOptions, readInventory } from "../../../src/trust/inventory/inventory.ts";
import { checkRepoHosts } from "../../../src/trust/inventory/repo-host.ts";
import { makeKey } from "../../lab/sshd.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-inventory-"));
  await mkdir(join(folder, "keys"));
  await makeKey(join(folder, "keys/id"));
  await makeKey(join(folder, "keys/locked"), "a passphrase");
});
after(() => rm(folder, { recursive: true }));

let count = 0;

/** Files by their names, in a folder of their own. */
async function make(files: Record<string, string>): Promise<string> {
  const place = join(folder, `try-${++count}`);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(place, name)), { recursive: true });
    await writeFile(join(place, name), text);
  }
  return place;
}

async function read(text: string, options?: InventoryOptions) {
  const file = join(folder, "hosts.ini");
  await writeFile(file, text);
  return await readInventory(file, options);
}

async function caught(work: Promise<unknown>, what: string): Promise<DrydockError> {
  const error: unknown = await work.then(
    () => assert.fail(`taken: ${what}`),
    (error: unknown) => error,
  );
  assert.ok(error instanceof DrydockError, String(error));
  assert.equal(error.kind, "input");
  return error;
}

async function refused(text: string, message: RegExp, options?: InventoryOptions): Promise<DrydockError> {
  const error = await caught(read(text, options), text);
  assert.match(error.message, message);
  return error;
}

describe("an inventory in INI", () => {
  it("is read as Ansible reads it, and what it doesn't say is left out", async () => {
    const file = join(folder, "hosts.ini");
    const clients = await read(`# the plant
host-a

[web]
host-b ansible_host=10.0.0.5 ansible_port=2222 ansible_user=ops repo_host="10.0.0.10" # of the plant
host-c   http_port=80 note='two {{ words }}' ansible_user="'admin'" ansible_python_interpreter=/usr/bin/python3
[lab] # a comment
; another
host-b ansible_ssh_private_key_file=keys/id
fd00::1 ansible_connection=ssh ansible_become=true
here ansible_connection=local ansible_become=no ansible_become_user=them
`);
    assert.deepEqual(clients, [
      { name: "host-a", host: "host-a", where: `${file}:2` },
      {
        ...{ name: "host-b", host: "10.0.0.5", port: 2222, user: "ops" },
        ...{ where: `${file}:5`, repoHost: "10.0.0.10", keyFile: join(folder, "keys/id") },
      },
      { name: "host-c", host: "host-c", user: "admin", where: `${file}:6` },
      { name: "fd00::1", host: "fd00::1", where: `${file}:10` },
      { name: "here", host: "here", local: true, become: false, where: `${file}:11` },
    ]);
  });

  it("takes a key with a passphrase, which an agent may hold", async () => {
    const [client] = await read("a ansible_ssh_private_key_file=keys/locked");
    assert.equal(client?.keyFile, join(folder, "keys/locked"));
  });

  for (const [text, message] of [
    ["a\n[all:children]\nweb", /hosts\.ini:3: there is no group "web"/],
    ["a\n[web:vars]\nx=1", /hosts\.ini:2: there is no group "web"/],
    ["[web:kids]", /hosts\.ini:1: "\[web:kids\]": wanted "vars" or "children"/],
    ["a\n[x:children]\ny\n[y:children]\nx", /hosts\.ini:(?:3|5): group "[xy]" can't be a child of "[xy]"/],
    ["a\n[x]\n[x:children]\nall", /hosts\.ini:4: group "all" can't be a child/],
    ["a\n[x:children]\nungrouped", /hosts\.ini:3: group "ungrouped" can't be a child of "x"/],
    ["[web", /hosts\.ini:1: "\[web" is neither/],
    ["[web] ; no", /hosts\.ini:1: "\[web\] ; no" is neither/],
    ["web[50:01]", /hosts\.ini:1: hosts "web\[50:01\]": begin and end|begin is after end/],
    ["web[01:5]", /begin and end are not of the same length/],
    ["web[a:7]", /neither two numbers nor two letters/],
    ["web[1:9:0]", /the step is no number from 1/],
    ["web[1:9999999]", /more than 100000 hosts/],
    ["web[1:", /hosts "web\[1:": a bracket is not closed/],
    ["all:", /hosts\.ini:1: host "all:": there is no port/],
    ["a:22\na:23", /hosts\.ini:2: host "a" has another port here than on .*:1/],
    ["#!/usr/bin/python3", /hosts\.ini:1: it is a program/],
    ["$ANSIBLE_VAULT;1.1;AES256\n616263", /hosts\.ini:1: it is encrypted by ansible-vault/],
    ["-oProxyCommand=x", /hosts\.ini:1: host "-oProxyCommand=x" is no host name/],
    ["a ansible_host=-x", /hosts\.ini:1: host "a": ansible_host "-x"/],
    ["a$(id)", /no host name/],
    ["a:b", /no host name/],
    ["a 'open", /hosts\.ini:1: a quote is not closed/],
    ["a ansible_port=0", /hosts\.ini:1: host "a": ansible_port "0"/],
    ["a ansible_port=22x", /ansible_port "22x"/],
    ["a ansible_port=65536", /ansible_port "65536"/],
    ["a ansible_user=-l", /ansible_user "-l"/],
    ["a ansible_user=True", /ansible_user is true, and not text/],
    ["a ansible_user='{{ user }}'", /ansible_user holds a template/],
    ["a\n[all:vars]\nansible_port={{ p }}", /hosts\.ini:3: host "a": ansible_port holds a template/],
    ["a ansible_user=", /ansible_user is empty/],
    ["a ansible_user='[1, 2]'", /ansible_user is a list or a mapping, which is not read/],
    ["\n\na repo_host=http://x", /hosts\.ini:3: host "a": repo_host "http:\/\/x"/],
    ["a ansible_connection=winrm", /hosts\.ini:1: host "a": ansible_connection is neither ssh nor local/],
    ["a ansible_become=perhaps", /ansible_become is "perhaps": wanted true or false/],
    ["a ansible_become_user=postgres", /ansible_become_user would change/],
    ["a ansible_become_method=su", /ansible_become_method would change/],
    ["a ansible_shell_type=powershell", /ansible_shell_type would change/],
    ["a ansible_ssh_executable=/opt/ssh", /ansible_ssh_executable would change/],
    ["a ansible_ssh_common_args='-F x.cfg'", /ansible_ssh_common_args has -F, which is not followed/],
    ["a ansible_ssh_common_args='-o HostName=b -4'", /has HostName, -4, which/],
    ["a ansible_ssh_common_args='-J -oX'", /has ProxyJump "-oX", which/],
    ["a ansible_ssh_extra_args='\"'", /ansible_ssh_extra_args (?:has a quote|is text with quotes)/],
    ["a ansible_ssh_common_args='-o ProxyCommand=\"nc %h %p\"'", /only with --allow-proxy-command/],
    ["# nobody", /names no host/],
    [
      "a\nb ansible_ssh_private_key_file=keys/none",
      /hosts\.ini:2: host "b": key ".*keys\/none" can't be read: there is no such file/,
    ],
    ["a ansible_ssh_common_args='-i keys/none'", /hosts\.ini:1: host "a": key ".*keys\/none" can't be read/],
    ["a ansible_ssh_private_key_file=keys", /host "a": key ".*" can't be read: it is a folder/],
    ["a ansible_ssh_private_key_file=hosts.ini", /host "a": key ".*hosts\.ini" is not a private key/],
    ["a ansible_ssh_private_key_file=keys/id.pub", /host "a": key ".*id\.pub" is not a private key/],
    ["a ansible_ssh_private_key_file=~/no-such-key", new RegExp(`"${homedir()}/no-such-key" can't be read`)],
  ] as const) {
    it(`with ${JSON.stringify(text)} is refused`, async () => {
      await refused(text, message);
    });
  }

  it("may hold templates, secrets and anything else where they don't matter", async () => {
    const text = `a ansible_user=ops
[all:vars]
motd={{ lookup('env', 'X') }}
ansible_python_interpreter={{ x }}
ansible_user={{ overridden }}
ansible_ssh_pipelining=True
ansible_ssh_retries=3
list=['x', "it's"]
`;
    assert.deepEqual(
      (await read(text)).map(({ user }) => user),
      ["ops"],
    );
  });

  it("never shows a password, and never takes one", async () => {
    for (const key of [
      "ansible_password",
      "ansible_ssh_pass",
      "ansible_become_pass",
      "ansible_become_password",
    ]) {
      const error = await refused(
        `a ${key}=canary-7f3`,
        new RegExp(`hosts\\.ini:1: host "a": ${key} is a password`),
      );
      assert.match(error.hint ?? "", /Take it out/);
      assert.doesNotMatch(JSON.stringify(error) + error.message + error.hint, /canary/);
    }
    const lost = await refused("a ansible_user=x canary 7f3", /key=value/);
    assert.doesNotMatch(JSON.stringify(lost) + lost.message + lost.hint, /canary/);
  });

  it("that is not there is named", async () => {
    await assert.rejects(
      readInventory(join(folder, "none")),
      /read inventory ".*none": there is no such file/,
    );
  });

  it("may name only the registry's addresses as repo_host, for a host or a group", async () => {
    const clients = await read(
      "a repo_host=Registry.LAN\nb repo_host=fd00:0::1\n[old]\nc\n[old:vars]\nrepo_host=10.0.0.11",
    );
    checkRepoHosts(clients.slice(0, 2), ["registry.lan", "fd00::1"]);
    assert.throws(
      () => checkRepoHosts(clients, ["registry.lan", "fd00::1"]),
      /hosts\.ini:6: host "c": repo_host "10.0.0.11"/,
    );
  });
});

describe("an inventory in YAML", () => {
  async function readYaml(text: string, options?: InventoryOptions) {
    return await readInventory(join(await make({ "hosts.yml": text }), "hosts.yml"), options);
  }

  it("is read with anchors, merges, tags and templates that don't matter", async () => {
    const clients = await readYaml(`---
all:
  vars: &defaults
    ansible_user: ops
    ansible_port: 2222
    secret: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      6162
    motd: "{{ anything }}"
    motd: twice
  children:
    web:
      hosts:
        web[1:2]:
          <<: *defaults
          ansible_port: 22
        "[fd00::1]:2022":
    db: {hosts: db1, vars: {ansible_become: no}}
`);
    assert.deepEqual(
      clients.map(({ name, port, user, become }) => [name, port, user, become]),
      [
        ["web1", 22, "ops", undefined],
        ["web2", 22, "ops", undefined],
        ["fd00::1", 2022, "ops", undefined],
        ["db1", 2222, "ops", false],
      ],
    );
  });

  it("is told by its first line where the name says nothing", async () => {
    const place = await make({ hosts: "# comment\nall:\n  hosts:\n    a: {ansible_host: 10.0.0.1}\n" });
    assert.equal((await readInventory(join(place, "hosts")))[0]?.host, "10.0.0.1");
    await writeFile(join(place, "hosts"), "a ansible_host=10.0.0.2 x='b: c'\n");
    assert.equal((await readInventory(join(place, "hosts")))[0]?.host, "10.0.0.2");
  });

  it("tells of keys that Ansible skips", async () => {
    const notes: string[] = [];
    await readYaml("all:\n  hosts:\n    a:\n  host:\n    b:\n", { note: (text) => notes.push(text) });
    assert.match(notes.join(), /hosts\.yml:4: group "all": "host" is none of "hosts"/);
  });

  for (const [text, message] of [
    ["all:\n  hosts:\n    - a\n", /hosts\.yml:3: group "all": hosts: wanted a mapping, got a list/],
    ["all:\n  hosts:\n    a: 5\n", /hosts\.yml:3: host "a": wanted a mapping, got plain text/],
    ["all: x\n", /hosts\.yml:1: group "all": wanted a mapping/],
    ["- a\n", /hosts\.yml:1: wanted groups/],
    ["all:\n  hosts:\n    10:\n", /hosts\.yml:3: 10: wanted text; put it in quotes/],
    ["all:\n  hosts:\n    a:\n  hosts:\n    b:\n", /hosts\.yml:4: hosts stands here a second time/],
    [
      "all:\n  hosts:\n    a:\n      ansible_port: 1\n      ansible_port: 2\n",
      /hosts\.yml:5: ansible_port stands/,
    ],
    [
      "all:\n  hosts:\n    a: {ansible_host: '{{ x }}'}\n",
      /hosts\.yml:3: host "a": ansible_host holds a template/,
    ],
    [
      "all:\n  hosts:\n    a:\n      ansible_user: !vault |\n        x\n",
      /hosts\.yml:4: .*ansible_user is a secret/,
    ],
    ["all:\n  hosts:\n    a:\n      ansible_user: [x]\n", /hosts\.yml:4: .*ansible_user is a list/],
    ["all:\n  hosts:\n    a:\n      ansible_user: yes\n", /ansible_user is true, and not text/],
    ["plugin: aws_ec2\n", /hosts\.yml:1: the hosts come from an inventory plugin/],
    ["all: {hosts: {a: }}\n---\nx: {}\n", /hosts\.yml:2: not YAML: a second document/],
    [
      "all:\n  children: &x\n    web: {children: *x}\n  hosts: {a: }\n",
      /groups in a circle|can't be a child/,
    ],
    ["all: [\n", /hosts\.yml:\d+: not YAML/],
  ] as const) {
    it(`with ${JSON.stringify(text)} is refused`, async () => {
      const error = await caught(readYaml(text), text);
      assert.match(error.message, message);
    });
  }

  it("and a TOML one is refused", async () => {
    const place = await make({ "hosts.toml": "[web]\n" });
    assert.match((await caught(readInventory(join(place, "hosts.toml")), "")).message, /TOML is not read/);
  });
});

describe("group_vars and host_vars", () => {
  it("stand over what the inventory says, and are read only of those who are meant", async () => {
    const place = await make({
      "hosts.ini": "[web]\na ansible_user=inline\nb\n[old]\nz\n[web:vars]\nansible_port=1\n",
      "group_vars/all.yml": "ansible_user: all\nansible_port: 2\n",
      "group_vars/web/10-first.yml": "ansible_user: web\nrepo_host: r1\n",
      "group_vars/web/20-then": "repo_host: r2\n",
      "group_vars/web/.hidden.yml": "repo_host: no\n",
      "group_vars/web/sub/deep.json": '{\n\t"x": 1,\n\t"ansible_become": false\n}\n',
      "group_vars/web.yml": "repo_host: shadowed by the folder\n",
      "group_vars/old.yml": "$ANSIBLE_VAULT;1.1;AES256\n6162\n",
      "host_vars/b.yaml": "ansible_host: 10.0.0.2\nansible_port: 3\n",
    });
    const file = join(place, "hosts.ini");
    const [a, b] = await readInventory(file, { limit: "web" });
    const [file20] = [`${place}/group_vars/web/20-then:1`];
    const both = { repoHost: "r2", become: false, where: file20 };
    assert.deepEqual(a, { name: "a", host: "a", user: "inline", port: 2, ...both });
    assert.deepEqual(b, { name: "b", host: "10.0.0.2", user: "web", port: 3, ...both });
    const error = await caught(readInventory(file), "");
    assert.match(error.message, /group_vars\/old\.yml:1: it is encrypted by ansible-vault/);
  });

  it("with something else than variables are refused", async () => {
    const place = await make({ hosts: "a\n", "host_vars/a.yml": "- x\n" });
    const error = await caught(readInventory(join(place, "hosts")), "");
    assert.match(error.message, /host_vars\/a\.yml:1: variables: wanted a mapping, got a list/);
  });
});

describe("a folder as inventory", () => {
  it("is all its files together, but for those that Ansible passes over", async () => {
    const place = await make({
      "01-hosts": "[web]\na\n",
      "02-more.yml": "web: {hosts: {b: }, vars: {ansible_user: ops}}\n",
      "sub/03": "[web]\nc\n",
      "ec2.ini": "[ec2]\nregions = all\n",
      "notes.md": "# not hosts\n",
      "group_vars/web.yml": "ansible_port: 2222\n",
      "sub/group_vars/web.yml": "ansible_port: 1\n",
    });
    const clients = await readInventory(place);
    assert.deepEqual(
      clients.map(({ name, user, port }) => [name, user, port]),
      ["a", "b", "c"].map((name) => [name, "ops", 2222]),
    );
  });

  it("without a host says which files it passes over", async () => {
    const error = await caught(readInventory(await make({ "hosts.ini": "a\n" })), "");
    assert.match(error.hint ?? "", /passes over \*\.ini/);
  });
});
