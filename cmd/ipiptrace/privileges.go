package main

import (
	"errors"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities is a set; bit n is the capability with number n (linux/capability.h).
type capabilities uint64

// everything is what the process was given, whatever that is.
const everything = ^capabilities(0)

// reading is what a run needs once it is attached: the symbols of modules that come later are shown to
// CAP_SYSLOG only.
const reading = capabilities(1 << unix.CAP_SYSLOG)

// inspecting is what a run needs beside that, now and then, to read the state that explains a loss (each reader was
// tried without) and to watch what is in a module that comes later.
const inspecting = capabilities(0 |
	1<<unix.CAP_SYS_ADMIN | // enter a network namespace (setns); number BPF programs, links and types
	1<<unix.CAP_SYS_PTRACE | // the namespaces, sockets and socket options of other people's processes
	1<<unix.CAP_DAC_READ_SEARCH | // their /proc/PID/fd
	1<<unix.CAP_NET_ADMIN | // nftables, IPVS, xfrm, and the options of sockets
	1<<unix.CAP_NET_RAW | // iptables-legacy-save's socket
	1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON) // programs for a module's functions

// names are those of the capabilities in inspecting without which a part of the state is not read.
var names = []struct {
	number uint
	name   string
}{
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"}, {unix.CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"},
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"},
}

// stateLacks says what keeps the causes from having their state, with these capabilities; empty if nothing does.
func stateLacks(given capabilities) string {
	var missing []string
	for _, c := range names {
		if given&(1<<c.number) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return "causes will lack what is not read of the machine's state without " + strings.Join(missing, ", ") + ": run it as root (sudo), or add them"
}

// effective makes those capabilities effective that are in wanted, of the ones that the process may have.
// Files and settings are opened with everything, all else happens without.
func effective(wanted capabilities) {
	given := permitted()
	_ = setCapabilities(given&wanted, given) // what can't be lowered is as it was
}

// rights are what a run may do: everything up to the moment when it is attached, then little, and somewhat more in
// moments.
type rights struct {
	mu sync.Mutex
	// least is what is effective between those moments.
	least capabilities
}

// during runs do with all that the process still may have. Only one may at a time, the others wait.
func (r *rights) during(do func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	effective(everything)
	defer effective(r.least)
	do()
}

// attached leaves a run with what it needs from now on: to read events, and to explain them if it does that. The rest
// can't be had back, by what it runs neither: root's children get no more than it has itself (no_new_privs).
func (r *rights) attached(explains bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	need := reading
	effective(need)
	if bpfIsRefused() {
		need |= 1 << unix.CAP_BPF
	}
	kept := need
	if explains {
		kept |= inspecting
	}
	given := permitted()
	_ = setCapabilities(given&need, given&kept)
	_, _, _ = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) // every kernel has it
	r.least = need
}

// bpfIsRefused reports whether this process may not even ask about what it has open: kernels before 6.0
// refuse that without CAP_BPF if kernel.unprivileged_bpf_disabled is set.
func bpfIsRefused() bool {
	nothing := [16]byte{0: 0xff, 1: 0xff, 2: 0xff, 3: 0xff} // bpf_attr.info of file descriptor -1
	_, _, err := unix.Syscall(unix.SYS_BPF, unix.BPF_OBJ_GET_INFO_BY_FD, uintptr(unsafe.Pointer(&nothing)), unsafe.Sizeof(nothing))
	return errors.Is(err, unix.EPERM)
}

func permitted() capabilities {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return 0
	}
	return capabilities(sets[0].Permitted) | capabilities(sets[1].Permitted)<<32
}

// setCapabilities sets both sets on every thread, and lets no child inherit any.
func setCapabilities(effective, permitted capabilities) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := [2]unix.CapUserData{
		{Effective: uint32(effective), Permitted: uint32(permitted)},
		{Effective: uint32(effective >> 32), Permitted: uint32(permitted >> 32)},
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&sets[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
