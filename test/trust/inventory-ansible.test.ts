/**
 * The inventory reader held against Ansible itself: hosts, how each is reached, who is in which group, and whom
 * a --limit leaves. The inventories are written in the manner of well-known projects.
 */
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Client } from "../../src/trust/client.ts";
import { readInventoryFiles } from "../../src/trust/inventory/files.ts";
import { readInventory } from "../../src/trust/inventory/inventory.ts";
import { run } from "../lab/process.ts";
import { makeKey } from "../lab/sshd.ts";

/** Where each begins, and patterns for --limit. */
const inventories: Record<string, { path: string; limits: string[] }> = {
  kubespray: { path: "inventory.ini", limits: ["kube_node:!etcd", "k8s_cluster[1:2]", "node*:&etcd"] },
  openshift: { path: "hosts", limits: ["nodes:!masters", "~node-[ab]", "*.example.com,!lb", "OSEv3[-1]"] },
  ceph: { path: "hosts", limits: ["osds:rgws:!osd-big", "mon0[!2]", "grafana-server", "ceph[2:]"] },
  k3s: { path: "inventory.yml", limits: ["192.16.35.2*", "server,pi.local", "agent[0]"] },
  debops: { path: "hosts", limits: ["debops_service_docker_server:&*ns*", "!debops_service_nginx"] },
  nested: { path: "site.yaml", limits: ["europe:&gamma", "ungrouped", "berlin[0:1]", "~(ber|muc)\\d$"] },
  ranges: {
    path: "farm.cfg",
    limits: ["web[3:5]", "rack1-node*", "fd00::2", "letters[0],odd[-2]", "10.9.0.?"],
  },
  precedence: { path: "hosts", limits: ["grand:!c_group", "a_group:&b_group:!three", "all[1:3]"] },
  oddities: {
    path: "strange.ini",
    limits: ["same", "later:!other", "web-servers", "[fu]*", "fd00::5,fd00::7"],
  },
  folder: { path: ".", limits: ["site:&web", "db", "web[0:2]", "!web"] },
  anchors: { path: "hosts.yml", limits: ["edge:!edge[0:1]", "y", "inner,core1"] },
};

interface ListedGroup {
  hosts?: string[];
  children?: string[];
}

/** As `ansible-inventory --list` writes it. */
interface Listing {
  groups: Record<string, ListedGroup>;
  variables: Record<string, Record<string, unknown>>;
}

/** What `ansible all --list-hosts --limit` calls; a process for each would take 20 s of the machine's time. */
const limiter = `
import json, sys
from ansible.cli import CLI
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
wanted = json.load(sys.stdin)
for one in wanted:
    inventory = InventoryManager(loader=DataLoader(), sources=[one["file"]])
    one["limits"] = {
        limit: [host.get_name() for host in CLI.get_host_list(inventory, limit, "all")] for limit in one["limits"]
    }
print(json.dumps({one["name"]: one["limits"] for one in wanted}))
`;

let folder: string;
/** inventory → limit → hosts, in Ansible's order */
let limited: Record<string, Record<string, string[]>>;
const fileOf = (name: string) => join(folder, "inventories", name, inventories[name]?.path ?? "");
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "drydock-ansible-"));
  await cp(join(import.meta.dirname, "inventories"), join(folder, "inventories"), { recursive: true });
  await mkdir(join(folder, "inventories/openshift/keys"));
  await makeKey(join(folder, "inventories/openshift/keys/id"));
  await mkdir(join(folder, "empty"));
  await writeFile(join(folder, "empty/ansible.cfg"), "");
  const wanted = Object.entries(inventories).map(([name, { limits }]) => ({
    name,
    file: fileOf(name),
    limits,
  }));
  limited = JSON.parse(await ansible("/usr/bin/python3", ["-c", limiter], JSON.stringify(wanted)));
});
after(() => rm(folder, { recursive: true }));

/** In an empty folder, and without anybody's settings: both would be read too. */
async function ansible(command: string, args: string[], input = ""): Promise<string> {
  const { stdout } = await run(command, args, {
    input,
    cwd: join(folder, "empty"),
    env: {
      ...{ PATH: process.env.PATH, HOME: join(folder, "empty"), LC_ALL: "C.UTF-8" },
      ...{ ANSIBLE_CONFIG: join(folder, "empty/ansible.cfg"), ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED: "1" },
    },
  });
  return stdout;
}

/** What Ansible's ssh plugin makes of the variables: of two names for one thing the later one wins. */
function asAnsibleHasIt(name: string, variables: Record<string, unknown>) {
  const last = (...keys: string[]) => {
    const values = keys.map((key) => variables[key] ?? undefined).filter((value) => value !== undefined);
    const value = values.at(-1);
    // What is marked !unsafe is listed as {"__ansible_unsafe": text}.
    if (typeof value === "object" && value !== null) return String(Object.values(value)[0]);
    return value === undefined ? undefined : String(value);
  };
  const port = last("ansible_port", "ansible_ssh_port");
  const become = last("ansible_become");
  const isLocal = variables.ansible_connection === "local";
  return {
    name,
    host: (isLocal ? undefined : last("ansible_host", "ansible_ssh_host")) ?? name,
    port: port === undefined || isLocal ? undefined : Number(port),
    user: isLocal ? undefined : last("ansible_user", "ansible_ssh_user"),
    key: isLocal ? undefined : last("ansible_private_key_file", "ansible_ssh_private_key_file"),
    repoHost: last("repo_host"),
    local: isLocal,
    become: become === undefined || /^(?:y|yes|on|1|true|t)$/i.test(become),
  };
}

function asWeHaveIt(client: Client, place: string): ReturnType<typeof asAnsibleHasIt> {
  const { name, host, port, user, keyFile, repoHost, local = false, become = true } = client;
  return { name, host, port, user, key: keyFile?.replace(`${place}/`, ""), repoHost, local, become };
}

function membersOf(listing: Listing, group: string): string[] {
  const { hosts = [], children = [] } = listing.groups[group] ?? {};
  return [...new Set([...hosts, ...children.flatMap((child) => membersOf(listing, child))])];
}

for (const [name, { path, limits }] of Object.entries(inventories)) {
  describe(`an inventory in the manner of ${name}`, () => {
    const file = () => fileOf(name);
    const place = () => (path === "." ? file() : dirname(file()));
    let listing: Listing;
    before(async () => {
      const { _meta, ...groups } = JSON.parse(await ansible("ansible-inventory", ["-i", file(), "--list"]));
      listing = { groups, variables: _meta.hostvars };
    });

    it("names the same hosts, reached in the same way", async () => {
      const clients = await readInventory(file(), { allowProxyCommand: true });
      const ours = clients.map((client) => asWeHaveIt(client, place()));
      const theirs = membersOf(listing, "all").map((host) =>
        asAnsibleHasIt(host, listing.variables[host] ?? {}),
      );
      const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
      assert.ok(ours.length > 4);
      assert.deepEqual(ours.sort(byName), theirs.sort(byName));
    });

    it("has the same groups", async () => {
      const inventory = await readInventoryFiles(file(), () => undefined);
      for (const group of Object.keys(listing.groups)) {
        const ours = inventory.hostsIn(inventory.groups.get(group) ?? assert.fail(`no group ${group}`));
        assert.deepEqual(ours.map((host) => host.name).sort(), membersOf(listing, group).sort(), group);
      }
    });

    for (const limit of limits) {
      it(`leaves the same hosts, in the same order, with --limit ${limit}`, async () => {
        const theirs = limited[name]?.[limit] ?? [];
        const ours = await readInventory(file(), { limit, allowProxyCommand: true });
        assert.deepEqual(
          ours.map((client) => client.name),
          theirs,
        );
        assert.ok(theirs.length > 0);
      });
    }
  });
}

it("each of the inventories is compared", async () => {
  const there = await readdir(join(import.meta.dirname, "inventories"));
  assert.deepEqual(there.sort(), Object.keys(inventories).sort());
});
