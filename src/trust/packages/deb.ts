/**
 * Debian's packages, installed by apt-get, which orders them. It knows no source but the files, so what it can't
 * do with them alone it doesn't do. A simulation shows first what it would remove or upgrade besides.
 */

const apt = [
  "apt-get -q -y --no-install-recommends --no-upgrade",
  "-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null",
  "-o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=",
  "-o APT::Sandbox::User=root -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold",
].join(" ");

/** The words are the files' names, see install.ts. What is wholly there, in whatever version, is left as it is. */
export const installDeb = [
  `apt="${apt}"; list= ; new= ;`,
  'for f in "$@"; do f=$files/$f;',
  "  name=$(dpkg-deb -f $f Package 2>&1) && arch=$(dpkg-deb -f $f Architecture 2>&1) ||",
  `    refuse "read \${f##*/}:" "$name";`,
  '  dpkg-query -s $name:$arch 2>/dev/null | grep -q "^Status: [a-z]* ok installed" && continue;',
  '  list="$list $f"; new="$new $name=$(dpkg-deb -f $f Version)";',
  "done;",
  '[ "$list" ] || refuse "all of the packages are there, and still no dockerd";',

  'plan=$($apt -s install $list 2>&1) || refuse "apt-get can not install them:"',
  '  "$(echo "$plan" | grep -E "(Depends|Conflicts|Breaks): |^E:")";',
  'bad=$(echo "$plan" | while read -r verb name rest; do case "$verb $rest" in',
  "  Remv*) echo remove $name, ;; Inst?[[]*) echo upgrade $name, ;; esac; done);",
  `[ "$bad" ] && refuse "apt-get would" "\${bad%,}";`,

  "export DEBIAN_FRONTEND=noninteractive;",
  "said=$(root $apt --no-remove install $list 2>&1); code=$?;",
  '[ $code = 0 ] || problem "apt-get there ended with exit code $code:"',
  '  "$(echo "$said" | grep -E "^E:|^dpkg: |sudo: |^Sorry" | head -n 5)";',
  "for f in $new; do installed $f; done;",
];
