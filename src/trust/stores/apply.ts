/** Applies changes to a client's files: all are written beside their places first, and then get their names. */
import { createHash } from "node:crypto";
import type { Client } from "../client.ts";
import type { Connection } from "../connection.ts";
import { runAsRoot, runAsUser } from "../remote-shell.ts";

export interface Changes {
  /** directories to make, those above first */
  make: string[];
  /** the options are install(1)'s: owner and mode */
  write: { path: string; content: string; options: string }[];
  remove: string[];
  /** they go if nothing is in them, those below first */
  removeDirectories: string[];
}

export function isNothing({ make, write, remove, removeDirectories }: Changes): boolean {
  return [make, write, remove, removeDirectories].every((changes) => changes.length === 0);
}

/**
 * The words are: the number of pieces, the length of each, then operations with their arguments. What is sent are
 * the pieces, one after the other; several are cut out into a folder that is nobody else's.
 */
const script = [
  "pieces=$1; shift; cuts= ; from=1; i=0;",
  'if [ $pieces -gt 1 ]; then cuts=$(mktemp -d) || problem "make a temporary folder there";',
  '  trap "undo; rm -rf $cuts" EXIT; fi;',
  "while [ $i -lt $pieces ]; do i=$((i + 1));",
  "  [ $pieces = 1 ] || tail -c +$from $payload | head -c $1 >$cuts/$i; from=$((from + $1)); shift;",
  "done;",
  "while [ $# -gt 0 ]; do case $1 in",
  "  make) make $2; shift 2;;",
  '  stage) piece=$cuts/$3; [ $pieces -gt 1 ] || piece=$payload; stage $2 $piece $4 "$5"; shift 5;;',
  "  publish) verify; publish; shift;;",
  "  remove) remove $2; shift 2;;",
  "  rmdir) root rmdir $2 2>/dev/null; shift 2;;",
  "esac; done; exit 0",
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
    ...(changes.write.length > 0 ? ["publish"] : []),
    ...changes.remove.flatMap((path) => ["remove", path]),
    ...changes.removeDirectories.flatMap((path) => ["rmdir", path]),
  ];
  const payload = pieces.join("");
  if (asRoot) await runAsRoot(connection, client, script, words, payload);
  else await runAsUser(connection, script, words, payload);
}
