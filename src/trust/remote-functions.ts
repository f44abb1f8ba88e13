/**
 * Shell functions that every script at a client has. Written for POSIX sh, each in one line: no comments, no
 * single quotes, backslashes or exclamation marks, as remote-shell.ts explains.
 *
 * What needs root's rights is run with `root`, and is one of a few commands with plain arguments, so that a
 * sudoers file can allow just these (docs/sudo.md). Looking needs no such rights.
 */

/** What every line that our scripts write begins with, so that a banner of the shell is told apart. */
export const mark = "drydock:";

export const setting = "export LC_ALL=C; PATH=$PATH:/usr/sbin:/sbin; umask 077; set -f;";

/** `problem TEXT SAID` ends the script; `digest FILE` is its SHA-256. */
export const basics = [
  `problem() { echo "${mark}problem $1" $2; exit 1; };`,
  "digest() { { if command -v sha256sum >/dev/null; then sha256sum; ",
  "elif command -v shasum >/dev/null; then shasum -a 256; else openssl dgst -sha256 -r; fi; } <$1 |",
  "{ read -r sum rest; echo $sum; }; };",
].join(" ");

/**
 * root WORD…       runs a command with root's rights: `$as` is empty, or sudo
 * owner FILE       the number of its owner
 * directory DIR    makes it, 0755 and root's; one that is there must be a directory of root's, and no link:
 *                  whoever may change a directory above a file decides what is in it
 * stage FILE       puts what was sent under a temporary name beside FILE, 0644 and root's, synced and checked
 * publish          gives all that was staged their names, and tells each: "changed FILE"
 *
 * The temporary name is a fixed one, so that sudoers can name it. `/dev/stdin` is opened by the user's own
 * shell: root follows no link of the user's.
 */
export const functions = [
  basics,
  'root() { $as "$@"; };',
  "owner() { set -- $(ls -ldn $1); echo $3; };",
  `temporary() { echo \${1%/*}/.\${1##*/}.drydock; };`,

  "directory() {",
  '  if [ -h $1 ]; then problem "$1 is a symbolic link"; fi;',
  '  if [ -e $1 ]; then [ -d $1 ] || problem "$1 is not a directory";',
  '    [ "$(owner $1)" = 0 ] || problem "$1 does not belong to root";',
  `  elif [ -x \${1%/*} ]; then said=$(root mkdir -m 0755 $1 2>&1) || problem "make $1:" "$said";`,
  `  else problem "\${1%/*} can be read by root alone"; fi;`,
  "};",

  "staged= ;",
  "unstage() { for f in $staged; do root rm -f $(temporary $f); done; };",
  'trap unstage EXIT; trap : PIPE; trap "problem interrupted" HUP INT TERM;',
  "stage() {",
  '  staged="$staged $1"; t=$(temporary $1);',
  '  said=$(root install -o root -g root -m 0644 /dev/stdin $t <$payload 2>&1) || problem "write $1:" "$said";',
  '  [ "$(digest $t)" = $want ] || problem "write $1: it has another sha256 there";',
  "  sync $t 2>/dev/null || sync;",
  "};",
  "publish() {",
  "  for f in $staged; do",
  '    said=$(root mv -f -T $(temporary $f) $f 2>&1) || problem "write $f:" "$said";',
  `    sync \${f%/*} 2>/dev/null || sync; echo ${mark}changed $f;`,
  "  done; staged= ;",
  "};",
].join(" ");
