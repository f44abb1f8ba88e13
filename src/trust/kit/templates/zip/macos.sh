#!/bin/sh
# Makes Docker Desktop on this Mac trust the registry @REGISTRY@.
# README.txt beside it says how it is used.
set -uf
umask 022
export LC_ALL=C

usage="usage: sh $0 check | install | remove  [--remove-old]"

# The registry, as image references name it to the letter; and where it answers.
names='@NAMES@'
addresses='@ADDRESSES@'
# Of ca.pem.
sha256='@SHA256@'
# The CA's file, and another name for where somebody has one of that name.
files='@FILES@'
# The first line of every file that is written here; between the two stands how many folders were made for it.
mark_begin='@MARK_BEGIN@'
mark_end='@MARK_END@'
curl_words=''

@UNIX@

read_words "$@"
if [ -n "$system" ]; then stop 2 "$usage"; fi
if [ "$(id -u)" = 0 ]; then stop 2 "Docker Desktop is each user's own: run this as that user, without sudo."; fi
read_ca
certificates "$HOME/@DESKTOP@"
ask_registry
if [ "$changes" != 0 ]; then say "Restart Docker Desktop: it reads these files when it starts."; fi
finish
