#!/bin/bash
# Collects, in a guest, the fixtures of TestFixturesAreReadTheSame of the lab's director and real server into a
# directory for the kernel below DIR.
# `make fixtures` runs it as `ipiptrace lab healthy -- bash collect.sh DIR`: traffic flows while it runs.
set -euo pipefail
out=$1/$(uname -r | grep -oE "^[0-9]+\.[0-9]+") # 6.1
mkdir -p "$out"
on() { nsenter --net="$1" "${@:2}"; }
for ns in "$IPIPTRACE_DIRECTOR" "$IPIPTRACE_REAL_SERVER"; do
	on "$ns" nft -f - <<'RULES'
table inet lab {
	set blocked { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7 }; }
	map ports { type inet_service : verdict; elements = { 81 : drop, 8080 : accept }; }
	chain other { comment "a chain's"; ip saddr @blocked counter drop comment "x # handle 9"; }
	chain input {
		type filter hook input priority 0; policy accept;
		ct state established,related accept
		tcp dport vmap @ports
		udp dport { 53, 5000-5010 } limit rate 10/second accept
		jump other
	}
}
RULES
	on "$ns" iptables-nft -A INPUT -s 192.0.2.9 -p tcp -m tcp --dport 80 -m comment --comment 'two words' -j DROP
	on "$ns" iptables-nft -t mangle -A PREROUTING -p udp -j MARK --set-mark 7
	modprobe -q nfnetlink_hook || true # since 5.14
	on "$ns" iptables-legacy -N own
	on "$ns" iptables-legacy -A own -p icmp -j RETURN
	on "$ns" iptables-legacy -A INPUT -s 192.0.2.10/32 -m conntrack --ctstate NEW -j own
done
sleep 3 # connections come into being
/bin/read.test -test.run '^TestCollect$' -collect "$out/director.txtar" -netns "$IPIPTRACE_DIRECTOR"
/bin/read.test -test.run '^TestCollect$' -collect "$out/real-server.txtar" -netns "$IPIPTRACE_REAL_SERVER"
