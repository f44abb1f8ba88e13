/**
 * `drydock trust`: makes every client trust the CA, and proves it from each.
 */
import { DrydockError } from "../errors.ts";
import type { Reporter } from "../reporter.ts";
import type { SitePackages } from "../site/packages.ts";
import type { ServedImage } from "../site/served-images.ts";
import { endpointNames, reachableAddresses, referenceNames } from "./address.ts";
import { checkAuthority } from "./authority.ts";
import type { Client, ClientResult } from "./client.ts";
import { type ClientOptions, onEach } from "./on-each.ts";
import { installPackages, type PackagesWork } from "./packages/install.ts";
import type { ProofOptions } from "./proof/proof.ts";
import { prove } from "./proof/prove.ts";
import { defaultTimeout } from "./reach.ts";
import { runAsRoot } from "./remote-shell.ts";
import { certificatesIn } from "./stores/pem.ts";
import type { StoreName } from "./stores/store.ts";
import { type StoreOrder, workOnStores } from "./stores/work.ts";

export interface TrustOptions extends ClientOptions {
  /** PEM: the CA's certificate, or several */
  ca: string;
  /** the registry's */
  port: number;
  /** the stores to work on; default: those of the runtimes that a client has */
  stores?: readonly StoreName[] | undefined;
  /** CAs of the registry that an earlier run put there go; else they stay beside the new one */
  removeOld?: boolean;
  /** what to install Docker from where it is missing; none is installed if left out */
  packages?: readonly SitePackages[] | undefined;
  /** upstream hosts whose images are looked for in this registry first */
  mirrors?: readonly string[] | undefined;
  /** what a runtime reads only at its start may be changed, and the runtime restarted */
  restartRuntimes?: boolean;
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
  const orderFor = orders("install", { ...options, ca });
  return await onEach(clients, options, reporter, "trust", async (connection, client, tell) => {
    const { packages } = options;
    const docker = packages
      ? await installPackages(connection, client, { sets: packages, tell })
      : nothingInstalled;
    tell("trust stores");
    const stores = await workOnStores(connection, client, orderFor(client));
    tell("proof");
    const proof = await prove({
      connection,
      client,
      options: { ca, addresses, port, timeoutMs, prove: asked, images, stores: stores.stores },
    });
    return {
      name: client.name,
      status: stores.changed || docker.installed ? "changed" : "ok",
      ...(docker.installed && { installed: docker.installed }),
      ...proof,
      ...told(proof, [...docker.findings, ...stores.findings]),
    };
  });
}

/**
 * Takes away what `trust` put there for this registry, by its mark and by name or CA, and leaves the rest.
 * @param options.ca may be empty: then what has one of the registry's names goes
 * @returns as `trust`: "changed" where something was taken away
 * @throws DrydockError "input" as `trust`
 */
export async function removeTrust(
  clients: readonly Client[],
  options: TrustOptions,
  reporter: Reporter,
): Promise<ClientResult[]> {
  const ca = options.ca === "" ? "" : checkAuthority(options.ca);
  const orderFor = orders("remove", { ...options, ca });
  return await onEach(clients, options, reporter, "clear", async (connection, client) => {
    const stores = await workOnStores(connection, client, orderFor(client));
    return {
      name: client.name,
      status: stores.changed ? "changed" : "ok",
      proven: false,
      ...told({}, stores.findings),
    };
  });
}

/** What each client's stores shall hold. @throws DrydockError "usage" */
function orders(verb: StoreOrder["verb"], options: TrustOptions): (client: Client) => StoreOrder {
  const { ca, port, stores, mirrors = [], removeOld = false, restartRuntimes = false } = options;
  const addresses = reachableAddresses(options.addresses);
  const names = referenceNames(addresses, port);
  const itself = mirrors.find((upstream) => names.includes(upstream));
  if (itself !== undefined)
    throw new DrydockError("usage", `--mirror ${itself}: that is the registry itself`);
  const order = { verb, names, authorities: certificatesIn(ca), removeOld, mirrors, restartRuntimes, stores };
  return ({ repoHost }) => ({
    ...order,
    endpoints: endpointNames(repoHost === undefined ? addresses : [repoHost], port),
  });
}

const nothingInstalled: PackagesWork = { findings: [] };

/** All that is to be known, the proof's words first. */
function told(
  proof: { reason?: string; hint?: string },
  findings: readonly { reason: string; hint: string }[],
): { reason?: string; hint?: string } {
  const all = proof.reason === undefined ? findings : [{ ...proof, reason: proof.reason }, ...findings];
  if (all.length === 0) return {};
  const hints = new Set(all.flatMap(({ hint }) => hint ?? []));
  return {
    reason: all.map(({ reason }) => reason).join("; "),
    ...(hints.size === 0 ? {} : { hint: [...hints].join("\n  ") }),
  };
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
