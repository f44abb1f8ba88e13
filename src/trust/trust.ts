/**
 * `drydock trust`: makes every client trust the CA, and proves it from each.
 */
import { X509Certificate } from "node:crypto";
import pLimit from "p-limit";
import { DrydockError, errorText } from "../errors.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { reachableAddresses } from "./address.ts";
import { type Client, ClientFailure, type ClientResult } from "./client.ts";
import type { Connection } from "./connection.ts";
import { checkRepoHosts } from "./inventory/repo-host.ts";
import { prove } from "./prove.ts";
import { defaultTimeout, Reach, type ReachOptions } from "./reach.ts";
import { runAsRoot } from "./remote-shell.ts";
import * as docker from "./stores/docker.ts";

/** How clients are reached. */
export interface ClientOptions extends ReachOptions {
  /** the registry's names and IP addresses, its name first */
  addresses: readonly string[];
  /** so many clients at once; default 32 */
  limit?: number;
  /** prepared for these clients already; what was asked for is then not asked again */
  reach?: Reach | undefined;
}

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
  return await onEach(clients, options, reporter, "trust", async (connection, client) => {
    const addresses = reachableAddresses(options.addresses);
    const directories = docker.certificateDirectories(addresses, options.port);
    const store = await docker.install(connection, client, ca, directories);
    const status = store.changed ? "changed" : "ok";
    const targets = client.repoHost === undefined ? addresses : [client.repoHost];
    const { timeoutMs = defaultTimeout } = options;
    const proof = await prove(connection, client.name, targets, { ca, port: options.port, timeoutMs });
    const [shadow] = store.shadowedBy;
    if (shadow === undefined || proof.reason !== undefined) return { name: client.name, status, ...proof };
    const reason = `Podman and skopeo look into ${shadow} alone, which is there and lacks the CA`;
    return { name: client.name, status, ...proof, reason, hint: `Remove it, or put the CA there as well.` };
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

async function onEach(
  clients: readonly Client[],
  options: ClientOptions,
  reporter: Reporter,
  verb: string,
  work: (connection: Connection, client: Client) => Promise<ClientResult>,
): Promise<ClientResult[]> {
  checkRepoHosts(clients, options.addresses);
  const reach = options.reach ?? (await Reach.prepare(clients, options, reporter));
  const limit = pLimit(options.limit ?? 32);
  let done = 0;
  const results = runStep(
    reporter,
    `${verb} ${clients.length} client${clients.length === 1 ? "" : "s"}`,
    async (step) => {
      const one = async (client: Client) => {
        const result = await onOne(client, reach, work);
        done += 1;
        step.detail(`${done} of ${clients.length}, ${client.name}: ${result.status}`);
        return result;
      };
      return await Promise.all(clients.map((client) => limit(one, client)));
    },
    summarize,
  );
  return await results.finally(() => reach.close());
}

async function onOne(
  client: Client,
  reach: Reach,
  work: (connection: Connection, client: Client) => Promise<ClientResult>,
): Promise<ClientResult> {
  let connection: Connection | undefined;
  try {
    connection = await reach.connect(client);
    return await work(connection, client);
  } catch (error) {
    const failure = error instanceof ClientFailure ? error : new ClientFailure("failed", errorText(error));
    const result: ClientResult = {
      name: client.name,
      status: failure.status,
      proven: false,
      reason: failure.message,
    };
    return failure.hint === undefined ? result : { ...result, hint: failure.hint };
  } finally {
    connection?.close();
  }
}

function summarize(results: readonly ClientResult[]): string {
  const counts = new Map<string, number>();
  for (const { status } of results) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${status}`).join(", ");
}

/**
 * A server's own certificate would work too, until it is renewed: only authorities are pushed.
 * @returns the certificates alone, without the text that may stand between them
 * @throws DrydockError "input"
 */
function checkAuthority(pem: string): string {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new DrydockError("input", "read the CA: wanted a PEM certificate, got none");
  for (const block of blocks) {
    let certificate: X509Certificate;
    try {
      certificate = new X509Certificate(block);
    } catch (error) {
      throw new DrydockError("input", `read the CA: a certificate in it can't be read`, { cause: error });
    }
    if (certificate.ca) continue;
    const subject = certificate.subject.replaceAll("\n", ", ");
    throw new DrydockError("input", `read the CA: ${JSON.stringify(subject)} is not an authority (CA:TRUE)`, {
      hint: "Give the certificate of the CA that signed it.",
    });
  }
  return `${blocks.map((block) => block.replaceAll("\r", "")).join("\n")}\n`;
}
