#!/bin/bash
# A run that is told to end says its account at once, whatever is going on, with each back-end that the kernel has: quiet,
# and while packets come faster than anybody can follow. Runs in a guest; prints a line a check, in the manner of go test.
failed=0
check() { # NAME STATUS
	if (($2 == 0)); then echo "--- PASS: ends/$1"; else echo "--- FAIL: ends/$1"; failed=1; fi
}
limit=500 # ms from the moment that a run is told to end to its account
vip=192.0.2.80 far=192.0.2.2 port=81
modprobe -a pktgen ipip ip_vs nf_tables || exit 1
ip link set lo up
ip addr add $vip/32 dev lo
ip netns add far
ip link add wire type veth peer name wire netns far
ip addr add 192.0.2.1/24 dev wire
ip link set wire up
ip -n far addr add $far/24 dev wire
ip -n far link set wire up
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wire.rp_filter=0
nft "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport $port drop"

# The kernel's own packet generator makes up to 50,000 datagrams a second for the service, 1,000,000 at most.
pktgen() { ip netns exec far bash -c 'while (($# > 1)); do echo "$2" >"/proc/net/pktgen/$1"; shift 2; done' - "$@"; }
pktgen kpktgend_0 "rem_device_all" kpktgend_0 "add_device wire" wire "count 1000000" wire "delay 20000" wire "pkt_size 64" \
	wire "dst $vip" wire "src_min $far" wire "src_max $far" wire "udp_dst_min $port" wire "udp_dst_max $port" \
	wire "dst_mac $(</sys/class/net/wire/address)" || exit 1
flood() { pktgen pgctrl start & flooding=$!; }
calm() { pktgen pgctrl stop; wait $flooding; }
received() { cat /sys/class/net/wire/statistics/rx_packets; }

mkfifo said
begin() { # FLAG…: a run in the background; what it says comes out of 3
	rm -f ready
	ipiptrace --vip $vip --port $port -o json --ready-file "$PWD/ready" "$@" >seen.jsonl 2>said &
	pid=$!
	exec 3<said
	until [[ -e ready ]]; do
		kill -0 $pid 2>/dev/null || return 1
		sleep 0.1
	done
}
ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
account() { # SINCE: waits for the account; took is how many ms after SINCE it came
	account=
	while read -r -t 60 account <&3; do [[ $account == journeys\ * ]] && break; done
	took=$(($(ms) - $1))
}
over() { # NAME DETAIL: the account has come; the run ends when everything is detached
	local since=$(ms)
	[[ $account == journeys\ * ]] && ((took <= limit))
	check "$1" $?
	wait $pid
	exec 3<&-
	echo "    $1: account after $took ms, end $(($(ms) - since)) ms later; $2 ${account%% · missed*}"
}

offered=()
for tier in auto fentry kprobe-multi kprobe tracepoint; do
	if ! begin --backend $tier; then
		wait $pid && check "$tier/begins" 1
		exec 3<&-
		echo "    $tier: not in this kernel"
		continue
	fi
	offered+=($tier)
	sleep 1
	since=$(ms)
	kill -TERM $pid
	account $since
	over "$tier/quiet" ""
done
[[ " ${offered[*]} " == *" auto "*" tracepoint "* ]]
check "auto and tracepoint are offered" $?

for tier in "${offered[@]}"; do
	begin --backend $tier
	flood
	sleep 1
	before=$(received)
	sleep 0.5
	packets=$((($(received) - before) * 2))
	since=$(ms)
	kill -TERM $pid
	account $since
	over "$tier/in a flood" "$packets packets/s;"
	calm
done

flood
begin --duration 1s
since=$(ms)
account $((since + 1000))
over "auto/--duration in a flood" ""
calm
echo "    $(uname -r): $SECONDS s"
exit $failed
