/**
 * RPM packages, installed by `rpm -i`, which upgrades and removes nothing. RHEL, Fedora and SUSE all have it, and
 * it needs no source. It tests first what it would do.
 */

/** The words are the files' names, see install.ts. What is there, in whatever version, is left as it is. */
export const installRpm = [
  "errors() { grep -v -e ^warning: -e ^rpm: | head -n 5; }; list= ; new= ;",
  'said=$(root rpm -q rpm 2>&1); case "$said" in *sudo:*|Sorry*) problem "run rpm there:" "$said";; esac;',
  'for f in "$@"; do f=$files/$f;',
  `  name=$(rpm -qp --qf "%{NAME}.%{ARCH}" $f 2>/dev/null) || refuse "rpm can not read \${f##*/}";`,
  "  root rpm -q $name >/dev/null 2>&1 && continue;",
  '  list="$list $f"; new="$new $(rpm -qp --qf "%{NAME}=%{VERSION}-%{RELEASE}" $f 2>/dev/null)";',
  "done;",
  '[ "$list" ] || refuse "all of the packages are there, and still no dockerd";',
  'said=$(root rpm -i --test $list 2>&1) || refuse "rpm can not install them:" "$(echo "$said" | errors)";',
  'said=$(root rpm -i $list 2>&1) || problem "install the packages there:" "$(echo "$said" | errors)";',
  "for f in $new; do installed $f; done;",
];
