#!/usr/bin/env bash
# nft 1.0.6 makes one comparison of two with "!=" of fields that lie side by side: of tcp sport != 22 tcp dport != 80
# the kernel gets "these four bytes are not 22, 80". That matches a packet to port 80 from any port but 22. The matches of a
# rule are ANDed (nft(8)), and nft lists the rule as it was written. The same two matches in two rules, one of which jumps to
# the other, do not match that packet. It is so of icmp type and code, and of ip ttl and protocol, too.
#
# ipiptrace takes such a rule for one that may match. Needs root, unshare and nft. It fails if the behaviour has changed.
set -euo pipefail
[[ ${1:-} == inside ]] || exec unshare -n "$0" inside
ip link set lo up
nft -f - <<'E2'
table ip t {
	chain apart {
		tcp dport != 80 counter comment "apart"
	}
	chain output {
		type filter hook output priority 0
		tcp sport 80 drop
		tcp sport != 22 tcp dport != 80 counter comment "joined"
		tcp sport != 22 jump apart
	}
}
E2
nft --version
nft --debug=netlink list table ip t | grep 'cmp neq reg 1 0x50001600'
timeout 1 bash -c "exec 3<>/dev/tcp/127.0.0.1/80" 2>/dev/null || true # a SYN to port 80, from another than 22
listed=$(nft list table ip t)
grep comment <<<"$listed"
grep -q 'tcp sport != 22 tcp dport != 80 counter packets [1-9].* comment "joined"' <<<"$listed"
grep -q 'tcp dport != 80 counter packets 0 bytes 0 comment "apart"' <<<"$listed"
echo 'as before: the rule with both matches what neither of them matches alone'
