/**
 * Docker's own trust store: /etc/docker/certs.d/HOST[:PORT]/ca.crt, read by dockerd at each request, and by
 * Podman and skopeo where /etc/containers/certs.d has no such directory.
 * https://docs.docker.com/engine/security/certificates/
 */
import { createHash } from "node:crypto";
import { bracketed, hostPort } from "../address.ts";
import type { Client } from "../client.ts";
import { runAsRoot } from "../remote-shell.ts";
import type { Connection } from "../ssh.ts";

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
 * The words are: the PEM's sha256, then directory names. The PEM comes on stdin.
 * Written for POSIX sh, in one line: no comments, no single quotes, backslashes or exclamation marks.
 */
const script = [
  "umask 077; set -f; base=/etc/docker/certs.d; want=$1; shift; temporary= ;",
  'problem() { echo "drydock:problem $1" $2; exit 1; };',
  "cleanup() { for name in $temporary; do rm -f $base/$name/.ca.crt.$$; done; };",
  'trap cleanup EXIT; trap : PIPE; trap "problem interrupted" HUP INT TERM;',

  // What came over the wire is whole: the last line, and the digest where it can be had.
  "pem=$(cat);",
  'case "$pem" in *"-----END CERTIFICATE-----") ;; *) problem "the certificate arrived cut short";; esac;',
  "if command -v sha256sum >/dev/null; then",
  '  case "$(echo "$pem" | sha256sum)" in "$want "*) ;;',
  '    *) problem "the certificate arrived with another sha256";; esac;',
  "fi;",

  // Whoever may change a directory above the file decides what is trusted. The third field is the owner.
  "owner() { set -- $(ls -ldn $1); echo $3; };",
  "directory() {",
  '  if [ -h $1 ]; then problem "$1 is a symbolic link"; fi;',
  '  if [ -e $1 ]; then [ -d $1 ] || problem "$1 is not a directory";',
  '    [ "$(owner $1)" = 0 ] || problem "$1 does not belong to root";',
  '  else said=$(mkdir -m 0755 $1 2>&1) || problem "make $1:" "$said"; fi;',
  "};",
  "for d in /etc /etc/docker $base; do directory $d; done;",

  // All temporary files, synced; then all the names.
  'for name in "$@"; do',
  "  directory $base/$name; f=$base/$name/ca.crt; mode= ;",
  '  [ -d $f ] && problem "$f is a directory";',
  "  if [ -f $f ]; then mode=$(ls -ldn $f); fi;",
  '  case "$mode" in -rw-r--r--*) [ "$(owner $f)" = 0 ] && [ "$(cat $f)" = "$pem" ] && continue;; esac;',
  '  temporary="$temporary $name"; t=$base/$name/.ca.crt.$$; rm -f $t;',
  '  said=$({ set -C; echo "$pem" | cat >$t && chmod 0644 $t; } 2>&1) || problem "write $f:" "$said";',
  "  sync $t 2>/dev/null || sync;",
  "done;",
  "for name in $temporary; do f=$base/$name/ca.crt;",
  '  said=$(mv -f -T $base/$name/.ca.crt.$$ $f 2>&1) || problem "write $f:" "$said";',
  "  sync $base/$name 2>/dev/null || sync; echo drydock:changed $f;",
  "done; temporary= ;",

  // Podman and skopeo take the first directory that exists, even if it is empty.
  'for name in "$@"; do',
  "  other=/etc/containers/certs.d/$name; [ -d $other ] || continue;",
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
  const sha256 = createHash("sha256").update(pem).digest("hex");
  const lines = await runAsRoot(connection, client, script, [sha256, ...directories], pem);
  const after = (word: string) =>
    lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  return { changed: after("changed").length > 0, shadowedBy: after("shadow") };
}
