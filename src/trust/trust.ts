/**
 * `drydock trust`: makes every client trust the CA, and proves it from each.
 */
import { DrydockError } from "../errors.ts";
import type { Reporter } from "../reporter.ts";
import type { SitePackages } from "../site/packages.ts";
import type { ServedImage } from "../site/served-images.ts";
import { endpointNames, reachableAddresses, referenceNames } from "./address.ts";
import { checkAuthority } from "./authority.ts";
import {
  type Client,
  ClientFailure,
  type ClientResult,
  type InstalledDocker,
  inOne,
  type Note,
} from "./client.ts";
import type { Connection } from "./connection.ts";
import { type ClientOptions, onEach } from "./on-each.ts";
import { installPackages } from "./packages/install.ts";
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
  const { packages, port, timeoutMs = defaultTimeout, prove: asked = "engine", images = [] } = options;
  const addresses = reachableAddresses(options.addresses);
  const orderFor = orders("install", { ...options, ca });
  // By any try: where the connection broke, the next one finds done what this one did.
  const changed = new Set<Client>();
  const installed = new Map<Client, InstalledDocker>();
  return await onEach(clients, options, reporter, "trust", async (connection, client, tell) => {
    const changing = () => changed.add(client);
    const failures: Note[] = [];
    const goOn = collectIn(failures, connection);
    const docker =
      packages && (await installPackages(connection, client, { sets: packages, tell, changing }).catch(goOn));
    if (docker?.installed) installed.set(client, docker.installed);
    tell("trust stores");
    // Also where Docker can't be had: other runtimes shall not lack the CA for that.
    const stores = await workOnStores(connection, client, orderFor(client), changing).catch(goOn);
    const findings = [...(docker?.findings ?? []), ...(stores?.findings ?? [])];
    if (stores === undefined) throw ClientFailure.of([...failures, ...findings]);
    if (failures.length > 0) throw ClientFailure.of([...failures, caInPlace, ...findings]);
    tell("proof");
    const proofOptions = { ca, addresses, port, timeoutMs, prove: asked, images, stores: stores.stores };
    const proof = await prove({ connection, client, options: proofOptions }).catch(goOn);
    if (proof === undefined) throw ClientFailure.of([...failures, ...findings]);
    const { reason, hint, ...proven } = proof;
    const engine = installed.get(client);
    return {
      name: client.name,
      status: changed.has(client) ? "changed" : "ok",
      ...(engine && { installed: engine }),
      ...proven,
      ...inOne([...(reason === undefined ? [] : [{ reason, hint }]), ...findings]),
    };
  });
}

const caInPlace: Note = { reason: "the CA is in place there" };

/** Takes failures after which the rest can still be done, and throws the others on. */
function collectIn(failures: Note[], connection: Connection): (error: unknown) => undefined {
  return (error) => {
    if (!(error instanceof ClientFailure) || error.status !== "failed") throw error;
    if (error.mayPass || !connection.isOpen()) throw error;
    failures.push({ reason: error.message, hint: error.hint });
  };
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
  const changed = new Set<Client>();
  return await onEach(clients, options, reporter, "clear", async (connection, client) => {
    const changing = () => changed.add(client);
    const { findings } = await workOnStores(connection, client, orderFor(client), changing);
    const status = changed.has(client) ? "changed" : "ok";
    return { name: client.name, status, proven: false, ...inOne(findings) };
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
