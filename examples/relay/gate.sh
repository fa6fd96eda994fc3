#!/bin/sh
# What a key may do on tresorpayd's host: bill, and read the feed; nothing else. In ~tresorpay/.ssh/authorized_keys:
#
#     restrict,command="/usr/local/lib/tresorpayd/gate.sh" ssh-ed25519 AAAA… shop@web1
#
# The account is a member of tresorpayd's group. It needs no shell of its own and no access to the secret: `add` and
# `list` read the database only.
set -euf

deny() {
    echo "gate: not allowed: ${SSH_ORIGINAL_COMMAND:-a shell}" >&2
    exit 2
}

number() { case $1 in '' | *[!0-9]*) deny ;; esac; }

# shellcheck disable=SC2086 # into words, on purpose; -f above keeps file names out of it
set -- ${SSH_ORIGINAL_COMMAND:-}
case "$*" in
    'tresorpayd add -')
        exec tresorpayd add - ;;
    'tresorpayd list --json --since '*' --limit '*)
        [ $# -eq 7 ] || deny
        number "$5"
        number "$7"
        exec tresorpayd list --json --since "$5" --limit "$7" ;;
    *) deny ;;
esac
