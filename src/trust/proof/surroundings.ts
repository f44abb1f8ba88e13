/**
 * What a client has for a proof, seen with the user's own rights: its clock, what the registry's names resolve to
 * there, the engines' sockets, and programs.
 */
import { isIP } from "node:net";
import type { Connection } from "../connection.ts";
import { mark } from "../remote-functions.ts";
import { runAsUser } from "../remote-shell.ts";

export interface Surroundings {
  /** of the client, in milliseconds since 1970; undefined if it can't say */
  clock: number | undefined;
  /** as `uname -m` has it */
  machine: string;
  /** Docker's sockets: the host's, and the user's own rootless one */
  sockets: { path: string; open: boolean }[];
  /** of those that are looked for, the ones that are there */
  programs: ReadonlySet<string>;
  /** the addresses of a name there, none if it does not resolve; undefined if it can't be known */
  addressesOf(name: string): string[] | undefined;
}

/** The words are names to resolve. Written as remote-functions.ts explains. */
const script = [
  `say() { echo "${mark}$*"; };`,
  "say clock $(date +%s); say machine $(uname -m); set +f;",
  "for s in /run/docker.sock /run/user/*/docker.sock; do",
  // Other users' rootless engines are theirs.
  "  case $s in /run/user/*) [ -O $s ] || continue;; esac;",
  "  if [ -S $s ]; then if [ -w $s ]; then say open $s; else say closed $s; fi; fi; done;",
  "set -f; for p in curl openssl docker podman skopeo; do",
  "  if command -v $p >/dev/null; then say program $p; fi; done;",
  // 1: no such database, as with musl; 2: no such name. A resolver that is not answered may take long.
  'limit= ; if command -v timeout >/dev/null; then limit="timeout 5"; fi;',
  'if command -v getent >/dev/null; then for n in "$@"; do',
  "  say name $n $($limit getent ahosts $n || { [ $? = 1 ] && getent hosts $n; }); done; fi; exit 0",
];

/** @param targets names and IP addresses of the registry @throws ClientFailure */
export async function lookAround(connection: Connection, targets: readonly string[]): Promise<Surroundings> {
  const names = targets.filter((target) => isIP(target) === 0);
  const lines = await runAsUser(connection, script, names);
  const after = (word: string) =>
    lines.flatMap((line) => {
      const [first, ...rest] = line.split(" ");
      return first === word ? [rest] : [];
    });
  const [[seconds = ""] = []] = after("clock");
  const resolved = new Map(
    after("name").map(([name = "", ...said]) => [
      name,
      [...new Set(said.filter((word) => isIP(word) !== 0))],
    ]),
  );
  return {
    clock: /^\d+$/.test(seconds) ? Number(seconds) * 1000 : undefined,
    machine: after("machine")[0]?.[0] ?? "",
    sockets: ["open", "closed"].flatMap((word) =>
      after(word).flatMap(([path]) => (path === undefined ? [] : [{ path, open: word === "open" }])),
    ),
    programs: new Set(after("program").flat()),
    addressesOf: (name) => resolved.get(name),
  };
}
