#!/usr/bin/env bash
# nft 1.0.6 lists two comparisons of two fields, ">=" and "<=" or "<" and ">", as one range of the second field: the rule
# ip length >= 50 ip ttl <= 63 drop is listed as ip ttl 50-63 drop, in JSON as well. The kernel has it as it was written.
# Saved and restored it is another rule: one that lets a packet of 100 bytes with a TTL of 9 pass.
#
# ipiptrace reads what nft lists; only a range that ends before it begins shows that it is none. Needs root, unshare and nft.
# It fails if the behaviour has changed.
set -euo pipefail
[[ ${1:-} == inside ]] || exec unshare -n "$0" inside
nft -f - <<'E2'
table ip t {
	chain c {
		ip length >= 50 ip ttl <= 63 drop
		tcp dport < 50 tcp sport > 63 drop
		ip id < 50 ip ttl > 20 drop
	}
}
E2
nft --version
nft list chain ip t c | grep drop | tee /dev/stderr | diff - <(printf '\t\t%s drop\n' 'ip ttl 50-63' 'tcp sport != 50-63' 'ip ttl != 50-20')
[[ $(nft --debug=netlink list chain ip t c | grep -c 'payload load .*network header') == 4 ]]
echo 'as before: the kernel compares both fields, and the list has one'
