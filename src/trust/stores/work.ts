/**
 * The work on a client's trust stores: one look, and where something is to be changed, one more command that does
 * all of it.
 */
import { type Client, ClientFailure } from "../client.ts";
import type { Connection } from "../connection.ts";
import { apply, isNothing } from "./apply.ts";
import { changesFor } from "./changes.ts";
import { containers } from "./containers.ts";
import { docker, rootlessDocker } from "./docker.ts";
import { look, lookAsRoot } from "./look.ts";
import type { Seen } from "./seen.ts";
import type { Store, StoreFinding, StoreName, StorePlan, Wanted } from "./store.ts";

/** In the order in which they are told of. */
const stores: readonly Store[] = [docker, rootlessDocker, containers];

export interface StoreOrder extends Omit<Wanted, "stores"> {
  verb: "install" | "remove";
  /** these, whether the runtime is there or not; if left out, those that are found */
  stores?: readonly StoreName[] | undefined;
}

/** What came of it. */
export interface StoreWork {
  changed: boolean;
  /** the stores that were worked on */
  stores: StoreName[];
  /** what is to be known about them, though they hold the CA */
  findings: { reason: string; hint: string }[];
}

/** @throws ClientFailure "refused" without the rights that it takes, "failed" if a store does not hold the CA */
export async function workOnStores(
  connection: Connection,
  client: Client,
  order: StoreOrder,
): Promise<StoreWork> {
  const candidates = stores.filter(({ name }) => order.stores?.includes(name) ?? true);
  const patterns = candidates.flatMap((store) => store.looksAt());
  const programs = [...new Set(candidates.flatMap((store) => store.programs))];
  const seen = await look(connection, patterns, programs);
  const chosen = choose(candidates, seen, order, client);
  const wanted: Wanted = { ...order, stores: [...new Set(chosen.map(({ name }) => name))] };
  const work: StoreWork = { changed: false, stores: [...wanted.stores], findings: [] };
  const errors: StoreFinding[] = [];

  for (const isRoots of [false, true]) {
    const some = chosen.filter((store) => store.isRoots === isRoots);
    if (some.length === 0) continue;
    const isClosed = isRoots && seen.closed().length > 0;
    const view = isClosed ? await lookAsRoot(connection, client, patterns, programs) : seen;
    const plan = together(some.map((store) => store[order.verb](view, wanted)));
    const { changes, findings } = changesFor(plan, view, isRoots);
    for (const finding of [...findings, ...plan.findings]) {
      if (finding.level === "error") errors.push(finding);
      else work.findings.push({ reason: finding.reason, hint: finding.hint });
    }
    if (isNothing(changes)) continue;
    await apply(connection, client, changes, isRoots);
    work.changed = true;
  }
  const [first] = errors;
  if (first !== undefined) {
    const reasons = errors.map(({ reason }) => reason).join("; ");
    throw new ClientFailure("failed", reasons, first.hint);
  }
  return work;
}

/** Where no runtime is found it is Docker's, for the one that comes later. */
function choose(candidates: readonly Store[], seen: Seen, order: StoreOrder, client: Client): Store[] {
  const chosen = candidates.filter((store) =>
    store.isRoots && (order.stores !== undefined || order.verb === "remove") ? true : store.isThere(seen),
  );
  // The inventory says that the user's own rights are to do: then it is the user's own runtime that is meant.
  const usersOwn = chosen.filter(({ isRoots }) => !isRoots);
  if (client.become === false && seen.uid !== 0 && usersOwn.length > 0) return usersOwn;
  return chosen.length === 0 ? [docker] : chosen;
}

function together(plans: readonly StorePlan[]): StorePlan {
  return {
    files: plans.flatMap(({ files }) => files),
    gone: plans.flatMap(({ gone }) => gone),
    findings: plans.flatMap(({ findings }) => findings),
  };
}
