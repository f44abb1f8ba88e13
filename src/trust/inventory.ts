/**
 * The list of clients: an Ansible inventory in INI form. What it says is either understood or refused with
 * its file and line; nothing that changes how a host is reached is skipped in silence.
 * https://docs.ansible.com/ansible/latest/collections/ansible/builtin/ini_inventory.html
 */
import { access, readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { homedir, userInfo } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { DrydockError, fileErrorText } from "../errors.ts";
import { sameAddress } from "./address.ts";
import type { Client } from "./client.ts";
import { readKeyFile } from "./key-file.ts";
import { splitWords } from "./shell-words.ts";
import { checkVariable } from "./variables.ts";

/** One host with its variables, each with the line that set it. */
interface HostEntry {
  name: string;
  where: string;
  variables: Map<string, { value: string; where: string }>;
}

/**
 * Reads an inventory, and checks that each key file it names can be read.
 * @returns the clients in the order in which they first appear; a host in several groups is one client
 * @throws DrydockError "input" naming file and line
 */
export async function readInventory(file: string): Promise<Client[]> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new DrydockError("input", `read inventory ${JSON.stringify(file)}: ${fileErrorText(error)}`, {
      cause: error,
    });
  }
  await refuseVariableFolders(file);
  const hosts = parse(text, file);
  if (hosts.length === 0) throw new DrydockError("input", `inventory ${JSON.stringify(file)} names no host`);
  const clients: Client[] = [];
  for (const host of hosts) clients.push(await toClient(host, dirname(resolve(file))));
  return clients;
}

/**
 * Checks that each client's `repo_host` is one of the registry's addresses, for which its certificate speaks.
 * @throws DrydockError "input" naming host and line
 */
export function checkRepoHosts(clients: readonly Client[], addresses: readonly string[]): void {
  for (const { name, repoHost, where } of clients) {
    if (repoHost === undefined || addresses.some((address) => sameAddress(address, repoHost))) continue;
    throw new DrydockError(
      "input",
      `${where}: host ${JSON.stringify(name)}: repo_host ${JSON.stringify(repoHost)} is none of the registry's ` +
        `addresses (${addresses.join(", ")})`,
      { hint: "Name one of these, or make the registry's certificate for this address too." },
    );
  }
}

/** Ansible would read these too; whoever has them means them. */
async function refuseVariableFolders(file: string): Promise<void> {
  for (const folder of ["host_vars", "group_vars"]) {
    const path = join(dirname(file), folder);
    const there = await access(path).then(
      () => true,
      () => false,
    );
    if (!there) continue;
    throw new DrydockError(
      "input",
      `inventory ${JSON.stringify(file)}: ${JSON.stringify(path)} is beside it, and is not read by this version`,
      { hint: `Put what it sets on the host lines, and ${basename(file)} into a folder without ${folder}.` },
    );
  }
}

function parse(text: string, file: string): HostEntry[] {
  const hosts = new Map<string, HostEntry>();
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim();
    const where = `${file}:${index + 1}`;
    if (index === 0 && line.startsWith("#!"))
      throw fault(where, "an inventory script", "write out its hosts");
    if (line === "" || line.startsWith("#") || line.startsWith(";")) continue;
    if (line.startsWith("[")) checkSection(line, where);
    else addHost(hosts, line, where);
  }
  return [...hosts.values()];
}

function fault(where: string, what: string, instead: string): DrydockError {
  const hint = `${instead.charAt(0).toUpperCase()}${instead.slice(1)}.`;
  return new DrydockError("input", `${where}: ${what} is not read by this version`, { hint });
}

/** `[name]`; groups have no meaning of their own here. */
function checkSection(line: string, where: string): void {
  const section = /^\[([^\][:\s]+)(?::([^\][:\s]+))?\]\s*(?:#.*)?$/.exec(line);
  if (section === null) {
    throw new DrydockError(
      "input",
      `${where}: ${JSON.stringify(line)} is neither a group "[name]" nor a host`,
    );
  }
  if (section[2] === "vars")
    throw fault(where, JSON.stringify(line), "put these variables on the lines of the hosts");
  if (section[2] !== undefined) throw fault(where, JSON.stringify(line), "list the hosts of those groups");
}

function addHost(hosts: Map<string, HostEntry>, line: string, where: string): void {
  const words = splitWords(line);
  if (words === undefined) throw new DrydockError("input", `${where}: a quote is not closed`);
  const [name = "", ...assignments] = words;
  checkHostName(name, where, "host");
  const host: HostEntry = hosts.get(name) ?? { name, where, variables: new Map() };
  hosts.set(name, host);
  for (const assignment of assignments) {
    const equals = assignment.indexOf("=");
    if (equals < 1) {
      // Not quoted: it may be part of a password that lost its quotes.
      throw new DrydockError(
        "input",
        `${where}: host ${JSON.stringify(name)}: wanted key=value after the name`,
      );
    }
    const key = assignment.slice(0, equals);
    const value = unquote(assignment.slice(equals + 1));
    if (checkVariable(key, value, `${where}: host ${JSON.stringify(name)}`))
      host.variables.set(key, { value, where });
  }
}

/** Ansible evaluates a value as a Python literal, so that "'x'" is x. */
function unquote(value: string): string {
  const quoted = /^(["'])([^"'\\]*)\1$/.exec(value);
  return quoted?.[2] ?? value;
}

/** Letters, digits, `.`, `_`, `-` within, or an IP address: all else would be a pattern, a port or an option. */
function checkHostName(name: string, where: string, what: string): void {
  if (/^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?$/.test(name) || isIP(name) !== 0) return;
  if (name.includes("[")) throw fault(where, `the range ${JSON.stringify(name)}`, "write out its hosts");
  const hint = /^[^:]+:\d+$/.test(name) ? "Give the port as ansible_port=N." : undefined;
  throw new DrydockError(
    "input",
    `${where}: ${what} ${JSON.stringify(name)} is no host name and no IP address`,
    {
      hint,
    },
  );
}

async function toClient(entry: HostEntry, folder: string): Promise<Client> {
  const { name, where } = entry;
  const { host, port, user, key, repoHost } = {
    host: entry.variables.get("ansible_host"),
    port: entry.variables.get("ansible_port"),
    user: entry.variables.get("ansible_user"),
    key: entry.variables.get("ansible_ssh_private_key_file"),
    repoHost: entry.variables.get("repo_host"),
  };
  if (host !== undefined) checkHostName(host.value, host.where, `host ${JSON.stringify(name)}: ansible_host`);
  if (repoHost !== undefined) {
    checkHostName(repoHost.value, repoHost.where, `host ${JSON.stringify(name)}: repo_host`);
  }
  const client: Client = {
    name,
    host: host?.value ?? name,
    port: port === undefined ? 22 : parsePort(port.value, `${port.where}: host ${JSON.stringify(name)}`),
    user: user === undefined ? userInfo().username : parseUser(user.value, user.where, name),
    // A wrong repo_host is looked for on its own line.
    where: repoHost?.where ?? where,
  };
  if (repoHost !== undefined) client.repoHost = repoHost.value;
  if (key !== undefined)
    client.keyFile = await checkKey(key.value, folder, `${key.where}: host ${JSON.stringify(name)}`);
  return client;
}

function parsePort(text: string, where: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65535) return port;
  throw new DrydockError(
    "input",
    `${where}: ansible_port ${JSON.stringify(text)} is no number from 1 to 65535`,
  );
}

function parseUser(text: string, where: string, name: string): string {
  if (/^[A-Za-z0-9_.][A-Za-z0-9_.@\\-]*\$?$/.test(text)) return text;
  throw new DrydockError(
    "input",
    `${where}: host ${JSON.stringify(name)}: ansible_user ${JSON.stringify(text)} is no user name`,
  );
}

/** @returns the absolute path of a key file that can be read */
async function checkKey(text: string, folder: string, where: string): Promise<string> {
  const file = /^~(?=\/|$)/.test(text) ? join(homedir(), text.slice(1)) : resolve(folder, text);
  const what = `${where}: key ${JSON.stringify(file)}`;
  try {
    if ((await readKeyFile(file)).state !== "no key") return file;
  } catch (error) {
    throw new DrydockError("input", `${what} can't be read: ${fileErrorText(error)}`, { cause: error });
  }
  throw new DrydockError("input", `${what} is not a private key`, {
    hint: file.endsWith(".pub") ? "This is the public half; name the file without .pub." : undefined,
  });
}
