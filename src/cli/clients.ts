/** What `install --clients` and `trust` share: the flags about SSH, and the report of the clients. */
import { Flags } from "@oclif/core";
import { DrydockError, exitCodes } from "../errors.ts";
import type { Finding } from "../install/finding.ts";
import type { Reporter } from "../reporter.ts";
import type { Client, ClientResult } from "../trust/client.ts";
import type { ReachOptions } from "../trust/reach.ts";
import { columns, count, printable } from "./format.ts";
import { askSecret, hasTerminal } from "./prompt.ts";

export const clientFlags = {
  limit: Flags.string({
    helpValue: "PATTERN",
    description:
      "with --clients: only these hosts of the inventory, as Ansible's --limit: web:&lab:!old, db-*, web[0:2]",
  }),
  "allow-proxy-command": Flags.boolean({
    description: "run the ProxyCommands that the inventory and SSH's configuration name",
  }),
  "known-hosts": Flags.string({
    helpValue: "FILE",
    description:
      "the known_hosts file that host keys are checked against, besides the system's [default: ~/.ssh/known_hosts]",
  }),
  "accept-new-host-keys": Flags.boolean({
    description: "take the key of a host that known_hosts does not list, and write it there",
  }),
  "ssh-config": Flags.string({
    helpValue: "FILE",
    description: "SSH's configuration, or `none` [default: ~/.ssh/config and /etc/ssh/ssh_config]",
  }),
  "ask-password": Flags.boolean({
    description:
      "ask for a password for the login, one for each user name, for hosts that take no key of ours",
  }),
  "ask-sudo-password": Flags.boolean({
    description: "ask for the password for sudo, one for each user name, for hosts where sudo wants it",
  }),
};

export function clientOptions(flags: {
  "known-hosts"?: string | undefined;
  "accept-new-host-keys": boolean;
  "allow-proxy-command": boolean;
  "ssh-config"?: string | undefined;
  "ask-password": boolean;
  "ask-sudo-password": boolean;
}): ReachOptions {
  return {
    knownHostsFile: flags["known-hosts"],
    acceptNewHostKeys: flags["accept-new-host-keys"],
    allowProxyCommand: flags["allow-proxy-command"],
    sshConfigFile: flags["ssh-config"],
    askPassword: flags["ask-password"],
    askSudoPassword: flags["ask-sudo-password"],
    ask: hasTerminal() ? (question) => askSecret(question) : undefined,
  };
}

/**
 * The clients of the inventory, undefined if none is named; notes about it go to the reporter.
 * @throws DrydockError "usage", or "input" as readInventory
 */
export async function readClients(
  flags: {
    clients?: string | undefined;
    limit?: string | undefined;
    "allow-proxy-command": boolean;
  },
  reporter: Reporter,
): Promise<Client[] | undefined> {
  const { clients, limit } = flags;
  if (clients === undefined) {
    if (limit === undefined) return undefined;
    throw new DrydockError("usage", "--limit takes hosts out of an inventory: wanted --clients FILE as well");
  }
  const { readInventory } = await import("../trust/inventory/inventory.ts");
  return await readInventory(clients, {
    ...(limit === undefined ? {} : { limit }),
    allowProxyCommand: flags["allow-proxy-command"],
    note: (text) => reporter.note(text),
  });
}

/** A client that got the CA, or had it; its proof is another matter. */
function isDone({ status }: ClientResult): boolean {
  return status === "ok" || status === "changed";
}

/** A line for each client, those that failed with reason and hint, and a line that sums up. */
export function clientReport(hosts: ClientResult[]): string {
  const rows = hosts.map(({ name, status, proven, provenAs }) => [
    name,
    status,
    proven ? `proven over TLS as ${provenAs}` : isDone({ name, status, proven }) ? "not proven" : "",
  ]);
  const reasons = hosts.flatMap(({ name, reason, hint }) => {
    if (reason === undefined) return [];
    return [`${name}: ${reason}${hint === undefined ? "" : `\n  ${hint}`}`];
  });
  const done = hosts.filter(isDone).length;
  const proven = hosts.filter((host) => host.proven).length;
  const failed = hosts.length - done;
  const sum = `${count(done, "client")} trust${done === 1 ? "s" : ""} the CA, ${proven} proven${failed > 0 ? `, ${failed} failed` : ""}`;
  return printable([columns(rows), ...reasons, sum].join("\n\n"), true);
}

/**
 * What a look at the clients found, for preflight's table. One that can't be worked on doesn't keep the site
 * from being installed; if none can, whatever is wrong is wrong here.
 */
export function clientFindings(hosts: ClientResult[]): Finding[] {
  const bad = hosts.filter((host) => !isDone(host));
  const ready = hosts.length - bad.length;
  const level = ready === 0 ? "error" : "warning";
  const text = `${ready} of ${hosts.length} can be logged in to, with root's rights`;
  return [
    ...(ready === 0 ? [] : [{ check: "clients", level: "ok", text } as const]),
    ...bad.map(
      ({ name, status, reason, hint }) =>
        ({
          check: "clients",
          level,
          text: `${name}: ${reason ?? status}`,
          ...(hint === undefined ? {} : { hint }),
        }) as const,
    ),
  ];
}

/** 5 where some client failed: also when the CA is in place and the handshake shows that it does not work. */
export function exitCodeOf(hosts: ClientResult[]): number {
  return hosts.every(isDone) ? 0 : exitCodes.partial;
}
