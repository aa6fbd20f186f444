#!/usr/bin/env bash
# iptables-nft-save 1.8.9 shows rules that nft has added to a table of iptables-nft without what it has no words for,
# and says nothing: a rule that drops two addresses is shown as one that drops everything, a range as its last
# address. For other rules (ct state) it does say that the table is incompatible. Whoever reads, or restores, what it
# saved gets another firewall.
#
# Needs root (a network namespace of its own) and apt. It fails if the behaviour has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
cd "$dir"
packages=(iptables=1.8.9-2 libxtables12=1.8.9-2 libnftnl11=1.2.4-2 nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2)
apt-get download -q "${packages[@]}" >/dev/null || { echo "Debian 12 has not these packages any more: ${packages[*]}" >&2; exit 2; }
for deb in *.deb; do dpkg -x "$deb" root; done
export LD_LIBRARY_PATH=$dir/root/usr/lib/x86_64-linux-gnu XTABLES_LIBDIR=$dir/root/usr/lib/x86_64-linux-gnu/xtables

cat >try.sh <<'E2'
set -eu
nft=root/usr/sbin/nft iptables=root/usr/sbin/xtables-nft-multi
$iptables iptables -A INPUT -s 192.0.2.1 -j ACCEPT
show() {
	$nft add rule ip filter INPUT "$@" drop
	handle=$($nft -a list chain ip filter INPUT | sed -n 's/.*drop # handle //p')
	echo "nft: $* drop   iptables-nft-save: $($iptables iptables-save -t filter 2>&1 | grep -e '-j DROP' -e incompatible)"
	$nft delete rule ip filter INPUT handle "$handle"
}
show ip saddr '{ 192.0.2.3, 192.0.2.4 }'
show ip saddr 192.0.2.3-192.0.2.9
show udp length 100
show ip saddr 192.0.2.7 ip saddr 192.0.2.8
show ct state new
E2
root/usr/sbin/xtables-nft-multi iptables --version
unshare --net bash try.sh | tee seen
diff seen - <<'E2'
nft: ip saddr { 192.0.2.3, 192.0.2.4 } drop   iptables-nft-save: -A INPUT -j DROP
nft: ip saddr 192.0.2.3-192.0.2.9 drop   iptables-nft-save: -A INPUT -s 192.0.2.9/32 -j DROP
nft: udp length 100 drop   iptables-nft-save: -A INPUT -p udp -j DROP
nft: ip saddr 192.0.2.7 ip saddr 192.0.2.8 drop   iptables-nft-save: -A INPUT -s 192.0.2.8/32 -j DROP
nft: ct state new drop   iptables-nft-save: # Table `filter' is incompatible, use 'nft' tool.
E2
echo "as before: what iptables has no words for is left out"
