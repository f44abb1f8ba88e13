/**
 * `drydock trust`: makes every client trust the CA, and proves it from each.
 */
import type { Reporter } from "../reporter.ts";
import type { ServedImage } from "../site/served-images.ts";
import { reachableAddresses, referenceNames } from "./address.ts";
import { checkAuthority } from "./authority.ts";
import type { Client, ClientResult } from "./client.ts";
import { type ClientOptions, onEach } from "./on-each.ts";
import type { ProofOptions } from "./proof/proof.ts";
import { prove } from "./proof/prove.ts";
import { defaultTimeout } from "./reach.ts";
import { runAsRoot } from "./remote-shell.ts";
import { certificatesIn } from "./stores/pem.ts";
import type { StoreName } from "./stores/store.ts";
import { type StoreOrder, type StoreWork, workOnStores } from "./stores/work.ts";

export interface TrustOptions extends ClientOptions {
  /** PEM: the CA's certificate, or several */
  ca: string;
  /** the registry's */
  port: number;
  /** the stores to work on; default: those of the runtimes that a client has */
  stores?: readonly StoreName[] | undefined;
  /** CAs of the registry that an earlier run put there go; else they stay beside the new one */
  removeOld?: boolean;
  /** default: engine */
  prove?: ProofOptions["prove"] | undefined;
  /** what the registry serves, as far as it is known: for the proof */
  images?: readonly ServedImage[] | undefined;
}

/**
 * Works on all clients side by side; what goes wrong with one is in its result and stops no other.
 * @returns a result for each client, in their order
 * @throws DrydockError "input" before any connection: the CA is none, a repo_host is not the registry's
 */
export async function trust(
  clients: readonly Client[],
  options: TrustOptions,
  reporter: Reporter,
): Promise<ClientResult[]> {
  const ca = checkAuthority(options.ca);
  const { port, timeoutMs = defaultTimeout, prove: asked = "engine", images = [] } = options;
  const addresses = reachableAddresses(options.addresses);
  const order: StoreOrder = {
    verb: "install",
    names: referenceNames(addresses, port),
    authorities: certificatesIn(ca),
    removeOld: options.removeOld ?? false,
    stores: options.stores,
  };
  return await onEach(clients, options, reporter, "trust", async (connection, client) => {
    const stores = await workOnStores(connection, client, order);
    const proof = await prove({
      connection,
      client,
      options: { ca, addresses, port, timeoutMs, prove: asked, images },
    });
    return {
      name: client.name,
      status: stores.changed ? "changed" : "ok",
      ...proof,
      ...firstOf(proof, stores),
    };
  });
}

/** A result has room for one reason: the proof's comes before the stores'. */
function firstOf(proof: { reason?: string }, { findings }: StoreWork): { reason?: string; hint?: string } {
  return proof.reason === undefined ? { ...findings[0] } : {};
}

/**
 * Connects, checks host keys, logs in and looks for root's rights; changes nothing at the clients.
 * @returns as `trust`, "ok" for each client that trust can work on, and nothing proven
 * @throws DrydockError "input" as `trust`
 */
export async function checkClients(
  clients: readonly Client[],
  options: ClientOptions,
  reporter: Reporter,
): Promise<ClientResult[]> {
  return await onEach(clients, options, reporter, "check", async (connection, client) => {
    await runAsRoot(connection, client, ["exit 0"]);
    return { name: client.name, status: "ok", proven: false };
  });
}
