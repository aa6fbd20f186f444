#!/usr/bin/env bash
# iptables-legacy (1.8.9) does not save "! -i +" and "! -o +". Such a rule matches nothing, "+" being any device. Saved and
# restored, `! -i + -j DROP` is `-j DROP`, which drops everything; iptables -S shows the same. iptables-nft saves it whole.
#
# Nobody can read from what iptables says that such a rule matches nothing, ipiptrace neither. Needs root, unshare and both
# iptables. It fails if the behaviour has changed.
set -euo pipefail
[[ ${1:-} == inside ]] || exec unshare -n "$0" inside
ip link set lo up
counted() {
	echo x >/dev/udp/127.0.0.1/9
	iptables-legacy-save -c 2>/dev/null | grep -e '-A INPUT'
}
iptables-legacy --version
iptables-legacy -A INPUT ! -i + -j DROP
iptables-nft -A INPUT ! -i + -j DROP
[[ $(iptables-nft -S INPUT 2>/dev/null | tail -1) == '-A INPUT ! -i + -j DROP' ]]
counted | tee /dev/stderr | grep -qxF '[0:0] -A INPUT -j DROP'
iptables-legacy-save 2>/dev/null | iptables-legacy-restore
counted | tee /dev/stderr | grep -qxE '\[[1-9].*\] -A INPUT -j DROP'
echo 'as before: what dropped nothing drops everything when it is restored'
