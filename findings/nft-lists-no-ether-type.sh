#!/usr/bin/env bash
# nft 1.0.6 does not list "ether type ip" of a rule that asks for something else of IPv4: it takes the match for one
# that it has added by itself. But this one also asks for a device of Ethernet. `ether type ip ip ttl 1-255 drop` is listed as
# `ip ttl 1-255 drop`, in JSON as well, and yet drops nothing that comes by a tunnel of IPIP or a tun device. Restored from
# that list it does. In the same way `ct protocol tcp th dport 81 drop` becomes `th dport 81 drop`: the kernel drops what is
# TCP, the list says whatever has the port.
#
# ipiptrace reads what nft lists, and says that such rules drop the packet. Needs root, unshare and nft. It fails if the
# behaviour has changed.
set -euo pipefail
[[ ${1:-} == inside ]] || exec unshare -n "$0" inside
nft -f - <<'E2'
table inet t {
	chain input {
		type filter hook input priority 0
		ether type ip ip ttl 1-255 counter drop
		ct protocol tcp th dport 81 drop
	}
}
E2
nft --version
asked() { nft --debug=netlink list table inet t | grep -c -e 'meta load iiftype' -e 'ct load protocol' || true; }
listed=$(nft list table inet t)
grep -e ttl -e 81 <<<"$listed"
json=$(nft -j list table inet t)
[[ $listed != *ether* && $json != *ether* && $listed != *ct* && $json != *'"ct"'* && $(asked) == 2 ]]
nft delete table inet t
nft -f - <<<"$listed"
[[ $(asked) == 0 ]]
echo 'as before: the kernel asks for the type of the device, and for the protocol, and the list does not say so'
