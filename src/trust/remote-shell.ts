/**
 * Runs a fixed script on a client, as root or as the login user, whatever the user's login shell is.
 *
 * The login shell gets one line of words in single quotes, which sh, csh and fish all read alike as long as
 * nothing between the quotes is a quote, a backslash, an exclamation mark or a line end. Hence scripts are
 * written without these.
 *
 * A user who is not root has these ways, in this order: sudo runs the whole script without asking; it runs only
 * the commands that sudoers lists, one by one; it asks for a password, which is then all that is on stdin: what
 * is to be written has come before, into a folder of the user's. With both on one stdin, a sudo that doesn't
 * ask would leave the password to the script, as the beginning of the file.
 */
import { createHash } from "node:crypto";
import { type Client, ClientFailure } from "./client.ts";
import type { Connection, ExecResult, Stdin } from "./connection.ts";
import { basics, functions, mark, setting } from "./remote-functions.ts";
import { noRights, wantsPassword, wantsTerminal, words } from "./sudo.ts";

/**
 * The words are: the script; what to do where a password is wanted ("keep" the folder, "drop" it), or "send" to do
 * no more than take what is sent, or "user" to run it as the login user; the SHA-256 of what is sent; the folder it
 * is in ("-": it comes on stdin); the script's own words.
 */
const start = [
  setting,
  basics,
  "inner=$1; then=$2; want=$3; folder=$4; shift 4;",
  'if [ "$folder" = - ]; then folder=$(mktemp -d) || problem "make a temporary folder there";',
  '  trap "rm -rf $folder" EXIT; cat >$folder/payload || problem "write a temporary file there"; fi;',
  'trap "rm -rf $folder" EXIT; trap : PIPE; trap "exit 1" HUP INT TERM;',
  '[ "$(digest $folder/payload)" = $want ] || problem "what was sent has another sha256 there";',
  `leave() { trap - EXIT; echo ${mark}folder $folder; };`,
  'if [ "$then" = send ]; then leave; exit 0; fi;',
  'set -- /bin/sh -c "$inner" drydock $folder/payload $want "$@"; export DRYDOCK_AS= ;',
  'if [ "$then" = user ] || [ "$(id -u)" = 0 ]; then "$@" </dev/null; exit $?; fi;',
  "if sudo -n -l /bin/sh >/dev/null 2>&1 && sudo -n -- /bin/sh -c : >/dev/null 2>&1;",
  '  then sudo -n -- "$@" </dev/null; exit $?; fi;',
  'if said=$(sudo -n -- true 2>&1); then DRYDOCK_AS="sudo -n --"; "$@" </dev/null; exit $?; fi;',
  'case "$then$said" in keep*"password is required"*|*" tty "*|*terminal*) leave;; esac;',
  `echo ${mark}rights $said; exit 0`,
].join(" ");

/**
 * The words are: the folder, then the command. The password is all that is on stdin. A terminal's input has no
 * end, and a sudo that asks a second time would wait for ever: it gets one line, and then the end.
 */
const withPassword = [
  setting,
  "folder=$1; shift; export DRYDOCK_AS= ;",
  'trap "rm -rf $folder" EXIT; trap : PIPE; trap "exit 1" HUP INT TERM;',
  'head -n 1 | sudo -k -S -p "" -- "$@"',
].join(" ");

/** What has been found out about the rights on a connection, so that sudo is not tried in vain again. */
interface Rights {
  terminal: boolean;
  password: boolean;
}

const rightsOf = new WeakMap<Connection, Rights>();

function innerScript(script: readonly string[]): string {
  const begin = ["as=$DRYDOCK_AS; payload=$1; want=$2; shift 2;", functions, `echo ${mark}begun;`];
  return [setting, ...begin, ...script].join(" ");
}

function sha256Of(payload: string): string {
  return createHash("sha256").update(payload).digest("hex");
}

/**
 * Runs `script` with /bin/sh as the login user, whoever that is; `root` then gives no rights.
 * @param payload if left out, the script has the basic functions alone, and nothing is sent; likewise with a
 *   stream, which is then what the script reads
 * @param timeoutMs as for `exec`
 * @returns as runAsRoot @throws ClientFailure "failed"
 */
export async function runAsUser(
  connection: Connection,
  script: readonly string[],
  args: readonly string[] = [],
  payload?: Stdin,
  timeoutMs?: number,
): Promise<string[]> {
  const line =
    typeof payload !== "string"
      ? shellLine(
          "/bin/sh",
          "-c",
          [setting, basics, `echo ${mark}begun;`, ...script].join(" "),
          "sh",
          ...args,
        )
      : shellLine("/bin/sh", "-c", start, "sh", innerScript(script), "user", sha256Of(payload), "-", ...args);
  return ended(connection.user, read(await connection.exec(line, payload ?? "", false, timeoutMs)));
}

/**
 * Runs `script` with /bin/sh and the functions of remote-functions.ts; what is run with `root` has root's rights,
 * all else has them where that can be.
 * @param args without quotes ('), backslashes, exclamation marks and control characters
 * @param payload is in the file `$payload`, with the SHA-256 `$want`
 * @param timeoutMs as for `exec`
 * @returns what the script wrote: each line that begins with the mark, without it
 * @throws ClientFailure "refused" if root's rights are not to be had, "failed" if the script did not end well
 */
export async function runAsRoot(
  connection: Connection,
  client: Client,
  script: readonly string[],
  args: readonly string[] = [],
  payload = "",
  timeoutMs?: number,
): Promise<string[]> {
  const { user } = connection;
  if (client.become === false && user !== "root") {
    const text = `it takes root's rights, and the inventory has ansible_become=false for ${JSON.stringify(user)}`;
    throw new ClientFailure("refused", text, "Log in as root (ansible_user=root), or let it become root.");
  }
  const inner = innerScript(script);
  const sha256 = sha256Of(payload);
  const password = connection.sudoPassword?.();
  const rights = rightsOf.get(connection) ?? { terminal: false, password: false };
  rightsOf.set(connection, rights);

  const attempt = async (folder: string, terminal: boolean) => {
    const send = folder === "-" && (rights.terminal || rights.password);
    const then = send ? "send" : password === undefined ? "drop" : "keep";
    const line = shellLine("/bin/sh", "-c", start, "sh", inner, then, sha256, folder, ...args);
    return read(await connection.exec(line, terminal ? "" : payload, terminal, timeoutMs));
  };
  let answer = await attempt("-", false);
  const { folder } = answer;
  if (folder === undefined) return ended(user, answer);
  rights.terminal ||= wantsTerminal(answer.rights);
  if (rights.terminal && !rights.password) answer = await attempt(folder, true);
  rights.password ||= wantsPassword(answer.rights) && password !== undefined;
  if (!rights.password) {
    if (answer.folder !== undefined) await connection.exec(shellLine("rm", "-rf", answer.folder));
    return ended(user, answer);
  }

  const command = ["/bin/sh", "-c", inner, "drydock", `${folder}/payload`, sha256, ...args];
  const line = shellLine("/bin/sh", "-c", withPassword, "sh", folder, ...command);
  return ended(user, read(await connection.exec(line, `${password}\n`, rights.terminal, timeoutMs)), true);
}

interface Answer {
  /** our own lines, without the mark, after the script had begun; undefined if it had not */
  lines: string[] | undefined;
  /** why it ended early */
  problem: string | undefined;
  /** where the payload was left at the client */
  folder: string | undefined;
  /** sudo's words where root's rights could not be had */
  rights: string;
  result: ExecResult;
}

function read(result: ExecResult): Answer {
  const ours = result.stdout.split(/\r?\n/).filter((line) => line.startsWith(mark));
  const lines = ours.map((line) => line.slice(mark.length));
  const after = (word: string) => lines.find((line) => line.startsWith(`${word} `))?.slice(word.length + 1);
  const begun = lines.indexOf("begun");
  return {
    lines: begun < 0 ? undefined : lines.slice(begun + 1),
    problem: after("problem"),
    // Nothing but the name that mktemp gave.
    folder: /^\/[\w./-]+$/.exec(after("folder") ?? "")?.[0],
    rights: after("rights") ?? "",
    result,
  };
}

/** @param sent whether a password was sent */
function ended(user: string, { lines, problem, rights, result }: Answer, sent = false): string[] {
  if (lines !== undefined && result.code === 0) return lines;
  // A command that sudoers doesn't list: sudo's words are then in the problem's.
  if (problem !== undefined && /: sudo: |not allowed to execute/.test(problem))
    throw noRights(user, problem, sent);
  if (problem !== undefined) throw new ClientFailure("failed", problem, hintFor(problem));
  const said = result.stderr.trim() || result.stdout.trim();
  if (lines === undefined && rights !== "") throw noRights(user, rights, sent);
  if (lines === undefined && sent) throw noRights(user, said, sent);
  const ending = result.signal === undefined ? `exit ${result.code}` : `signal ${result.signal}`;
  if (lines !== undefined)
    throw new ClientFailure("failed", `the script there did not end well: ${words(said) || ending}`);
  const all = [result.stderr, result.stdout].map(words).filter((text) => text !== "");
  const hint = `Does the login shell of ${JSON.stringify(user)} there run commands?`;
  throw new ClientFailure("failed", `/bin/sh did not run there: ${all.join("; ") || ending}`, hint);
}

/** What can be done there about what a command said (LC_ALL=C). */
function hintFor(problem: string): string | undefined {
  if (/No space left on device|Disk quota exceeded/.test(problem))
    return "Free some space there, and run again.";
  if (/Read-only file system/.test(problem)) return "Mount it writable there, and run again.";
  return /Operation not permitted|Permission denied/.test(problem)
    ? "Even root may not write there: look for an immutable file (`lsattr`), or at SELinux or AppArmor."
    : undefined;
}

/** Whether a word can stand between single quotes in every shell. */
function isPlain(word: string): boolean {
  return /^[^'\\!\p{Cc}]*$/u.test(word);
}

function shellLine(...all: string[]): string {
  const unfit = all.find((word) => !isPlain(word));
  if (unfit !== undefined) throw new Error(`not plain: ${unfit}`);
  return all.map((word) => `'${word}'`).join(" ");
}
