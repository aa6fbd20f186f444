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
	case strings.Contains(s.lockdown, "[confidentiality]"):
		return "the kernel is locked down (/sys/kernel/security/lockdown has [confidentiality]), and shows its memory to nobody: boot with lockdown=integrity"
	}
	return "this process has the rights for it: a security module (SELinux, AppArmor) or a container's seccomp filter refuses all the same; allow it bpf(2) there, or run it outside"
}
