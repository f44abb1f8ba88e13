#!/bin/sh
# Installs the Debian packages that the lab is made of, where they are missing: as root on Debian 12.
# No service that comes with them is started. It is a shell script because Node itself needs one of them.
set -eu

# docker.io, iptables      the engines of the site and of the Docker client, and their port mapping; containerd comes along
# docker-registry          the upstream registry, and registry:2 made of it
# podman, crun, skopeo     the client that has no Docker; skopeo is also a peer and a second opinion
# golang-cfssl, openssl    second opinions on certificates
# openssh-*                the clients
# busybox-static           the busybox image
# zstd                     seeds
# iproute2, mount, procps  namespaces, small file systems, processes
# e2fsprogs                a disk with bad sectors, one that is full, one that fails
# faketime                 a clock that is wrong
# curl, sudo, tmux         a registry's client, a client's administrator, a terminal
# unzip                    who receives a kit
# csh, fish                login shells that are not POSIX's
# ansible-core             a second opinion on inventories; runs the role
# mmdebstrap, rpm          hosts with a Debian of their own, packages for them
# libatomic1               what Node 26 is linked against
packages='docker.io iptables docker-registry podman crun skopeo golang-cfssl openssl ca-certificates
  openssh-server openssh-client busybox-static zstd iproute2 mount e2fsprogs procps
  curl sudo tmux unzip csh fish ansible-core libatomic1 faketime mmdebstrap rpm'

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

missing() {
  for name in $packages; do
    case "$installed" in
      *" $name "*) ;;
      *) printf ' %s' "$name" ;;
    esac
  done
}

look() {
  # shellcheck disable=SC2016,SC2086 # dpkg-query's own placeholders; a list of words
  installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
    sed -n 's/^installed //p' | tr '\n' ' ')"
}

command -v dpkg-query >/dev/null || fail 'the lab needs Debian: there is no dpkg-query on this machine'
look
wanted=$(missing)
[ -n "$wanted" ] || exit 0
[ "$(id -u)" = 0 ] || fail "the lab needs packages that only root can install: apt-get install$wanted"

# Debian asks policy-rc.d before a package starts its service, and 101 means no. One that is there already
# is set aside, also if an earlier run was killed in between.
policy=/usr/sbin/policy-rc.d
aside=$policy.set-aside-by-drydock-lab
log=$(mktemp)
restore() {
  rm -f "$policy" "$log"
  if [ -e "$aside" ]; then mv "$aside" "$policy"; fi
}
trap restore EXIT
trap 'exit 130' INT TERM HUP
if [ -e "$policy" ] && ! grep -q "drydock's lab" "$policy"; then mv "$policy" "$aside"; fi
printf "#!/bin/sh\n# drydock's lab, while it installs packages: no service starts.\nexit 101\n" >"$policy"
chmod 755 "$policy"

apt() {
  DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 \
    "$@" >"$log" 2>&1 </dev/null || {
    code=$?
    tail -n 15 "$log" >&2
    fail "apt-get $*: exit code $code"
  }
}

printf 'installing with apt-get:%s\n' "$wanted" >&2
apt update
# shellcheck disable=SC2086 # a list of words
apt install --no-install-recommends $wanted
look
left=$(missing)
[ -z "$left" ] || fail "apt-get ended well, but these are not installed:$left"
