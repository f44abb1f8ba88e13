/**
 * The proof by a client's own Docker engine: it is asked to look an image up in the registry, which it does with the
 * certificates that it would pull with, and pulls nothing. Its socket is forwarded; where that can't be, curl asks
 * there, with root's rights.
 * https://docs.docker.com/reference/api/engine/#tag/Distribution
 */
import { request } from "node:http";
import { BlockList, isIP } from "node:net";
import type { Duplex } from "node:stream";
import { errorText } from "../../errors.ts";
import { referenceNames } from "../address.ts";
import { ClientFailure, type Note } from "../client.ts";
import { ForwardRefused } from "../connection.ts";
import { mark } from "../remote-functions.ts";
import { words } from "../sudo.ts";
import { doesNotReach, firstReached, type Place, type Reached, runWithMostRights } from "./proof.ts";
import type { Surroundings } from "./surroundings.ts";

type Socket = Surroundings["sockets"][number];

interface Answer {
  status: number;
  /** parsed JSON, or text that is none */
  body: unknown;
}

/** An engine that could not be asked, or can prove nothing. */
class NoProof extends Error {
  override name = "NoProof";
  readonly notes: Note[];

  constructor(...notes: Note[]) {
    super(notes[0]?.reason);
    this.notes = notes;
  }
}

function noProof(reason: string, hint?: string): NoProof {
  return new NoProof({ reason, hint });
}

/**
 * Asks every engine of the host.
 * @returns the target with which all of them succeeded; or why that is not to be had, nothing if there is no engine
 * @throws ClientFailure "failed" if an engine does not take the registry's certificate, or does not reach it
 */
export async function proveByEngine(
  place: Place,
  targets: readonly string[],
  there: Surroundings,
): Promise<Reached | { without: Note[] }> {
  const proven: Reached[] = [];
  const without: Note[] = [];
  if (!place.options.stores.includes("docker")) return { without };
  for (const socket of there.sockets) {
    try {
      const ask = (paths: string[]) => askEngine(place, socket, there, paths);
      proven.push(await firstReached(targets, (target) => proveOne(place, ask, target, there)));
    } catch (error) {
      if (!(error instanceof NoProof)) throw error;
      without.push(...error.notes);
    }
  }
  const [first] = proven;
  return first === undefined || without.length > 0 ? { without } : first;
}

/** What is used of it. */
interface Info {
  RegistryConfig?: {
    InsecureRegistryCIDRs?: string[] | null;
    IndexConfigs?: Record<string, { Secure?: boolean } | undefined> | null;
  };
  BuildahVersion?: string;
}

type Ask = (paths: string[]) => Promise<Answer[]>;

async function proveOne(
  { client, options }: Place,
  ask: Ask,
  target: string,
  there: Surroundings,
): Promise<void> {
  const { port, images } = options;
  const [domain = ""] = referenceNames([target], port);
  const image = images[0];
  const path = image === undefined ? "drydock/none:none" : `${image.repository}@${image.digest}`;
  const [info, found] = await ask(["/info", `/distribution/${domain}/${path}/json`]);
  if (info === undefined || found === undefined) throw noProof("its Docker engine gave no answer");
  checkVerifies(info, domain, isIP(target) === 0 ? there.addressesOf(target) : [target]);
  if (found.status === 200) return;
  const said = messageOf(found);
  // An engine that is too old to look says 404 as well, in these words.
  if (found.status === 404 && image === undefined && said !== "page not found") return;
  if (found.status !== 500) throw noProof(`its Docker engine can't look into ${domain}: ${said}`);
  if (/dial tcp|lookup|timeout/i.test(said) && !said.includes("proxyconnect"))
    throw doesNotReach(`the Docker engine of ${client.name}`, domain, said);
  throw new ClientFailure("failed", `its Docker engine does not take ${domain}: ${said}`, hintFor(said));
}

/** What a runtime says of a registry that it can't use. */
export function hintFor(said: string): string {
  if (/not yet valid|expired/.test(said)) return "Set the clock there.";
  if (/unknown authority/.test(said))
    return "It looks for certificates elsewhere, as Docker from a snap does: put the CA where it looks.";
  if (/proxyconnect/.test(said)) return "It goes by a proxy: add the registry to its NO_PROXY.";
  return "Pull an image there to see more.";
}

/** Docker accepts any certificate, and plain HTTP, of a registry that it takes for insecure. */
function checkVerifies(info: Answer, domain: string, addresses: readonly string[] | undefined): void {
  const { RegistryConfig: config, BuildahVersion: buildah } = Object(info.body) as Info;
  // Podman's own field: it answers as Docker does, but looks nothing up.
  if (buildah !== undefined) throw new NoProof();
  if (info.status !== 200 || config === undefined)
    throw noProof(`its Docker engine does not say how it is configured: ${messageOf(info)}`);
  if (config.IndexConfigs?.[domain]?.Secure === false) {
    const hint = "Take it out of insecure-registries in /etc/docker/daemon.json, now that the CA is there.";
    throw noProof(`its Docker engine checks no certificates of ${domain} (insecure-registries)`, hint);
  }
  const insecure = new BlockList();
  for (const network of config.InsecureRegistryCIDRs ?? []) {
    const [address = "", bits] = network.split("/");
    if (isIP(address) !== 0) insecure.addSubnet(address, Number(bits), isIP(address) === 6 ? "ipv6" : "ipv4");
  }
  const free = addresses?.find((address) => insecure.check(address, isIP(address) === 6 ? "ipv6" : "ipv4"));
  if (free === undefined) return;
  const hint = "Use an address of the registry as repo_host, or give the name that address there.";
  throw noProof(`its Docker engine checks no certificates at ${free}, which ${domain} is there`, hint);
}

async function askEngine(
  place: Place,
  socket: Socket,
  there: Surroundings,
  paths: string[],
): Promise<Answer[]> {
  const { connection, options } = place;
  if (!socket.open) return await askAsRoot(place, socket.path, there, paths);
  const answers: Answer[] = [];
  for (const path of paths) {
    let stream: Duplex;
    try {
      stream = await connection.forwardSocket(socket.path);
    } catch (error) {
      // sshd says the same whether it forwards no sockets or nobody listens at this one.
      if (error instanceof ForwardRefused) return await askAsRoot(place, socket.path, there, paths);
      throw error;
    }
    answers.push(await get(stream, path, options.timeoutMs).finally(() => stream.destroy()));
  }
  return answers;
}

/** An answer of an engine takes some kilobytes. */
const largestAnswer = 1024 * 1024;

function get(stream: Duplex, path: string, timeoutMs: number): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const broken = (error: Error) => reject(noProof(`its Docker engine broke off: ${errorText(error)}`));
  const timer = setTimeout(
    () => reject(noProof(`its Docker engine did not answer within ${timeoutMs / 1000} s`)),
    timeoutMs,
  );
  const asked = request({ createConnection: () => stream, host: "docker", path }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (text.length > largestAnswer) response.destroy(new Error("its answer has no end"));
    });
    response.on("error", broken);
    response.once("end", () => resolve({ status: response.statusCode ?? 0, body: parsed(text) }));
  });
  asked.on("error", broken).end();
  return promise.finally(() => clearTimeout(timer));
}

/** The words are the socket, how many seconds each answer may take, and the paths. 000: there was none. */
const script = [
  `s=$1; seconds=$2; shift 2; [ -w $s ] || { echo ${mark}closed; exit 0; };`,
  'for p in "$@"; do',
  `  said=$(curl -sS -m $seconds -w "%{http_code}" --unix-socket $s http://docker$p 2>&1); body=\${said%???};`,
  `  code=\${said#"$body"}; printf "${mark}answer %s %s" "$code" "$body"; echo;`,
  "  [ $code = 000 ] && exit 0; done; exit 0",
];

async function askAsRoot(
  place: Place,
  socket: string,
  there: Surroundings,
  paths: string[],
): Promise<Answer[]> {
  const { connection, options } = place;
  const who = JSON.stringify(connection.user);
  const hint =
    connection.user === "root"
      ? "Allow AllowStreamLocalForwarding local in its sshd_config, or install curl there; --prove tls does without."
      : `Add ${connection.user} to the group docker there, or install curl; --prove tls does without.`;
  const without = (why: string) => noProof(`its Docker engine was not asked: ${why}`, hint);
  if (!there.programs.has("curl")) throw without(`${who} can't use ${socket} over SSH, and there is no curl`);
  // All of them together take less than the whole command may.
  const seconds = String(Math.max(1, Math.floor(options.timeoutMs / 1000 / (paths.length + 1))));
  const lines = await runWithMostRights(place, script, [socket, seconds, ...paths]);
  if (lines.includes("closed"))
    throw without(`${who} can't use ${socket} over SSH, and may not do so with sudo`);
  return lines.flatMap((line) => {
    const [, code, text = ""] = /^answer (\d{3}) ?(.*)$/.exec(line) ?? [];
    if (code === undefined) return [];
    if (code === "000") throw without(words(text));
    return [{ status: Number(code), body: parsed(text) }];
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Its own words, shortened. */
function messageOf({ status, body }: Answer): string {
  const { message } = Object(body) as { message?: unknown };
  return words(typeof message === "string" ? message : String(body)) || `status ${status}`;
}
