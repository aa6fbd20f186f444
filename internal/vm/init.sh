#!/usr/bin/busybox sh
# The guest's first process: makes it a usual Linux, runs the command that the
# host put into /etc/vm/command, and hands over what came out of it. Each line on
# the port "status" is an event (ports.go). The host ends the guest.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root TERM=dumb LC_ALL=C

. /etc/vm/settings

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir /run/vm /run/lock /run/netns
for module in $modules; do modprobe $module; done
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t securityfs security /sys/kernel/security
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
hostname guest
ip link set lo up

# The ports appear one by one, and their names a moment after them.
cd /run/vm
for name in stdin stdout stderr out status; do
	until [ -e port.$name ]; do
		for p in /sys/class/virtio-ports/*; do
			[ -e $p/name ] && read found <$p/name && ln -sf /dev/${p##*/} port.$found
		done
	done
done
exec 3>port.status

# Ends what the command left behind, so that its output has an end. The command
# began a session; this script, the copiers and the kernel's threads are in none.
end_others() {
	for pass in 1 2 3; do
		for p in /proc/[0-9]*; do
			read stat <$p/stat && set -- ${stat##*) } && [ $4 != 0 ] && kill -9 ${p##*/}
		done 2>/dev/null
	done
}

# What passes through is counted: the host waits for this many bytes.
copy() { tee port.$1 <$1 | wc -c >$1.bytes; }

# A subshell opens the command's streams: it has no children whose end could
# interrupt it while it waits for the copiers.
streams() {
	mkfifo stdin stdout stderr
	copy stdout & out=$!
	copy stderr & err=$!
	cat port.stdin >stdin 2>/dev/null &
	echo ready >&3
	(exec setsid /bin/sh /etc/vm/command <stdin >stdout 2>stderr 3>&-)
	code=$?
	end_others
	wait $out $err
}

terminal() {
	echo 0 | tee stdout.bytes >stderr.bytes
	exec 4<>/dev/hvc0 # held open: a terminal forgets its size when nobody has it
	stty $terminal <&4
	echo ready >&3
	setsid -c /bin/sh /etc/vm/command <&4 >&4 2>&4 3>&- 4>&-
	code=$?
	end_others
}

if [ "$terminal" ]; then terminal; else streams; fi
[ "$out_wanted" ] && tar -C /out -cf port.out .
echo exit $code $(cat stdout.bytes stderr.bytes) >&3
while :; do sleep 1000; done
