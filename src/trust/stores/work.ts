/**
 * The work on a client's trust stores: one look, and where something is to be changed, one more command that does
 * all of it.
 */
import { type Client, ClientFailure, type Note } from "../client.ts";
import type { Connection } from "../connection.ts";
import { apply } from "./apply.ts";
import { changesFor } from "./changes.ts";
import { containerd } from "./containerd.ts";
import { containers } from "./containers.ts";
import { docker, rootlessDocker } from "./docker.ts";
import { dockerMirrors } from "./docker-mirrors.ts";
import { k3s, rke2 } from "./k3s.ts";
import { type Looks, look, lookAsRoot } from "./look.ts";
import { Seen } from "./seen.ts";
import {
  joinPlans,
  noPlan,
  type Store,
  type StoreFinding,
  type StoreName,
  type StorePlan,
  storeNames,
  type Wanted,
} from "./store.ts";
import { system } from "./system.ts";

/** In the order in which they are told of. */
const stores: readonly Store[] = [
  docker,
  rootlessDocker,
  dockerMirrors,
  containers,
  containerd,
  k3s,
  rke2,
  system,
];

export interface StoreOrder extends Omit<Wanted, "stores"> {
  verb: "install" | "remove";
  /** these, whether the runtime is there or not; if left out, those that are found */
  stores?: readonly StoreName[] | undefined;
}

/** What came of it. */
export interface StoreWork {
  /** the stores that were worked on */
  stores: StoreName[];
  /** what is to be known about them, though they hold the CA */
  findings: Note[];
}

/**
 * @param changing is called before anything is changed: the connection may break on the way
 * @throws ClientFailure "refused" without the rights that it takes, "failed" if a store does not hold the CA
 */
export async function workOnStores(
  connection: Connection,
  client: Client,
  order: StoreOrder,
  changing: () => void,
): Promise<StoreWork> {
  const candidates = stores.filter(({ name }) => order.stores?.includes(name) ?? true);
  const { seen, looks } = await lookFor(connection, candidates, order.stores !== undefined);
  const chosen = choose(candidates, seen, order, client);
  const wanted: Wanted = { ...order, stores: [...new Set(chosen.map(({ name }) => name))] };
  const work: StoreWork = { stores: [...wanted.stores], findings: [] };
  const errors: StoreFinding[] = [];

  for (const isRoots of [false, true]) {
    const some = chosen.filter((store) => store.isRoots === isRoots);
    if (some.length === 0) continue;
    const isClosed = isRoots && seen.closed().length > 0;
    const view = isClosed ? await lookAsRoot(connection, client, looks) : seen;
    const plans = some.map((store) => store[order.verb](view, wanted));
    for (const plan of together([...plans, { ...noPlan(), gone: leftoversOf(view, isRoots) }])) {
      const { changes, findings } = changesFor(plan, view, isRoots);
      for (const finding of [...findings, ...plan.findings]) {
        if (finding.level === "error") errors.push(finding);
        else work.findings.push({ reason: finding.reason, hint: finding.hint });
      }
      if (changes === undefined) continue;
      changing();
      await apply(connection, client, changes, isRoots);
    }
  }
  if (errors.length > 0) throw ClientFailure.of(errors);
  return work;
}

/** What would be written where nothing is there yet, by store. The stores are those of --stores, or what may be found. */
export function filesOf(
  wanted: Pick<Wanted, "names" | "endpoints" | "mirrors"> & Pick<StoreOrder, "stores">,
): { name: StoreName; files: string[] }[] {
  const nothing = new Seen([`uid 0`, "end"]);
  const all: Wanted = {
    ...wanted,
    authorities: ["any"],
    removeOld: false,
    restartRuntimes: true,
    stores: [...storeNames],
  };
  const files = new Map<StoreName, string[]>();
  for (const store of stores) {
    if (!(wanted.stores?.includes(store.name) ?? store !== system) || !store.isRoots) continue;
    const paths = store.install(nothing, all).files.map(({ path }) => path);
    files.set(store.name, [...(files.get(store.name) ?? []), ...paths]);
  }
  return [...files].map(([name, paths]) => ({ name, files: paths }));
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

/** Some know only from what was seen where to look, and then it is looked again. */
async function lookFor(
  connection: Connection,
  candidates: readonly Store[],
  chosen: boolean,
): Promise<{ seen: Seen; looks: Looks }> {
  const looks: Looks = {
    patterns: candidates.flatMap((store) => store.looksAt()),
    programs: [...new Set(candidates.flatMap((store) => store.programs))],
    asks: candidates.flatMap((store) => store.asks?.(chosen) ?? []),
  };
  const seen = await look(connection, looks);
  const patterns = candidates.flatMap((store) => store.looksAt(seen));
  if (patterns.every((pattern) => looks.patterns.includes(pattern))) return { seen, looks };
  const further = { ...looks, patterns: [...looks.patterns, ...patterns] };
  return { seen: await look(connection, further), looks: further };
}

/** What a run that was killed has left, root's or the login user's. */
function leftoversOf(seen: Seen, isRoots: boolean): string[] {
  return seen.leftovers().filter((path) => isRoots !== path.startsWith(`${seen.home}/.config/`));
}

/** One plan of all that needs nothing afterwards, and the others by themselves. */
function together(plans: readonly StorePlan[]): StorePlan[] {
  const plain = plans.filter((plan) => plan.afterwards === undefined);
  return [joinPlans(plain), ...plans.filter((plan) => plan.afterwards !== undefined)];
}
