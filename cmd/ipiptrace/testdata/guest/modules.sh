#!/bin/bash
# Modules come and go under a run. Runs in a guest; prints a line a check, in the manner of go test.
failed=0
check() { # NAME STATUS
	if (($2 == 0)); then echo "--- PASS: modules/$1"; else echo "--- FAIL: modules/$1"; failed=1; fi
}
vip=192.0.2.80
ip link set lo up
ip addr add $vip/32 dev lo

begin() { # BACKEND: follow everything for the VIP in the background
	rm -f ready
	ipiptrace --vip $vip --backend "$1" --no-diagnose --ready-file "$PWD/ready" -o json >seen.jsonl 2>said &
	pid=$!
	for ((i = 0; i < 300; i++)); do [[ -e ready ]] && return; sleep 0.1; done
	echo "never ready"; cat said; exit 1
}
end() { kill -INT $pid; wait $pid; }
send() { bash -c "echo hello >/dev/udp/$vip/$1" 2>/dev/null; }

for backend in auto kprobe; do
	modprobe -a ipip nf_tables || exit 1
	begin $backend
	rmmod ipip # tunnel4_rcv is in tunnel4, which ipip keeps
	rmmod tunnel4 2>/dev/null
	gone=$?
	if [[ $backend == auto ]] && ipiptrace probes -o json | grep -q '"tunnel4_rcv","mechanism":"fentry"'; then
		((gone != 0))
		check "$backend/a module in which an fentry sits stays" $?
	else
		check "$backend/a module in which a kprobe sits can be unloaded" $gone
	fi
	modprobe -a ipip sit nft_compat dummy
	nft 'add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport 81 drop'
	for _ in 1 2 3 4 5; do rmmod dummy; send 81; modprobe dummy; send 82; done
	sleep 2
	end
	(($(grep -c '"type":"journey".*"dport":81.*"fate":"dropped"' seen.jsonl) == 5))
	check "$backend/every drop is seen while modules come and go" $?
	! grep -q '"function":"0x' seen.jsonl
	check "$backend/functions of modules that came later have names" $?
	tail -n 1 seen.jsonl | grep -q '"type":"account".*"lost_events":0'
	check "$backend/the account is there" $?
	nft delete table ip t
	rmmod sit && rmmod ipip && rmmod tunnel4
	check "$backend/afterwards the module can be unloaded" $?
	((failed)) && cat seen.jsonl said
	rmmod dummy nft_compat nf_tables
done
exit $failed
