/**
 * `trust --dry-run`: what was understood of the clients, and what would be written there. Nobody is connected to.
 */
import { describeMatch } from "../archive/packages.ts";
import type { SitePackages } from "../site/packages.ts";
import { endpointNames, reachableAddresses, referenceNames } from "./address.ts";
import type { Client } from "./client.ts";
import { checkRepoHosts } from "./inventory/repo-host.ts";
import type { StoreName } from "./stores/store.ts";
import { filesOf } from "./stores/work.ts";

/** A client as it is told of: of a command only the program, since its arguments may hold a password. */
export type PlannedClient = Omit<Client, "proxyCommand"> & { proxyProgram?: string };

export interface TrustPlan {
  clients: PlannedClient[];
  /** the registry as references name it; only where it is known what its addresses are */
  names?: string[];
  /** at each client that has the runtime */
  stores?: { name: StoreName; files: string[] }[];
  /** what Docker would be installed from where it is missing, if that is wanted */
  packages?: PlannedPackages[];
}

export interface PlannedPackages {
  /** "debian 12 amd64" */
  hosts: string;
  files: number;
  /** in bytes */
  size: number;
}

export interface TrustPlanOptions {
  stores?: readonly StoreName[] | undefined;
  mirrors?: readonly string[] | undefined;
  /** the site's, where Docker is to be installed from them */
  packages?: readonly SitePackages[] | undefined;
}

/**
 * @param registry if it is known
 * @throws DrydockError "input" if a repo_host is none of the registry's addresses
 */
export function planTrust(
  clients: readonly Client[],
  registry: { addresses: readonly string[]; port: number } | undefined,
  options: TrustPlanOptions = {},
): TrustPlan {
  if (registry !== undefined) checkRepoHosts(clients, registry.addresses);
  const planned = clients.map(({ proxyCommand, ...client }) => {
    if (proxyCommand === undefined) return client;
    const [program = ""] = proxyCommand.replace(/^exec\s+/, "").split(/\s/);
    return { ...client, proxyProgram: program };
  });
  if (registry === undefined) return { clients: planned };
  const addresses = reachableAddresses(registry.addresses);
  const names = referenceNames(addresses, registry.port);
  const endpoints = endpointNames(addresses, registry.port);
  const stores = filesOf({ names, endpoints, mirrors: options.mirrors ?? [], stores: options.stores });
  const packages = options.packages?.map(plannedPackages);
  return { clients: planned, names, stores, ...(packages && { packages }) };
}

function plannedPackages({ match, files }: SitePackages): PlannedPackages {
  const size = files.reduce((sum, file) => sum + file.size, 0);
  return { hosts: describeMatch(match), files: files.length, size };
}
