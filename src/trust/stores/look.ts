/**
 * One look at a client: which programs are there, and of each path its owner, its mode and its text. It changes
 * nothing.
 */
import type { Client } from "../client.ts";
import { ClientFailure } from "../client.ts";
import type { Connection } from "../connection.ts";
import { mark } from "../remote-functions.ts";
import { runAsRoot, runAsUser } from "../remote-shell.ts";
import { Seen } from "./seen.ts";

/** In blocks of 512 bytes, so 64 KiB. What drydock writes or merges has a few hundred lines at most. */
const tooLarge = 129;

export interface Looks {
  /** paths, with * and "~/" */
  patterns: readonly string[];
  programs: readonly string[];
  /** shell that tells facts */
  asks: readonly string[];
}

/**
 * The words are: the number of programs, the programs, patterns. Written as remote-functions.ts explains.
 * A text is told once, however many files have it.
 */
const script = (asks: readonly string[]) => [
  `echo "${mark}home $HOME"; echo ${mark}uid $(id -u);`,
  "n=$1; shift;",
  "while [ $n -gt 0 ]; do",
  `  if command -v $1 >/dev/null 2>&1; then echo ${mark}has $1; fi; shift; n=$((n - 1));`,
  "done;",
  "n=$#; set +f;",
  "while [ $n -gt 0 ]; do p=$1; shift; n=$((n - 1));",
  `  case "$p" in "~/"*) set -- "$@" "$HOME"/\${p#??};; *) set -- "$@" $p;; esac;`,
  "done; set -f;",
  `ls -ldn -- "$@" 2>/dev/null | sed "s/^/${mark}ls /";`,
  `find "$@" -prune -type f -size -${tooLarge} -exec $sums {} + 2>/dev/null | {`,
  `  known= ; while read -r sum f; do f=\${f#[*]}; echo "${mark}sum $sum $f";`,
  '    case "$known " in *" $sum "*) ;; *) known="$known $sum";',
  `      echo "${mark}content $sum $(od -An -v -tx1 <"$f" | tr -d "[:space:]")";; esac;`,
  "  done; };",
  ...asks,
  `echo ${mark}end; exit 0`,
];

/** As the login user; what is closed to that user is not seen. @throws ClientFailure "failed" */
export async function look(connection: Connection, looks: Looks): Promise<Seen> {
  return read(await runAsUser(connection, script(looks.asks), words(looks)));
}

/** @throws ClientFailure "refused" where root's rights are not to be had */
export async function lookAsRoot(connection: Connection, client: Client, looks: Looks): Promise<Seen> {
  return read(await runAsRoot(connection, client, script(looks.asks), words(looks)));
}

/** Besides the patterns what is above them, and what a run that was killed may have left beside them. */
function words({ patterns, programs }: Looks): string[] {
  const leftovers = patterns.map((pattern) => `${pattern.slice(0, pattern.lastIndexOf("/"))}/.*.drydock*`);
  const all = new Set([...patterns.flatMap((pattern) => [...ancestors(pattern), pattern]), ...leftovers]);
  return [String(programs.length), ...programs, ...all];
}

function read(lines: string[]): Seen {
  try {
    return new Seen(lines);
  } catch (error) {
    throw new ClientFailure("failed", error instanceof Error ? error.message : String(error));
  }
}

/** "/etc/docker/certs.d" → "/etc", "/etc/docker"; "~/.config/docker" → "~/.config" */
export function ancestors(path: string): string[] {
  const parts = path.split("/");
  return parts.slice(2).map((_, index) => parts.slice(0, index + 2).join("/"));
}
