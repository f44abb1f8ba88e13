/**
 * Work on all clients side by side: each one's trouble ends in its own result.
 */
import pLimit from "p-limit";
import { errorText } from "../errors.ts";
import { type Reporter, runStep } from "../reporter.ts";
import { type Client, ClientFailure, type ClientResult } from "./client.ts";
import type { Connection } from "./connection.ts";
import { checkRepoHosts } from "./inventory/repo-host.ts";
import { Reach, type ReachOptions } from "./reach.ts";

/** How clients are reached. */
export interface ClientOptions extends ReachOptions {
  /** the registry's names and IP addresses, its name first */
  addresses: readonly string[];
  /** so many clients at once; default 32 */
  limit?: number;
  /** prepared for these clients already; what was asked for is then not asked again */
  reach?: Reach | undefined;
}

/** What is done with one client that is connected to. @throws ClientFailure */
export type Work = (connection: Connection, client: Client) => Promise<ClientResult>;

/**
 * @returns a result for each client, in their order
 * @throws DrydockError "input" before any connection: a repo_host is not the registry's; and as Reach.prepare
 */
export async function onEach(
  clients: readonly Client[],
  options: ClientOptions,
  reporter: Reporter,
  verb: string,
  work: Work,
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

async function onOne(client: Client, reach: Reach, work: Work): Promise<ClientResult> {
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
