package main

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// security is what decides whether this process may trace.
type security struct {
	rights capabilities
	// lockdown is /sys/kernel/security/lockdown, like "none [integrity] confidentiality"; empty if there is none.
	lockdown string
	// users is /proc/self/uid_map: which users of the machine this process's user namespace knows.
	users string
}

func securityHere() security {
	lockdown, _ := os.ReadFile("/sys/kernel/security/lockdown")
	users, _ := os.ReadFile("/proc/self/uid_map")
	return security{rights: permitted(), lockdown: string(lockdown), users: string(users)}
}

// isLocked reports whether the kernel shows its memory to nobody. A program that reads it is refused then as one that
// calls a function which there is not.
func (s security) isLocked() bool { return strings.Contains(s.lockdown, "[confidentiality]") }

const unlock = "the kernel is locked down (/sys/kernel/security/lockdown has [confidentiality]), and shows its memory to nobody: boot with lockdown=integrity"

// backendHint says what may be in the way of the back-ends that there are.
func (s security) backendHint() string {
	if s.isLocked() {
		return unlock
	}
	return "try --backend auto or --backend tracepoint, and -v for the reasons"
}

// allUsers is the uid_map of the initial user namespace: every user by the number that it has.
const allUsers = "0 0 4294967295"

// hint says what is in the way of tracing, and who could remove it: the first thing that it is for sure.
func (s security) hint() string {
	has := func(any ...int) bool {
		for _, c := range any {
			if s.rights&(1<<c) != 0 {
				return true
			}
		}
		return false
	}
	switch {
	case !has(unix.CAP_SYS_ADMIN, unix.CAP_BPF) || !has(unix.CAP_SYS_ADMIN, unix.CAP_PERFMON) || !has(unix.CAP_SYSLOG):
		return "run it as root (sudo), or with CAP_BPF, CAP_PERFMON and CAP_SYSLOG (before kernel 5.11 also CAP_SYS_RESOURCE)"
	case !has(unix.CAP_SYS_RESOURCE):
		return "it lacks CAP_SYS_RESOURCE, without which kernels before 5.11 count BPF's memory against ulimit -l: add it, or raise that limit"
	case s.users != "" && strings.Join(strings.Fields(s.users), " ") != allUsers:
		return "this is a user namespace (a rootless container), whose rights do not reach the kernel: run it outside"
	case s.isLocked():
		return unlock
	}
	return "this process has the rights for it: a security module (SELinux, AppArmor) or a container's seccomp filter refuses all the same; allow it bpf(2) there, or run it outside"
}

// hiddenHint says what hides the kernel's symbols, by kernel.kptr_restrict: 2 is from everybody, less is from those
// without CAP_SYSLOG (kallsyms_show_value in the kernel).
func hiddenHint(restrict string) string {
	if strings.TrimSpace(restrict) == "2" {
		return "kernel.kptr_restrict is 2, which hides them from everybody: sysctl -w kernel.kptr_restrict=1"
	}
	return "they are for those with CAP_SYSLOG: run it as root (sudo)"
}
