/**
 * Shell functions that every script at a client has. Written for POSIX sh, each in one line: no comments, no
 * single quotes, backslashes or exclamation marks, as remote-shell.ts explains.
 *
 * What needs root's rights is run with `root`, and is one of a few commands with plain arguments, so that a
 * sudoers file can allow just these (docs/sudo.md). Looking needs no such rights.
 */

/** What every line that our scripts write begins with, so that a banner of the shell is told apart. */
export const mark = "drydock:";

/** A banner may have no line end of its own. */
export const setting = "echo; export LC_ALL=C; PATH=$PATH:/usr/sbin:/sbin; umask 077; set -f;";

/**
 * `problem TEXT SAID` ends the script; `$sums FILE…` prints the SHA-256 of each and its name; `digest FILE` is
 * the SHA-256 alone.
 */
export const basics = [
  `problem() { echo "${mark}problem $1" $2; exit 1; };`,
  "if command -v sha256sum >/dev/null; then sums=sha256sum;",
  'elif command -v shasum >/dev/null; then sums="shasum -a 256"; else sums="openssl dgst -sha256 -r"; fi;',
  "digest() { $sums <$1 | { read -r sum rest; echo $sum; }; };",
].join(" ");

/**
 * root WORD…                 runs a command with root's rights: `$as` is empty, or sudo
 * make DIR                   makes a directory, 0755
 * stage FILE FROM SUM OPT    puts a copy of FROM under a temporary name beside FILE; OPT are install's options
 * verify                     all that was staged has the SHA-256 it should have, and is on the disk
 * keep FILE                  it is put back, or taken away again if it wasn't there, unless all ends well
 * publish                    gives all that was staged their names, and tells each: "changed FILE"
 * remove FILE                "removed FILE"
 * settle                     all ended well, and the names are on the disk, too
 *
 * Whatever ends the script before `settle` takes the temporary files away, puts back what was kept, and takes the
 * directories away, unless something is in them: an empty one would hide another store.
 * The temporary name is a fixed one, so that sudoers can name it. `/dev/stdin` is opened by the user's own
 * shell: root follows no link of the user's.
 */
export const functions = [
  basics,
  'root() { $as "$@"; };',
  `temporary() { t=\${1%/*}/.\${1##*/}.drydock; };`,
  "made= ; staged= ; temporaries= ; expected= ; kept= ; new= ; parents= ;",
  "undo() { for f in $staged; do temporary $f; root rm -f $t; done;",
  "  for f in $kept; do temporary $f; root mv -f -T $t-before $f; done;",
  "  for f in $new; do root rm -f $f; done;",
  "  for d in $made; do root rmdir $d; done 2>/dev/null; };",
  'settle() { if [ -n "$parents" ]; then sync $parents 2>/dev/null || sync; fi; parents= ; new= ; made= ;',
  "  for f in $kept; do temporary $f; root rm -f $t-before; done; kept= ; };",
  'trap undo EXIT; trap : PIPE; trap "problem interrupted" HUP INT TERM;',

  'make() { if [ -d $1 ]; then return; fi; said=$(root mkdir -m 0755 $1 2>&1) || problem "make $1:" "$said"; made="$1 $made"; };',
  "stage() {",
  '  temporary $1; staged="$staged $1"; temporaries="$temporaries $t"; expected="$expected $3";',
  '  said=$(root install $4 /dev/stdin $t <$2 2>&1) || problem "write $1:" "$said";',
  "};",
  'keep() { if [ -e $1 ]; then temporary $1; said=$(root cp -pP $1 $t-before 2>&1) || problem "copy $1:" "$said";',
  '  kept="$kept $1"; else new="$new $1"; fi; };',
  "verify() {",
  "  set -- $($sums $temporaries);",
  "  for sum in $expected; do",
  `    f=\${2#[*]}; f=\${f%.drydock}; [ "$1" = $sum ] ||`,
  `    problem "write \${f%/*}/\${f##*/.}: it has another sha256 there"; shift 2;`,
  "  done; sync $temporaries 2>/dev/null || sync;",
  "};",
  "publish() {",
  "  for f in $staged; do temporary $f;",
  '    said=$(root mv -f -T $t $f 2>&1) || problem "write $f:" "$said";',
  `    echo ${mark}changed $f; parents="$parents \${f%/*}";`,
  `  done; staged= ; for d in $made; do parents="$parents \${d%/*}"; done;`,
  "};",
  'remove() { said=$(root rm -f $1 2>&1) || problem "remove $1:" "$said";',
  `  echo ${mark}removed $1; parents="$parents \${1%/*}"; };`,
].join(" ");
