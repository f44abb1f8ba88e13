/**
 * The proof by a program at the client, where its sshd forwards nothing: curl or openssl makes the handshake, with
 * the CA alone, which it is given on stdin.
 */
import { isIP } from "node:net";
import { hostPort } from "../address.ts";
import { ClientFailure } from "../client.ts";
import { mark } from "../remote-functions.ts";
import { runAsUser } from "../remote-shell.ts";
import { words } from "../sudo.ts";
import { doesNotReach, doesNotResolve, firstReached, type Place, type Reached } from "./proof.ts";
import type { Surroundings } from "./surroundings.ts";

/** The words are a number of seconds, the target, and host:port. `--capath`: no other authority counts. */
const curl = [
  'd=$(dirname $payload); said=$(curl -g -sS -m $1 --noproxy "*" --cacert $payload --capath $d',
  `  -o /dev/null https://$3/v2/ 2>&1); echo "${mark}ended $?" $said; exit 0`,
];
const openssl = (check: string) => [
  'limit= ; if command -v timeout >/dev/null; then limit="timeout $1"; fi;',
  `said=$($limit openssl s_client -connect $3 ${check} -verify_return_error -CAfile $payload -no-CApath`,
  `  -brief 2>&1 </dev/null); echo "${mark}ended $?" $said; exit 0`,
];

/**
 * @returns the target with which it succeeded; undefined if there is neither program
 * @throws ClientFailure "failed" as proveByHandshake
 */
export async function proveByTool(
  place: Place,
  targets: readonly string[],
  there: Surroundings,
): Promise<Reached | undefined> {
  const tool = ["curl", "openssl"].find((program) => there.programs.has(program));
  if (tool === undefined) return undefined;
  return await firstReached(targets, (target) => proveOne(place, target, there, tool));
}

async function proveOne(
  { connection, client, options }: Place,
  target: string,
  there: Surroundings,
  tool: string,
): Promise<void> {
  const where = hostPort(target, options.port);
  if (isIP(target) === 0 && there.addressesOf(target)?.length === 0)
    throw doesNotResolve(client.name, target);
  const check = isIP(target) === 0 ? "-servername $2 -verify_hostname $2" : "-noservername -verify_ip $2";
  // A little less than what the whole command may take.
  const seconds = String(Math.max(1, Math.floor(options.timeoutMs / 1000) - 2));
  const script = tool === "curl" ? curl : openssl(check);
  const lines = await runAsUser(connection, script, [seconds, target, where], options.ca);
  const ended = lines.find((line) => line.startsWith("ended ")) ?? "";
  const [, code = "", ...said] = ended.split(" ");
  if (code === "0") return;
  const text = words(said.join(" ")) || `exit ${code}`;
  if (tool === "curl" && code === "6") throw doesNotResolve(client.name, target);
  if (tool === "curl" ? code === "7" || code === "28" : !/verif|certificate/i.test(text))
    throw doesNotReach(client.name, where, text);
  throw new ClientFailure(
    "failed",
    `x509: ${tool} there does not take the certificate at ${where}: ${text}`,
    "Look at the certificate's names and dates, at the clock there, and who answers at that address.",
  );
}
