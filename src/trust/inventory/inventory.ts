/**
 * The list of clients: an Ansible inventory. What it says is either understood as Ansible understands it, or
 * refused with file and line; nothing that changes how a host is reached is skipped in silence.
 * https://docs.ansible.com/ansible/latest/inventory_guide/intro_inventory.html
 */
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Client } from "../client.ts";
import { readInventoryFiles } from "./files.ts";
import { limitHosts } from "./limit.ts";
import { toClient } from "./to-client.ts";
import { VariableFiles } from "./variable-files.ts";

export interface InventoryOptions {
  /** a pattern as for Ansible's --limit: the others are neither looked at nor returned */
  limit?: string;
  /** whether a ProxyCommand may be among them; default false */
  allowProxyCommand?: boolean;
  /** told of what is left out, though hosts are reached as they should be; each once */
  note?(text: string): void;
}

/**
 * Reads an inventory, a file or a folder, with the group_vars and host_vars beside it, and checks that each
 * key file it names can be read.
 * @returns the clients in Ansible's order; a host in several groups is one client
 * @throws DrydockError "input" naming file and line
 */
export async function readInventory(path: string, options: InventoryOptions = {}): Promise<Client[]> {
  const told = new Set<string>();
  const note = (text: string) => {
    if (!told.has(text)) options.note?.(text);
    told.add(text);
  };
  const inventory = await readInventoryFiles(path, note);
  const { limit, allowProxyCommand = false } = options;
  const hosts = limit === undefined ? inventory.hostsIn(inventory.all) : limitHosts(inventory, limit);
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  const files = new VariableFiles(folder);
  const clients: Client[] = [];
  for (const host of hosts) {
    const variables = await files.variablesOf(inventory, host);
    clients.push(await toClient(host, variables, { folder: resolve(folder), allowProxyCommand, note }));
  }
  return clients;
}
