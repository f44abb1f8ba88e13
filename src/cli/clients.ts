/** What `install --clients` and `trust` share: the flags about clients, and what they mean. */
import { Flags } from "@oclif/core";
import { DrydockError, exitCodes } from "../errors.ts";
import type { Reporter } from "../reporter.ts";
import { shellWords } from "../shell-words.ts";
import { defaultSiteRoot } from "../site/layout.ts";
import type { SitePackages } from "../site/packages.ts";
import type { ServedImage } from "../site/served-images.ts";
import type { Client, ClientResult } from "../trust/client.ts";
import type { ClientOptions } from "../trust/on-each.ts";
import type { ProofOptions } from "../trust/proof/proof.ts";
import type { ReachOptions } from "../trust/reach.ts";
import { isDone } from "./describe-clients.ts";
import { askSecret, hasTerminal } from "./prompt.ts";
import { storeFlags } from "./stores.ts";

/** How the clients' trust is proven; `install` has a --prove of its own. */
const proveClientsDefault = "engine";
export const proveClientsFlag = Flags.option({
  options: ["none", "tls", "engine", "pull"] as const,
  default: proveClientsDefault,
  description:
    "how it is proven from each client that the registry can be used there: tls, a handshake from where it stands; " +
    "engine, its own Docker engine looks an image up, where it has one; pull, it pulls a small image and removes it",
});

export const clientFlags = {
  parallel: Flags.integer({
    helpValue: "N",
    min: 1,
    max: 256,
    description: "clients at the same time [default: 32]",
  }),
  timeout: Flags.integer({
    helpValue: "SECONDS",
    min: 1,
    max: 3600,
    description: "how long each step with one client may take, its login for one [default: 20]",
  }),
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
  "install-packages": Flags.boolean({
    description: "where a host has no Docker, install it from the packages that the site's bundles brought",
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
  parallel?: number | undefined;
  timeout?: number | undefined;
  "known-hosts"?: string | undefined;
  "accept-new-host-keys": boolean;
  "allow-proxy-command": boolean;
  "ssh-config"?: string | undefined;
  "ask-password": boolean;
  "ask-sudo-password": boolean;
}): ReachOptions & Pick<ClientOptions, "limit"> {
  return {
    ...(flags.parallel === undefined ? {} : { limit: flags.parallel }),
    timeoutMs: flags.timeout === undefined ? undefined : flags.timeout * 1000,
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

/** What the registry serves, where the proof wants it. @param site the site's directory, if given */
export async function imagesFor(prove: ProofOptions["prove"], site?: string): Promise<ServedImage[]> {
  if (prove === "none" || prove === "tls") return [];
  const { readServedImages } = await import("../site/served-images.ts");
  return await readServedImages(site);
}

/**
 * The site's packages, undefined if nobody asked for them.
 * @param coming whether a bundle that is about to be installed brings some
 * @throws DrydockError "input" if there are none
 */
export async function packagesFor(
  flags: { "install-packages": boolean },
  site: string | undefined,
  coming = false,
): Promise<SitePackages[] | undefined> {
  if (!flags["install-packages"]) return undefined;
  const { readPackages } = await import("../site/packages.ts");
  const packages = await readPackages(site);
  if (packages.length > 0 || coming) return packages;
  throw new DrydockError("input", "--install-packages: no bundle of the site has brought packages", {
    hint: "Name them in a manifest's `packages`, see docs/packages.md, and install its bundle.",
  });
}

/** Those that failed, for --retry. That it can't be written is no reason to end otherwise. */
export async function remember(
  lastRun: string,
  hosts: readonly ClientResult[],
  isAll: boolean,
  reporter: Reporter,
): Promise<void> {
  const { rememberFailed } = await import("../trust/last-run.ts");
  try {
    await rememberFailed(lastRun, hosts, isAll);
  } catch (error) {
    if (!(error instanceof DrydockError)) throw error;
    reporter.warn(`which hosts failed is not remembered: ${error.message}`);
  }
}

/**
 * The command that works on those that failed, after an install: with what was said about clients.
 * @param words the program, and the site's directory
 */
export function retryCommand(
  words: { bin: string; site: string },
  flags: Readonly<Record<string, unknown>> & { clients?: string | undefined },
): string {
  const others = Object.keys({ ...storeFlags, ...clientFlags }).flatMap((name) => {
    const value = flags[name];
    if (value === undefined || value === false) return [];
    return value === true ? [`--${name}`] : [`--${name}`, String(value)];
  });
  const prove = flags["prove-clients"];
  if (prove !== undefined && prove !== proveClientsDefault) others.push("--prove", String(prove));
  const site = words.site === defaultSiteRoot ? [] : ["--site", words.site];
  return shellWords([words.bin, "trust", "--retry", "--clients", flags.clients ?? "", ...site, ...others]);
}

/** 5 where some client failed: also when the CA is in place and the handshake shows that it does not work. */
export function exitCodeOf(hosts: ClientResult[]): number {
  return hosts.every(isDone) ? 0 : exitCodes.partial;
}
