/**
 * What the kinds of proof share: what is to be proven, and going through the registry's addresses.
 */
import type { ServedImage } from "../../site/served-images.ts";
import { type Client, ClientFailure, type Note, type ProofKind } from "../client.ts";
import type { Connection } from "../connection.ts";
import { runAsRoot, runAsUser } from "../remote-shell.ts";
import type { StoreName } from "../stores/store.ts";

export interface ProofOptions {
  /** PEM */
  ca: string;
  /** names and IP addresses of the registry, at least one */
  addresses: readonly string[];
  port: number;
  timeoutMs: number;
  /** which of the client's trust stores hold the CA */
  stores: readonly StoreName[];
  /** what is asked for; what a client has no means for falls back to less */
  prove: ProofKind | "none";
  /** what the registry serves, as far as it is known */
  images: readonly ServedImage[];
}

export interface Proof {
  proven: boolean;
  proof?: ProofKind;
  /** the name or address with which it succeeded */
  provenAs?: string;
  /** why it is not proven, or what did not work before it was */
  reason?: string;
  hint?: string;
}

/** A client while something is to be proven from it. */
export interface Place {
  connection: Connection;
  client: Client;
  options: ProofOptions;
}

/** The registry was reached as `target`. */
export interface Reached {
  target: string;
  /** what to know besides */
  notes: Note[];
}

/** One try that did not get as far as a TLS handshake: another address may do better. */
export class NotReached extends ClientFailure {
  override name = "NotReached";

  constructor(message: string, hint?: string) {
    super("failed", message, hint);
  }
}

/**
 * Tries `targets` in order until one can be reached; what answers there must be the registry.
 * @returns what the first one gave, and what is to be known about those before it
 * @throws ClientFailure "failed" if no target is reached, and all else that `tryOne` throws
 */
export async function firstReached<T>(
  targets: readonly string[],
  tryOne: (target: string) => Promise<T>,
): Promise<Reached & { result: T }> {
  const failures: NotReached[] = [];
  for (const target of targets) {
    try {
      const result = await tryOne(target);
      const [first] = failures;
      if (first === undefined) return { target, result, notes: [] };
      const reason = `proven as ${JSON.stringify(target)} only: ${first.message}`;
      return { target, result, notes: [{ reason, hint: first.hint }] };
    } catch (error) {
      if (!(error instanceof NotReached)) throw error;
      failures.push(error);
    }
  }
  throw ClientFailure.of(failures.map(({ message: reason, hint }) => ({ reason, hint })));
}

export function doesNotResolve(client: string, target: string): NotReached {
  return new NotReached(
    `${client} does not resolve ${target}`,
    `Set repo_host to an address of the registry, or add ${target} to DNS or to /etc/hosts there.`,
  );
}

/** @param who the client, or what is on it @param where host:port */
export function doesNotReach(who: string, where: string, why: string): NotReached {
  const hint = "Look at routes and firewalls between that host and the registry.";
  return new NotReached(`${who} does not reach ${where}: ${why}`, hint);
}

/** As root where that can be had, else as the login user. @throws ClientFailure "failed" */
export async function runWithMostRights(
  { connection, client }: Place,
  script: readonly string[],
  args: readonly string[],
  timeoutMs?: number,
): Promise<string[]> {
  try {
    return await runAsRoot(connection, client, script, args, "", timeoutMs);
  } catch (error) {
    if (!(error instanceof ClientFailure) || error.status !== "refused") throw error;
    return await runAsUser(connection, script, args, undefined, timeoutMs);
  }
}
