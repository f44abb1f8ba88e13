/**
 * Runs a fixed script as root on a client, whatever the user's login shell is.
 *
 * The login shell gets one line of words in single quotes, which sh, csh and fish all read alike as long as
 * nothing between the quotes is a quote, a backslash, an exclamation mark or a line end. Hence scripts are
 * written without these.
 */
import { userInfo } from "node:os";
import { type Client, ClientFailure } from "./client.ts";
import type { Connection, ExecResult } from "./ssh.ts";

/** What every line that our scripts write begins with, so that a banner of the shell is told apart. */
const mark = "drydock:";

/** root runs the words as they are; anybody else through sudo, which must not ask. */
const elevate =
  'export LC_ALL=C; PATH=$PATH:/usr/sbin:/sbin; if [ "$(id -u)" = 0 ]; then exec "$@"; fi; exec sudo -n -- "$@"';

/**
 * Runs `script` with /bin/sh as root.
 * @param args single-quoted as they are; must hold only characters that isPlain allows
 * @returns what the script wrote: each line that begins with the mark, without it
 * @throws ClientFailure "refused" if root's rights are not to be had, "failed" if the script did not end well
 */
export async function runAsRoot(
  connection: Connection,
  client: Client,
  script: readonly string[],
  args: readonly string[] = [],
  stdin = "",
): Promise<string[]> {
  const body = [`echo ${mark}begun;`, ...script].join(" ");
  const words = ["/bin/sh", "-c", elevate, "sh", "/bin/sh", "-c", body, "drydock", ...args];
  const result = await connection.exec(words.map(quote).join(" "), stdin);
  const lines = result.stdout
    .split("\n")
    .filter((line) => line.startsWith(mark))
    .map((line) => line.slice(mark.length));
  if (lines[0] !== "begun") throw noRights(client, result);
  if (result.code === 0) return lines.slice(1);
  const problem = lines.find((line) => line.startsWith("problem "))?.slice("problem ".length);
  throw new ClientFailure("failed", problem ?? `the script there did not end well: ${lastWords(result)}`);
}

function noRights(client: Client, result: ExecResult): ClientFailure {
  const said = lastWords(result);
  const { user = userInfo().username } = client;
  if (user === "root") return new ClientFailure("failed", `/bin/sh did not run there: ${said}`);
  return new ClientFailure(
    "refused",
    `${JSON.stringify(user)} can't become root there without a password: ${said}`,
    `Log in as root (ansible_user=root), or let sudo ask ${user} for no password there.`,
  );
}

/** The last line it said, shortened, without control characters; else how it ended. */
function lastWords(result: ExecResult): string {
  const line = (result.stderr.trim() || result.stdout.trim()).split("\n").at(-1) ?? "";
  const ending = result.signal === undefined ? `exit ${result.code}` : `signal ${result.signal}`;
  return line.replace(/\p{Cc}/gu, " ").slice(0, 300) || ending;
}

/** Whether a word can stand between single quotes in every shell. */
export function isPlain(word: string): boolean {
  return /^[^'\\!\p{Cc}]*$/u.test(word);
}

function quote(word: string): string {
  if (!isPlain(word)) throw new Error(`not plain: ${word}`);
  return `'${word}'`;
}
