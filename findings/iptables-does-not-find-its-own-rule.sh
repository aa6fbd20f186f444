#!/usr/bin/env bash
# iptables 1.8.9 does not find a rule again by the words in which it lists it: `-m recent --name a --set` is listed with
# "--mask 255.255.255.255 --rsource", and `iptables -D` of that line says "Bad rule (does a matching rule exist in that
# chain?)". Both back-ends. connlimit's "--connlimit-mask 32" is the same.
#
# A rule that was made with that mask written out is found: the mask that is filled in and the one that is read from words
# are not the same bytes. Whoever deletes rules by what iptables-save prints, a script or a
# person, leaves such a rule where it is.
#
# ipiptrace deletes such a rule by nft's handle, or by its number while that still is this line. Needs root; runs in a
# network namespace of its own. It fails if the behaviour has changed.
set -euo pipefail
[[ -n ${IN_A_NAMESPACE:-} ]] || IN_A_NAMESPACE=1 exec unshare --net "$0"
iptables-nft --version
for iptables in iptables-nft iptables-legacy; do
	for match in "-m recent --name a --set" "-p tcp -m connlimit --connlimit-above 2"; do
		$iptables -A INPUT $match -j DROP
		listed=$($iptables -S INPUT | tail -n 1)
		if $iptables -D ${listed#-A } 2>/dev/null; then
			echo "$iptables finds it: $listed"
			exit 1
		fi
		echo "$iptables does not find what it lists: $listed"
		$iptables -D INPUT $match -j DROP
	done
done
