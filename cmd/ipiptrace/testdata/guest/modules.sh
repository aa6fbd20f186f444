#!/bin/bash
# Modules come and go under a run, with each back-end that is named. Runs in a guest; prints a line a check, in the manner of go test.
failed=0
check() { # NAME STATUS
	if (($2 == 0)); then echo "--- PASS: modules/$1"; else echo "--- FAIL: modules/$1"; failed=1; fi
}
vip=192.0.2.80 director=192.0.2.1 far=192.0.2.2
ip link set lo up
ip addr add $vip/32 dev lo
ip netns add far
ip link add wire type veth peer name wire netns far
ip addr add $director/24 dev wire
ip link set wire up
ip -n far addr add $far/24 dev wire
ip -n far link set wire up
ip netns exec far sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wire.rp_filter=0

begin() { # BACKEND [NAME [FLAG…]]: follow everything for the service's addresses in the background
	rm -f ready$2
	ipiptrace --vip $vip,$director --backend "$1" --ready-file "$PWD/ready$2" "${@:3}" -v -o json >seen$2.jsonl 2>said$2 &
	pid=$!
}
ready() { # [NAME]
	for ((i = 0; i < 300; i++)); do [[ -e ready$1 ]] && return; sleep 0.1; done
	echo "never ready"; cat said$1; exit 1
}
attached() { cat /sys/kernel/debug/kprobes/list /sys/kernel/tracing/enabled_functions; bpftool link show; }
end() { kill -INT $pid; wait $pid; }
send() { bash -c "echo hello >/dev/udp/$vip/$1" 2>/dev/null; }
# From far to the director, whose IPVS sends it back in a tunnel.
balance() { ip netns exec far bash -c "echo hello >/dev/udp/$director/83" 2>/dev/null; }
balanced() { # what IPVS needs for that
	ipvsadm -A -u $director:83 -s rr && ipvsadm -a -u $director:83 -r $far -i
}
sees() { # PLACE COUNT: send until so many journeys have met the place
	for ((i = 0; i < 50; i++)); do
		balance
		(($(grep -c "\"type\":\"journey\".*\"hook\":\"$1\"" seen.jsonl) >= $2)) && return
		sleep 0.1
	done
	return 1
}
unload() { # MODULE…: what was just in use may be busy for a moment
	local module i
	for module; do
		for ((i = 0; i < 20; i++)); do rmmod $module 2>/dev/null && continue 2; sleep 0.1; done
		return 1
	done
}
account() { tail -n 1 seen.jsonl; }
began=$SECONDS

for backend in ${*:-auto kprobe}; do
	modprobe nf_tables || exit 1
	begin $backend && ready
	modprobe -a ipip ip_vs_rr && balanced || exit 1
	ip -n far link set tunl0 up
	sees ip_vs_xmit 1 && sees tunnel4_rcv 1
	check "$backend/places in modules that came later are watched" $?
	ipvsadm -C
	unload ip_vs_rr ip_vs
	gone=$?
	if grep -q 'a module came, place ip_vs_in, mechanism \(f\|kprobe-multi\)' said; then
		((gone != 0))
		check "$backend/a module in which a probe sits stays" $?
	else
		check "$backend/a module in which a kprobe sits can be unloaded" $gone
	fi
	before=$(grep -c '"hook":"ip_vs_xmit"' seen.jsonl)
	modprobe ip_vs_rr && balanced
	sees ip_vs_xmit $((before + 1))
	check "$backend/a module that went and came again is watched" $?
	ipvsadm -C
	((gone == 0)) && unload ip_vs_rr ip_vs
	modprobe -a sit nft_compat dummy
	nft 'add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport 81 drop'
	for _ in 1 2 3; do unload dummy; send 81; modprobe dummy; send 82; done
	# Of two limits only the kernel knows which one rejects: the expression is in a module of its own.
	nft 'add rule ip t i udp dport 84 limit rate over 9 mbytes/second reject; add rule ip t i udp dport 84 limit rate over 8 bytes/second burst 8 bytes reject'
	for ((i = 0; i < 50; i++)); do grep -q 'a module came, place nft_rule, functions 1' said && break; sleep 0.1; done
	send 84
	for ((i = 0; i < 50; i++)); do grep -q '"dport":84.*"fate"' seen.jsonl && break; sleep 0.1; done
	end
	grep -q '"type":"journey".*"dport":84.*"certainty":"observed"' seen.jsonl
	check "$backend/a rule whose expression came later is named" $?
	(($(grep -c '"type":"journey".*"dport":81.*"fate":"dropped"' seen.jsonl) == 3))
	check "$backend/every drop is seen while modules come and go" $?
	! grep -q '"function":"0x' seen.jsonl
	check "$backend/functions of modules that came later have names" $?
	account | grep -q '"type":"account".*"lost_events":0' && account | grep -q '"attached":\[[^]]*"tunnel4_rcv"' &&
		if ((gone == 0)); then account | grep -q '"place":"ip_vs_in","why":"module ip_vs is not loaded"'; else account | grep -q '"skipped":\[\]'; fi
	check "$backend/the account says what is watched in the end" $?
	nft delete table ip t
	unload ip_vs_rr ip_vs
	unload sit ipip tunnel4
	check "$backend/afterwards the module can be unloaded" $?
	((failed)) && cat seen.jsonl said
	rmmod dummy nft_compat nft_limit nft_reject_ipv4 nf_tables ip_tunnel 2>/dev/null
done

# What gives its privileges up watches no module that comes later, and says so.
begin auto -bare --no-diagnose && ready -bare
modprobe ipip
for ((i = 0; i < 50; i++)); do grep -q 'a module came' said-bare && break; sleep 0.1; done
end
tail -n 1 seen-bare.jsonl | grep -q '"place":"tunnel4_rcv","why":"module [a-z0-9]* came after the privileges to watch it were given up"'
check "without privileges a module that came later is not watched" $?
((failed)) && tail -n 1 seen-bare.jsonl
unload ipip tunnel4
rm -f seen-bare.jsonl

# Two runs at once see the same, and when they are killed nothing is left in the kernel.
before=$(attached) # a module that went with a kprobe in it leaves 5.10 with an address that another may have now
begin auto -one && one=$pid
begin kprobe -two && ready -one && ready -two
send 81
for ((i = 0; i < 50; i++)); do (($(cat seen-*.jsonl | wc -l) >= 2)) && break; sleep 0.1; done
ids=$(grep -ho '"id":"[0-9a-f]*"' seen-*.jsonl | sort | uniq -c)
[[ $ids == *' 2 "id"'* && $(wc -l <<<"$ids") == 1 ]]
check "two runs at once see the same" $?
running=$(attached)
kill -KILL $one $pid
wait $one $pid 2>/dev/null
for ((i = 0; i < 50; i++)); do
	left=$(attached)
	[[ $left == "$before" ]] && break
	sleep 0.1
done
[[ $left == "$before" && $running != "$before" ]]
check "runs that are killed leave nothing behind" $?
((failed)) && echo "$left" "$ids"
echo "    $(uname -r): $((SECONDS - began)) s"
exit $failed
