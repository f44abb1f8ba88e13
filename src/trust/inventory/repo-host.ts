/**
 * The name by which a client reaches the registry, held against the names for which its certificate speaks.
 */
import { DrydockError } from "../../errors.ts";
import { sameAddress } from "../address.ts";
import type { Client } from "../client.ts";

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
