/**
 * Applies changes to a client's files: all are written beside their places first, and then get their names. Where
 * a runtime has to be restarted, and that fails, all is put back as it was.
 */
import { createHash } from "node:crypto";
import type { Client } from "../client.ts";
import type { Connection } from "../connection.ts";
import { runAsRoot, runAsUser } from "../remote-shell.ts";
import type { AfterChange } from "./store.ts";

export interface Changes {
  /** directories to make, those above first */
  make: string[];
  /** the options are install(1)'s: owner and mode */
  write: { path: string; content: string; options: string }[];
  remove: string[];
  /** they go if nothing is in them, those below first */
  removeDirectories: string[];
  afterwards?: AfterChange;
}

/** A restart ends when the service says that it is ready: k3s needs a minute, and twice as long if it is put back. */
const afterwardsTimeout = 240_000;

/**
 * restart NAME SERVICE…  restarts those of the services that run, by whatever starts services there; what does not
 *                    run reads its files when it starts. NAME is the process's
 * reload FILE       SIGHUP for the Docker whose number is in the file
 * run PROGRAM…
 * again             does once more what had been tried of these, when all is as it was
 */
const afterwards = [
  "runs() { if [ -d /run/systemd/system ]; then systemctl -q is-active $1;",
  "  elif command -v rc-service; then rc-service $1 status; else [ -x /etc/init.d/$1 ]; fi; };",
  "service() { if [ -d /run/systemd/system ]; then root systemctl restart $1;",
  "  elif command -v rc-service; then root rc-service $1 restart; else root /etc/init.d/$1 restart; fi; };",
  'lives() ( set +f; cat /proc/[0-9]*/comm 2>/dev/null | grep -qx -e "$1" -e "$1-server" -e "$1-agent" );',
  "restart() { name=$1; shift; ran= ; for u; do if runs $u >/dev/null 2>&1; then ran=1;",
  '  service $u >/dev/null 2>$own/said || problem "restart $u:" "$(cat $own/said)"; fi; done;',
  '  if [ -z "$ran" ] && lives $name; then problem "restart $name: it runs, but not as a service"; fi; };',
  'reload() { pid=$(cat $1 2>/dev/null); case "$(cat /proc/$pid/comm 2>/dev/null)" in dockerd)',
  '  said=$(root kill -HUP $pid 2>&1) || problem "kill -HUP $pid:" "$said";; esac; };',
  'run() { said=$(root "$@" 2>&1) || problem "$1:" "$(echo "$said" | tail -n 1)"; };',
  'tried= ; again() { if [ -n "$tried" ]; then (trap - EXIT; $tried) >/dev/null; fi; };',
].join(" ");

/**
 * The words are: the number of pieces, the length of each, then operations with their arguments. What is sent are
 * the pieces, one after the other; several are cut out into a folder that is nobody else's.
 */
const script = [
  afterwards,
  'own=$(mktemp -d) || problem "make a temporary folder there"; trap "undo; again; rm -rf $own" EXIT;',
  "pieces=$1; shift; from=1; i=0;",
  "while [ $i -lt $pieces ]; do i=$((i + 1));",
  "  [ $pieces = 1 ] || tail -c +$from $payload | head -c $1 >$own/$i; from=$((from + $1)); shift;",
  "done;",
  "while [ $# -gt 0 ]; do case $1 in",
  "  make) make $2; shift 2;;",
  '  stage) piece=$own/$3; [ $pieces -gt 1 ] || piece=$payload; stage $2 $piece $4 "$5"; shift 5;;',
  "  keep) keep $2; shift 2;;",
  "  publish) verify; publish; shift;;",
  "  remove) remove $2; shift 2;;",
  '  do) tried="$2 $3"; $tried; tried= ; shift 3;;',
  "  rmdir) settle; root rmdir $2 2>/dev/null; shift 2;;",
  "esac; done; settle; exit 0",
];

/** @param asRoot false: the files are the login user's @throws ClientFailure as runAsRoot */
export async function apply(
  connection: Connection,
  client: Client,
  changes: Changes,
  asRoot: boolean,
): Promise<void> {
  const pieces = [...new Set(changes.write.map(({ content }) => content))];
  const words = [
    String(pieces.length),
    ...pieces.map((piece) => String(Buffer.byteLength(piece))),
    ...changes.make.flatMap((path) => ["make", path]),
    ...changes.write.flatMap(({ path, content, options }) => {
      const sha256 = createHash("sha256").update(content).digest("hex");
      return ["stage", path, String(pieces.indexOf(content) + 1), sha256, options];
    }),
    ...(changes.afterwards === undefined
      ? []
      : [...changes.write.map(({ path }) => path), ...changes.remove]
    ).flatMap((path) => ["keep", path]),
    ...(changes.write.length > 0 ? ["publish"] : []),
    ...changes.remove.flatMap((path) => ["remove", path]),
    ...(changes.afterwards === undefined
      ? []
      : ["do", changes.afterwards.do, changes.afterwards.words.join(" ")]),
    ...changes.removeDirectories.flatMap((path) => ["rmdir", path]),
  ];
  const payload = pieces.join("");
  const timeoutMs = changes.afterwards && afterwardsTimeout;
  if (asRoot) await runAsRoot(connection, client, script, words, payload, timeoutMs);
  else await runAsUser(connection, script, words, payload);
}
