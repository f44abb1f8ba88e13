/**
 * The step "prove": the running registry is asked, over TLS and with the site's CA alone, under each of
 * its names and addresses, and then for each tag of the bundle; for every blob, too, if that is wanted
 * (see prove-blobs.ts). No DNS: what a client's resolver says is the client's affair (see trust), and the
 * site may have none.
 */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import pLimit from "p-limit";
import type { BundleIndex, BundleRepository } from "../archive/bundle-index.ts";
import { DrydockError, errorText } from "../errors.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { type Reporter, runStep, silentReporter } from "../reporter.ts";
import { isSigned, manifestTypes, proveBlobs } from "./prove-blobs.ts";
import { askRegistry, type RegistryAddress, registryAgent } from "./registry-client.ts";

export interface ProveInput {
  /** PEM */
  ca: Buffer;
  /** names and IP addresses that clients use */
  addresses: string[];
  port: number;
  repositories: Record<string, BundleRepository>;
  /** For the full proof: the index of the bundle whose blobs are pulled, too. */
  full?: BundleIndex;
  /** how long the registry may take until it answers; 30 if left out */
  patienceSeconds?: number;
}

/** tags: every tag was asked for. full: every blob was pulled and hashed, too. */
export type ProofKind = "tags" | "full";

export interface Proof {
  kind: ProofKind;
  /** the IP address connected to, and the name or address that the certificate was checked for */
  addresses: { connect: string; as: string }[];
  /** how many tags were asked for */
  tags: number;
  /** of a full proof: what was pulled and hashed */
  pulled?: { blobs: number; bytes: number };
}

/** Connections, and questions at the same time. */
const concurrency = 8;

/**
 * @throws DrydockError "host" naming each address under which the registry doesn't answer, or each tag
 * that it doesn't serve; "integrity" if it serves other bytes than the bundle has, or, of a full proof, if
 * it lacks some.
 */
export async function prove(input: ProveInput, reporter: Reporter = silentReporter): Promise<Proof> {
  const { repositories, full } = input;
  const ways = waysIn(input.addresses);
  await runStep(reporter, "prove addresses", () => proveAddresses(input, ways));
  const agent = registryAgent(concurrency);
  const at: RegistryAddress = {
    ca: input.ca,
    connect: "127.0.0.1",
    as: input.addresses[0] ?? "127.0.0.1",
    port: input.port,
    agent,
  };
  try {
    // First, since it says of an image manifest that is missing which images need it.
    const pulled =
      full &&
      (await runStep(
        reporter,
        "prove blobs",
        (step) => proveBlobs(at, full, step),
        ({ blobs }) => `${blobs} blobs`,
      ));
    const tags = await runStep(
      reporter,
      "prove tags",
      () => proveTags(at, repositories),
      (count) => `${count} tags`,
    );
    return { kind: pulled ? "full" : "tags", addresses: ways, tags, ...(pulled && { pulled }) };
  } finally {
    agent.destroy();
  }
}

/**
 * The connection goes to 127.0.0.1 as each name and address (itself among them unless the certificate is one
 * that drydock did not make), and to each IP address of this host as itself. An address that is
 * translated on the way to this host can't be tried from here.
 */
export function waysIn(addresses: string[]): Proof["addresses"] {
  const here = new Set(hostAddresses());
  const names = [...new Set(addresses)];
  const own = names.filter((name) => isIP(name) !== 0 && here.has(name) && name !== "127.0.0.1");
  return [
    ...names.map((as) => ({ connect: "127.0.0.1", as })),
    ...own.map((address) => ({ connect: address, as: address })),
  ];
}

/** The IP addresses of this host's interfaces. */
export function hostAddresses(
  interfaces: NodeJS.Dict<{ address: string }[]> = networkInterfaces(),
): string[] {
  return Object.values(interfaces).flatMap((list) => (list ?? []).map((one) => one.address));
}

async function proveAddresses(input: ProveInput, ways: Proof["addresses"]): Promise<void> {
  const { ca, port } = input;
  const tried = await tryWays({ ca, port }, ways, input.patienceSeconds ?? 30);
  const problems = tried.flatMap(({ connect, as, error }) =>
    error === undefined ? [] : [`${connect} as "${as}": ${errorText(error)}`],
  );
  if (problems.length === 0) return;
  throw new DrydockError("host", `the registry doesn't answer as it should:\n${indented(problems)}`, {
    hint: "docker logs registry shows what it says itself.",
  });
}

/** Asks under each name and address. @returns with each the last reason why the registry doesn't answer so */
export async function tryWays(
  at: Pick<RegistryAddress, "ca" | "port" | "timeoutSeconds" | "checkName">,
  ways: Proof["addresses"],
  patienceSeconds: number,
): Promise<{ connect: string; as: string; error?: unknown }[]> {
  const deadline = performance.now() + patienceSeconds * 1000;
  return await Promise.all(
    ways.map(async (way) => {
      const error = await untilItAnswers({ ...at, ...way }, deadline);
      return error === undefined ? way : { ...way, error };
    }),
  );
}

/** @returns the last reason why it doesn't, or undefined */
async function untilItAnswers(at: RegistryAddress, deadline: number): Promise<unknown> {
  for (;;) {
    try {
      await askRegistry(at);
      return undefined;
    } catch (error) {
      if (isFinal(error) || performance.now() > deadline) return error;
    }
    await sleep(100);
  }
}

/** A certificate that is wrong now stays wrong; a registry that is still starting does not. */
function isFinal(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return code.startsWith("ERR_TLS") || code.startsWith("CERT_") || /SIGNATURE|ISSUER|SELF_SIGNED/.test(code);
}

async function proveTags(
  at: RegistryAddress,
  repositories: Record<string, BundleRepository>,
): Promise<number> {
  const wanted = Object.entries(repositories).flatMap(([repository, { tags }]) =>
    Object.entries(tags).map(([tag, digest]) => ({ repository, tag, digest })),
  );
  const found = await pLimit(concurrency).map(wanted, (one) => proveTag(at, one));
  failOnProblems(found.flat());
  return wanted.length;
}

interface Problem {
  text: string;
  /** it answered, with something else */
  other: boolean;
}

async function proveTag(
  at: RegistryAddress,
  { repository, tag, digest }: { repository: string; tag: string; digest: Digest },
): Promise<Problem[]> {
  const name = `${repository}:${tag}`;
  try {
    const answer = await askRegistry(at, `/v2/${repository}/manifests/${tag}`, { accept: manifestTypes });
    const signed = isSigned(answer.contentType);
    const got = answer.digest === digest && !signed ? digestOf(answer.body) : answer.digest;
    return got === digest ? [] : [{ text: `${name}: wanted ${digest}, got ${got}`, other: true }];
  } catch (error) {
    return [{ text: `${name}: ${errorText(error)}`, other: false }];
  }
}

function failOnProblems(problems: Problem[]): void {
  if (problems.length === 0) return;
  const shown = problems.slice(0, 20).map(({ text }) => text);
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`);
  const isOther = problems.some(({ other }) => other);
  throw new DrydockError(
    isOther ? "integrity" : "host",
    `the registry doesn't serve every tag as the bundle has it:\n${indented(shown)}`,
    {
      hint: isOther
        ? undefined
        : "docker ps --all shows whether its container runs, docker logs registry what it says itself; then run the same command again.",
    },
  );
}

function indented(lines: string[]): string {
  return lines.map((line) => `  ${line}`).join("\n");
}
