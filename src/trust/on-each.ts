/**
 * Work on all clients side by side: each one's trouble ends in its own result.
 */
import pLimit from "p-limit";
import { DrydockError, errorCode, errorText } from "../errors.ts";
import { type Reporter, runStep, type Step } from "../reporter.ts";
import { type Client, ClientFailure, type ClientResult } from "./client.ts";
import type { Connection } from "./connection.ts";
import { checkRepoHosts } from "./inventory/repo-host.ts";
import { defaultTimeout, Reach, type ReachOptions } from "./reach.ts";
import { withRetries } from "./retries.ts";

/** How clients are reached. */
export interface ClientOptions extends ReachOptions {
  /** the registry's names and IP addresses, its name first */
  addresses: readonly string[];
  /** so many clients at once; default 32 */
  limit?: number;
  /** prepared for these clients already; what was asked for is then not asked again */
  reach?: Reach | undefined;
}

/**
 * What is done with one client that is connected to. It may be done anew, where the connection broke.
 * @param tell takes a word for what is being done @throws ClientFailure
 */
export type Work = (
  connection: Connection,
  client: Client,
  tell: (text: string) => void,
) => Promise<ClientResult>;

/**
 * One connection for each client, and another where that one was lost: those come last, so that who is dead or slow
 * holds nobody up.
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
  const { limit = 32, timeoutMs = defaultTimeout } = options;
  const inTurn = pLimit(limit);
  const results = runStep(
    reporter,
    `${verb} ${clients.length} client${clients.length === 1 ? "" : "s"}`,
    async (step) => {
      const tally = new Tally(clients.length, step);
      const one = async (client: Client) => {
        const attempt = () => onOne(client, reach, work, step);
        const result = await withRetries(timeoutMs, attempt, inTurn).catch((error) => failed(client, error));
        tally.add(result);
        return { client, result };
      };
      // Those that are one host write the same files there, so one comes after the other.
      const places = Map.groupBy(clients, (client) => reach.placeOf(client));
      const done = await Promise.all([...places.values()].map((same) => pLimit(1).map(same, one)));
      const results = new Map(done.flat().map(({ client, result }) => [client, result]));
      return clients.flatMap((client) => results.get(client) ?? []);
    },
    summarize,
  );
  return await results.finally(() => reach.close());
}

async function onOne(client: Client, reach: Reach, work: Work, step: Step): Promise<ClientResult> {
  const piece = step.piece(client.name);
  let connection: Connection | undefined;
  try {
    piece.detail("connecting");
    connection = await reach.connect(client);
    return await work(connection, client, (text) => piece.detail(text));
  } finally {
    connection?.close();
    piece.end();
  }
}

function failed({ name }: Client, error: unknown): ClientResult {
  const failure = error instanceof ClientFailure ? error : unforeseen(error);
  const result: ClientResult = { name, status: failure.status, proven: false, reason: failure.message };
  return failure.hint === undefined ? result : { ...result, hint: failure.hint };
}

/** What nothing here expects and the system has not said is a bug, in which the stack is what helps. */
function unforeseen(error: unknown): ClientFailure {
  const isOfSystem = /^E(?!RR_)/.test(errorCode(error) ?? "");
  if (error instanceof DrydockError) return new ClientFailure("failed", error.message, error.hint);
  if (isOfSystem) return new ClientFailure("failed", errorText(error));
  const stack = error instanceof Error ? error.stack : undefined;
  const hint = `Please report it with all these lines.\n${stack ?? errorText(error)}`;
  return new ClientFailure("failed", `a bug in drydock: ${errorText(error)}`, hint);
}

/** What is told while the work goes on. */
class Tally {
  readonly #all: number;
  readonly #step: Step;
  #done = 0;
  #failed = 0;

  constructor(all: number, step: Step) {
    this.#all = all;
    this.#step = step;
  }

  add({ name, status, reason }: ClientResult): void {
    const isDone = status === "ok" || status === "changed";
    if (isDone) this.#done += 1;
    else this.#failed += 1;
    if (!isDone) this.#step.trouble(`${name}: ${status}: ${reason}`);
    const some = this.#failed === 0 ? "" : `, ${this.#failed} failed`;
    this.#step.detail(`${this.#done} of ${this.#all} done${some}`);
  }
}

function summarize(results: readonly ClientResult[]): string {
  const counts = new Map<string, number>();
  for (const { status } of results) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} ${status}`).join(", ");
}
