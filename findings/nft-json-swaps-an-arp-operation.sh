#!/usr/bin/env bash
# nft 1.0.6 with -n and -j lists the operation of ARP by the bytes of the packet: `arp operation reply` is 2, and listed as 512.
# `nft -n list` without -j says 2. Restored from that JSON the rule asks for an operation that nobody has, and drops nothing.
#
# ipiptrace reads nft -n -j, and takes 512 for a reply, too. Needs root, unshare and nft. It fails if the behaviour has changed.
set -euo pipefail
[[ ${1:-} == inside ]] || exec unshare -n "$0" inside
nft -f - <<'E2'
table arp t {
	chain input {
		type filter hook input priority 0
		arp operation reply drop
	}
}
E2
nft --version
listed=$(nft -n list table arp t)
json=$(nft -n -j list ruleset)
grep operation <<<"$listed"
grep -o '"field": "operation"}}, "right": [0-9]*' <<<"$json"
[[ $listed == *'operation 2 drop'* && $json == *'"right": 512'* ]]
nft delete table arp t
nft -j -f - <<<"$json"
[[ $(nft list table arp t) == *'operation 512 drop'* ]]
echo 'as before: restored from JSON the rule asks for the operation 512'
