#!/bin/sh
# Makes the container runtimes of this Linux machine trust the registry @REGISTRY@.
# README.txt beside it says how it is used.
set -uf
umask 022
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

usage="usage: sh $0 check | install | remove  [--system] [--remove-old]"

# The registry, as image references name it to the letter; and where it answers.
names='@NAMES@'
addresses='@ADDRESSES@'
# Of ca.pem.
sha256='@SHA256@'
# The CA's file, and another name for where somebody has one of that name.
files='@FILES@'
# In the system's own store.
system_files='@SYSTEM_FILES@'
# The first line of every file that is written here; between the two stands how many folders were made for it.
mark_begin='@MARK_BEGIN@'
mark_end='@MARK_END@'
# The system's own certificates don't count.
curl_words='--capath /dev/null'

@UNIX@

has() {
  for program; do
    if command -v "$program" >/dev/null 2>&1; then return 0; fi
  done
  return 1
}

# The folder that containerd's config_path names, if it is set; of several the first.
containerd_folder() {
  { containerd config dump 2>/dev/null || cat /etc/containerd/config.toml; } |
    sed -n "s/^[[:space:]]*config_path[[:space:]]*=[[:space:]]*[\"']\([^\"':]\{1,\}\).*/\1/p" | head -n 1
}

hosts_toml() {
  cat <<TOML
@HOSTS_TOML@
TOML
}

# Docker brings a containerd of its own, which asks no registry by itself.
containerd_is_used() {
  has containerd || return 1
  [ -d @CONTAINERD@ ] || ! has dockerd || has kubelet crictl nerdctl
}

# Certificates that hosts.toml does not name are not heeded.
containerd_store() {
  folder=$(containerd_folder)
  for name in $names; do
    if [ "$action" = remove ]; then
      whole_file "$folder/$name/hosts.toml" ''
      certificate "$folder/$name"
    else
      certificate "$folder/$name" own
      if [ -n "$target" ]; then whole_file "$folder/$name/hosts.toml" "$(hosts_toml)"; fi
    fi
  done
}

k3s() {
  for kind in k3s rke2; do
    if [ "$action" = remove ] || [ ! -d /etc/rancher/$kind ]; then continue; fi
    say "note       $kind takes the CA from /etc/rancher/$kind/registries.yaml: put ca.pem somewhere, name it there
           for each name of the registry as configs: {\"NAME\": {tls: {ca_file: \"…\"}}}, and restart $kind."
  done
}

# A CA in the system's own store speaks for any name, so it is used only when asked for. It takes a file for each
# certificate.
system_store() {
  store=''
  for place in @SYSTEM_PLACES@; do
    if [ -z "$store" ] && [ -d "${place%%:*}" ] && has "${place#*:}"; then store=${place%%:*} refresh=${place#*:}; fi
  done
  if [ -z "$store" ]; then
    trouble "the system's store is in none of the places that are known: @SYSTEM_PLACES@"
    return
  fi
  before=$changes number=0
  for one in $system_files; do
    number=$((number + 1))
    whole_file "$store/$one" "$(printf '%s\n' "$pem" | awk -v n="$number" '/-BEGIN/ { i++ } i == n')"
  done
  if [ "$action" = remove ] || { [ "$action" = install ] && [ -z "$keep" ]; }; then
    for other in $(set +f && cd "$store" && ls -d @SYSTEM_STEM@-*.crt 2>/dev/null); do
      case " $system_files " in *" $other "*) ;; *) if is_ours "$store/$other"; then remove_ours "$store/$other"; fi ;; esac
    done
  fi
  if [ "$changes" != "$before" ]; then
    # Debian's program leaves its links to what is gone, unless it makes all of them anew.
    if [ "$refresh" = update-ca-certificates ] && [ "$action" = remove ]; then refresh="$refresh --fresh"; fi
    said=$($refresh 2>&1) || trouble "$refresh: $said"
    say "note       Programs that run already, Docker too, see the system's store when they are restarted."
  fi
}

# Whether the first of the folders in which Podman looks, for all users, has the CA for the name $1.
is_covered() {
  for folder in @CONTAINERS@/$1 @DOCKER@/$1; do
    if [ -d "$folder" ]; then
      holds "$folder"
      return
    fi
  done
  return 1
}

# Rootless Docker looks nowhere else. Podman looks into its user's own folder first, which is used only where it
# must be: it would hide the machine's.
own_runtimes() {
  config=${XDG_CONFIG_HOME:-$HOME/.config}
  found=''
  if has dockerd-rootless.sh || [ -d "$config/docker" ]; then
    found=yes
    certificates "@ROOTLESS_DOCKER@"
  fi
  if has podman skopeo buildah; then
    found=yes
    for name in $names; do
      if [ "$action" != remove ] && is_covered "$name"; then say "ok         $name: Podman has it from the machine's folders"
      else certificate "@USERS_CONTAINERS@/$name"; fi
    done
  fi
  [ -n "$found" ] || trouble "neither rootless Docker nor Podman is here: run this as root, with sudo for example"
}

read_words "$@"
read_ca
if [ "$(id -u)" = 0 ]; then
  # Docker's folders are read by Podman, CRI-O and skopeo too, where these have none of their own.
  certificates @DOCKER@
  if has podman skopeo buildah crio || [ -d @CONTAINERS@ ]; then certificates @CONTAINERS@; fi
  if containerd_is_used; then
    if [ -n "$(containerd_folder)" ]; then containerd_store
    elif [ "$action" != remove ]; then
      say "note       containerd has no config_path in /etc/containerd/config.toml. Where Kubernetes uses it:
           set config_path = \"@CONTAINERD@\" there, restart containerd, run this again."
    fi
  fi
  k3s
  if [ -n "$system" ]; then system_store; fi
else
  if [ -n "$system" ]; then stop 2 "--system: the system's store is root's; run this as root."; fi
  say "For the user $(id -un) alone. Run as root, it is for the whole machine."
  own_runtimes
fi
ask_registry
finish
