/**
 * Docker's own trust store: /etc/docker/certs.d/HOST[:PORT]/ca.crt, read by dockerd at each request, and by
 * Podman and skopeo where /etc/containers/certs.d has no such directory.
 * https://docs.docker.com/engine/security/certificates/
 */
import { bracketed, hostPort } from "../address.ts";
import type { Client } from "../client.ts";
import type { Connection } from "../connection.ts";
import { certificateFile, containersFolder, dockerFolder } from "../places.ts";
import { runAsRoot } from "../remote-shell.ts";

/** What a store says after its work. */
export interface StoreResult {
  changed: boolean;
  /** directories that hide this store from Podman and skopeo, and don't hold the CA */
  shadowedBy: string[];
}

/**
 * The directories' names: they match a reference to the letter, so the default port needs both forms.
 * @param addresses names and IP addresses as canonicalAddress gives them
 */
export function certificateDirectories(addresses: readonly string[], port: number): string[] {
  const names = addresses.flatMap((address) =>
    port === 443 ? [bracketed(address), hostPort(address, port)] : [hostPort(address, port)],
  );
  for (const name of names) {
    if (!/^(?:[a-z0-9_][a-z0-9._-]*|\[[0-9a-f:.]+\])(?::\d+)?$/.test(name))
      throw new Error(`not an address: ${name}`);
  }
  return [...new Set(names)];
}

/**
 * The words are directory names; the PEM is in $payload.
 * Written for POSIX sh, in one line: no comments, no single quotes, backslashes or exclamation marks.
 */
const script = [
  `base=${dockerFolder}; pem=$(cat $payload);`,
  "for d in /etc /etc/docker $base; do directory $d; done;",

  // All temporary files, synced; then all the names.
  'for name in "$@"; do',
  `  directory $base/$name; f=$base/$name/${certificateFile}; mode= ;`,
  '  [ -d $f ] && problem "$f is a directory";',
  "  if [ -f $f ]; then mode=$(ls -ldn $f); fi;",
  '  case "$mode" in -rw-r--r--*) [ "$(owner $f)" = 0 ] && [ "$(cat $f)" = "$pem" ] && continue;; esac;',
  "  stage $f;",
  "done;",
  "publish;",

  // Podman and skopeo take the first directory that exists, even if it is empty.
  'for name in "$@"; do',
  `  other=${containersFolder}/$name; [ -d $other ] || continue;`,
  '  for c in $(ls $other); do case "$c" in *.crt)',
  '    case "$(cat $other/$c)" in *"$pem"*) continue 2;; esac;; esac; done;',
  "  echo drydock:shadow $other;",
  "done; exit 0",
];

/**
 * Puts the CA where Docker looks for it; files that hold it already are left alone.
 * @param ca one or more PEM certificates
 * @throws ClientFailure
 */
export async function install(
  connection: Connection,
  client: Client,
  ca: string,
  directories: readonly string[],
): Promise<StoreResult> {
  const pem = `${ca.trim()}\n`;
  const lines = await runAsRoot(connection, client, script, directories, pem);
  const after = (word: string) =>
    lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  return { changed: after("changed").length > 0, shadowedBy: after("shadow") };
}
