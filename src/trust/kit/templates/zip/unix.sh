say() { printf '%s\n' "$*"; }
stop() {
  code=$1
  shift
  printf '%s\n' "$*" >&2
  exit "$code"
}

# What could not be done, in words; the rest goes on.
trouble() {
  troubles=$((troubles + 1))
  printf 'PROBLEM    %s\n' "$*" >&2
}

read_words() {
  action='' system='' keep=yes troubles=0 wanting=0 changes=0
  for word; do
    case $word in
      check | install | remove) action=$word ;;
      --system) system=yes ;;
      --remove-old) keep='' ;;
      *) stop 2 "unknown word: $word
$usage" ;;
    esac
  done
  [ -n "$action" ] || stop 2 "$usage"
}

sha256_of_stdin() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum
  elif command -v shasum >/dev/null 2>&1; then shasum -a 256
  else openssl dgst -sha256 -r
  fi | {
    read -r sum _
    printf '%s' "$sum"
  }
}

# The certificate, into $pem. Nothing but what was checked here is used.
read_ca() {
  ca=$(dirname -- "$0")/ca.pem
  [ -f "$ca" ] || stop 4 "There is no ca.pem beside this script: unpack the whole kit."
  pem=$(cat "$ca")
  got=$(printf '%s\n' "$pem" | sha256_of_stdin)
  [ "$got" = "$sha256" ] || stop 4 "ca.pem is not the certificate that this kit was made with.
  wanted SHA-256 $sha256
  got            $got"
}

is_ours() {
  if [ -h "$1" ] || [ ! -f "$1" ] || [ ! -r "$1" ]; then return 1; fi
  case $(head -n 1 "$1") in "$mark_begin"*) return 0 ;; esac
  return 1
}

# What stands below the mark.
body_of() { sed 1d "$1"; }

may_be_read() {
  # shellcheck disable=SC2012 # its mode, in every shell and system
  case $(ls -ld "$1") in -rw-r--r--*) return 0 ;; esac
  return 1
}

# Makes the folder and those above it that are missing, and counts them in $made. Whoever may change a folder decides
# what is in it: where root writes, each folder on the way must be root's, and no link.
make_folder() {
  case $1 in '' | /) return 0 ;; esac
  make_folder "${1%/*}" || return 1
  if [ "$(id -u)" = 0 ] && [ -h "$1" ]; then
    trouble "$1 is a symbolic link: nothing is written there"
    return 1
  fi
  if [ ! -d "$1" ]; then
    said=$(mkdir "$1" 2>&1 && chmod 0755 "$1" 2>&1) || {
      trouble "make $1: $said"
      return 1
    }
    made=$((made + 1))
  elif [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2012,SC2046 # its owner, in every shell and system
    set -- "$1" $(ls -ldn "$1")
    if [ "$4" != 0 ]; then
      trouble "$1 does not belong to root: nothing is written there"
      return 1
    fi
    case $2 in ????????w*)
      trouble "everybody may write to $1: nothing is written there"
      return 1
      ;;
    esac
  fi
}

# unmake FOLDER COUNT: takes away so many folders upwards, as far as nothing is in them.
unmake() {
  if [ "$2" -gt 0 ] && rmdir "$1" 2>/dev/null; then unmake "${1%/*}" $(($2 - 1)); fi
}

# How many folders were made for the file $1, as its mark says.
made_for() {
  set -- "$(head -n 1 "$1")"
  set -- "${1#"$mark_begin"}"
  set -- "${1%%[!0-9]*}"
  say "${1:-0}"
}

# write_ours FILE BODY: whole or not at all.
write_ours() {
  made=0
  if make_folder "${1%/*}"; then
    if is_ours "$1"; then made=$(made_for "$1"); fi
    temporary=${1%/*}/.${1##*/}.drydock
    text=$mark_begin$made$mark_end'
'$2
    rm -f "$temporary"
    # cat says what is wrong with the disk; the shell's own printf may not.
    if said=$({ printf '%s\n' "$text" | cat >"$temporary" && chmod 0644 "$temporary"; } 2>&1) &&
      [ "$(cat "$temporary")" = "$text" ] && { sync "$temporary" 2>/dev/null || sync; } &&
      said=$(mv -f "$temporary" "$1" 2>&1); then
      say "installed  $1"
      changes=$((changes + 1))
      return
    fi
    rm -f "$temporary"
    trouble "write $1: $said"
  fi
  unmake "${1%/*}" "$made"
}
temporary=''
trap 'if [ -n "$temporary" ]; then rm -f "$temporary"; fi' EXIT
trap 'exit 130' HUP INT TERM

# Folders that may be empty when all is removed, the last one first: "COUNT FOLDER", one a line.
emptied=''
remove_ours() {
  count=$(made_for "$1")
  if said=$(rm -f "$1" 2>&1); then
    say "removed    $1"
    changes=$((changes + 1))
    emptied="$count ${1%/*}
$emptied"
  else trouble "remove $1: $said"; fi
}

# Whether the certificates in the folder $1 hold the CA.
holds() {
  case $(set +f && cat "$1"/*.crt 2>/dev/null) in *"$pem"*) return 0 ;; esac
  return 1
}

# certificate FOLDER [own]: the CA in the folder; $target is then the file of ours. A file of somebody else's is left
# alone, and will do if it has the CA, unless "own". Certificates that an earlier kit put there stay, below ours,
# unless --remove-old.
certificate() {
  ours='' free=''
  for file in $files; do
    if is_ours "$1/$file"; then ours=${ours:-$1/$file}
    elif [ ! -e "$1/$file" ] && [ ! -h "$1/$file" ]; then free=${free:-$1/$file}; fi
  done
  target=${ours:-$free}
  case $action in
    check)
      if ! holds "$1" || { [ -z "$ours" ] && [ -n "${2-}" ]; }; then
        if [ -n "$ours" ]; then say "old        $ours: another CA"; else say "missing    $1"; fi
      elif [ -n "$ours" ] && ! may_be_read "$ours"; then say "unreadable $ours: not all may read it"
      else
        say "ok         ${ours:-$1}"
        return
      fi
      wanting=$((wanting + 1))
      ;;
    install)
      body=$pem
      if [ -n "$ours" ] && [ -n "$keep" ]; then
        body=$(body_of "$ours")
        case $body in *"$pem"*) ;; *) body="$pem
$body" ;; esac
      fi
      if [ -z "$ours" ] && [ -z "${2-}" ] && holds "$1"; then say "ok         $1: there, and not drydock's"
      elif [ -z "$target" ]; then trouble "$1 holds files of these names that are not drydock's: $files"
      elif [ -n "$ours" ] && [ "$(body_of "$ours")" = "$body" ] && may_be_read "$ours"; then say "ok         $ours"
      else write_ours "$target" "$body"; fi
      ;;
    remove)
      if [ -n "$ours" ]; then remove_ours "$ours"
      elif holds "$1"; then say "left       $1: there, and not drydock's"
      else say "not there  $1"; fi
      ;;
  esac
}

# certificates BASE: the folder below BASE for each name of the registry.
certificates() {
  for name in $names; do certificate "$1/$name"; done
}

# whole_file FILE BODY: a file that is drydock's from its first line to its last.
whole_file() {
  there=''
  if is_ours "$1"; then there=ours; elif [ -e "$1" ] || [ -h "$1" ]; then there=other; fi
  if [ "$there" = ours ] && [ "$(body_of "$1")" = "$2" ] && may_be_read "$1"; then same=yes; else same=''; fi
  case $action in
    check)
      if [ -n "$same" ]; then
        say "ok         $1"
        return
      fi
      case $there in
        ours) say "old        $1: it says something else" ;;
        other) say "other      $1: it is not drydock's" ;;
        *) say "missing    $1" ;;
      esac
      wanting=$((wanting + 1))
      ;;
    install)
      if [ -n "$same" ]; then say "ok         $1"
      elif [ "$there" = other ]; then
        trouble "$1 is not drydock's. Move it away, or see to it that it says this:
$2"
      else write_ours "$1" "$2"; fi
      ;;
    remove)
      case $there in
        ours) remove_ours "$1" ;;
        other) say "left       $1: it is not drydock's" ;;
      esac
      ;;
  esac
}

# Asks the registry itself, where curl is there.
ask_registry() {
  if [ "$action" = remove ] || ! command -v curl >/dev/null 2>&1; then return; fi
  for address in $addresses; do
    # shellcheck disable=SC2086 # a list of words
    if said=$(curl $curl_words -sS -o /dev/null --max-time 10 --cacert "$ca" "https://$address/v2/" 2>&1); then
      say "reached    https://$address: its certificate is right"
    else say "NOT PROVEN https://$address: ${said%%'
'*}"; fi
  done
}

finish() {
  printf '%s' "$emptied" | while read -r count one; do unmake "$one" "$count"; done
  [ "$troubles" = 0 ] || stop 9 "Not all could be done: see PROBLEM above."
  [ "$wanting" = 0 ] || stop 1 "Not everything is in place here: install puts that right."
}
