/**
 * `drydock trust`: makes every client trust the CA, and proves it from each.
 */
import type { Reporter } from "../reporter.ts";
import { reachableAddresses } from "./address.ts";
import { checkAuthority } from "./authority.ts";
import type { Client, ClientResult } from "./client.ts";
import type { Connection } from "./connection.ts";
import { type ClientOptions, onEach } from "./on-each.ts";
import { prove } from "./prove.ts";
import { defaultTimeout } from "./reach.ts";
import { runAsRoot } from "./remote-shell.ts";
import * as docker from "./stores/docker.ts";

export interface TrustOptions extends ClientOptions {
  /** PEM: the CA's certificate, or several */
  ca: string;
  /** the registry's */
  port: number;
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
  const { port, timeoutMs = defaultTimeout } = options;
  const addresses = reachableAddresses(options.addresses);
  const directories = docker.certificateDirectories(addresses, port);
  return await onEach(clients, options, reporter, "trust", async (connection, client) => {
    const stores = await installStores(connection, client, { ca, directories });
    const proof = await prove(connection, client, { ca, addresses, port, timeoutMs });
    return {
      name: client.name,
      status: stores.changed ? "changed" : "ok",
      ...proof,
      ...firstOf(proof, stores),
    };
  });
}

/** What the stores of a client say after the work on them. */
export interface InstalledStores {
  changed: boolean;
  /** what stands in the way of the CA there, the worst first */
  findings: { reason: string; hint: string }[];
}

async function installStores(
  connection: Connection,
  client: Client,
  wanted: { ca: string; directories: readonly string[] },
): Promise<InstalledStores> {
  const { changed, shadowedBy } = await docker.install(connection, client, wanted.ca, wanted.directories);
  const findings = shadowedBy.map((shadow) => ({
    reason: `Podman and skopeo look into ${shadow} alone, which is there and lacks the CA`,
    hint: "Remove it, or put the CA there as well.",
  }));
  return { changed, findings };
}

/** A result has room for one reason: the proof's comes before the stores'. */
function firstOf(
  proof: { reason?: string },
  { findings }: InstalledStores,
): { reason?: string; hint?: string } {
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
