/**
 * `trust --dry-run`: what was understood of the clients, and what would be written there. Nobody is connected to.
 */
import { reachableAddresses, referenceNames } from "./address.ts";
import type { Client } from "./client.ts";
import { checkRepoHosts } from "./inventory/repo-host.ts";
import { dockerFolder } from "./places.ts";

/** A client as it is told of: of a command only the program, since its arguments may hold a password. */
export type PlannedClient = Omit<Client, "proxyCommand"> & { proxyProgram?: string };

export interface TrustPlan {
  clients: PlannedClient[];
  /** at each client; only where it is known what the registry's addresses are */
  directories?: string[];
}

/**
 * @param serving what the site serves, if there is a site
 * @throws DrydockError "input" if a repo_host is none of the registry's addresses
 */
export function planTrust(
  clients: readonly Client[],
  serving: { addresses: readonly string[]; port: number } | undefined,
): TrustPlan {
  if (serving !== undefined) checkRepoHosts(clients, serving.addresses);
  const planned = clients.map(({ proxyCommand, ...client }) => {
    if (proxyCommand === undefined) return client;
    const [program = ""] = proxyCommand.replace(/^exec\s+/, "").split(/\s/);
    return { ...client, proxyProgram: program };
  });
  if (serving === undefined) return { clients: planned };
  const names = referenceNames(reachableAddresses(serving.addresses), serving.port);
  return { clients: planned, directories: names.map((name) => `${dockerFolder}/${name}`) };
}
