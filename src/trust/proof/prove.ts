/**
 * The proof: what works from where a client stands, seen with the best means that the client has for it. At least a
 * TLS handshake; where there is a Docker engine, its own look into the registry; a pull if it is asked for.
 */
import { inOne, type Note, type ProofKind } from "../client.ts";
import { ForwardRefused } from "../connection.ts";
import { proveByEngine } from "./engine.ts";
import type { Place, Proof, Reached } from "./proof.ts";
import { proveByPull } from "./pull.ts";
import { lookAround, type Surroundings } from "./surroundings.ts";
import { proveByHandshake } from "./tls.ts";
import { proveByTool } from "./tools.ts";

/**
 * @returns not proven only where the client has no means for it, or nothing is to be proven
 * @throws ClientFailure "failed" if something is seen that keeps the registry from being used there
 */
export async function prove(place: Place): Promise<Proof> {
  const { connection, client, options } = place;
  if (options.prove === "none") return { proven: false };
  const targets = client.repoHost === undefined ? options.addresses : [client.repoHost];
  const looking = lookAround(connection, targets);
  looking.catch(() => undefined); // it is waited for below
  const tls = await proveByHandshake(place, targets, looking).catch((error: unknown) => {
    if (error instanceof ForwardRefused) return error;
    throw error;
  });
  const there = await looking;
  if (tls instanceof ForwardRefused) return await withoutForwarding(place, targets, there, tls);
  if (options.prove === "tls") return proven("tls", tls);
  const more = await proveMore(place, [tls.target], there);
  if ("without" in more) return proven("tls", tls, more.without);
  return proven(options.prove, { ...more, notes: [...tls.notes, ...more.notes] });
}

/** What is asked for beyond a handshake. */
async function proveMore(
  place: Place,
  targets: readonly string[],
  there: Surroundings,
): Promise<Reached | { without: Note[] }> {
  if (place.options.prove !== "pull") return await proveByEngine(place, targets, there);
  const target = firstKnown(targets, there);
  const without = await proveByPull(place, target, there);
  return without === undefined ? { target, notes: [] } : { without: [without] };
}

/** Engine and pull imply the handshake; else a program there makes it, or as the last means there is a pull. */
async function withoutForwarding(
  place: Place,
  targets: readonly string[],
  there: Surroundings,
  refused: ForwardRefused,
): Promise<Proof> {
  const { prove: asked } = place.options;
  const without: Note[] = [];
  if (asked === "engine" || asked === "pull") {
    const more = await proveMore(place, targets, there);
    if (!("without" in more)) return proven(asked, more);
    without.push(...more.without);
  }
  const tool = await proveByTool(place, targets, there);
  if (tool !== undefined) return proven("tls", tool, without);
  if (asked !== "pull") {
    const target = firstKnown(targets, there);
    const noPull = await proveByPull(place, target, there);
    if (noPull === undefined) return proven("pull", { target, notes: without });
    without.push(noPull);
  }
  const why = [`its sshd forwards no streams (${refused.message})`, "it has neither curl nor openssl"];
  return {
    proven: false,
    reason: `not proven: ${[...why, ...without.map(({ reason }) => reason)].join("; ")}`,
    hint: "Allow AllowTcpForwarding local in its sshd_config, install curl, or pull an image there to see.",
  };
}

/** The first that resolves there; where none does, the runtimes say so. */
function firstKnown(targets: readonly string[], there: Surroundings): string {
  return targets.find((target) => there.addressesOf(target)?.length !== 0) ?? targets[0] ?? "";
}

function proven(proof: ProofKind, { target, notes }: Reached, without: readonly Note[] = []): Proof {
  return { proven: true, proof, provenAs: target, ...inOne([...notes, ...without]) };
}
