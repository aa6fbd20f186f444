//go:build native

package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// counters are those of the rules and policies of iptables-legacy: of a rule by its number in the chain, of a policy by 0.
// They are read as iptables-save does it, but a program is not run for each packet.
func counters() (map[counted]uint64, error) {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	all := map[counted]uint64{}
	for _, table := range strings.Fields(string(names)) {
		// struct ipt_getinfo and struct ipt_get_entries (linux/netfilter_ipv4/ip_tables.h)
		info := make([]byte, 84)
		if err := ask(fd, 64, table, info); err != nil {
			return nil, fmt.Errorf("IPT_SO_GET_INFO of %s: %w", table, err)
		}
		size := binary.NativeEndian.Uint32(info[80:])
		entries := make([]byte, 40+size)
		binary.NativeEndian.PutUint32(entries[32:], size)
		if err := ask(fd, 65, table, entries); err != nil {
			return nil, fmt.Errorf("IPT_SO_GET_ENTRIES of %s: %w", table, err)
		}
		countEntries(all, table, info, entries[40:])
	}
	return all, nil
}

func ask(fd, option int, table string, b []byte) error {
	copy(b[:31], table)
	size := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, uintptr(option), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// countEntries adds a table's. Where a built-in chain begins and where its policy is says ipt_getinfo; any other begins with a
// target ERROR that has its name, and ends in a return that nobody has written.
func countEntries(all map[counted]uint64, table string, info, entries []byte) {
	word := func(at int) int { return int(binary.NativeEndian.Uint32(info[at:])) }
	at := counted{table: table}
	own := false
	for offset := 0; offset < len(entries); {
		e := entries[offset:]
		target := e[binary.NativeEndian.Uint16(e[88:]):]
		begins, policy := "", false
		for hook, name := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
			if word(32)&(1<<hook) != 0 && word(36+4*hook) == offset {
				begins = name
			}
			policy = policy || word(32)&(1<<hook) != 0 && word(56+4*hook) == offset
		}
		name := unix.ByteSliceToString(target[2:31])
		if name == "ERROR" {
			begins = string(bytes.TrimRight(target[32:62], "\x00"))
		}
		if begins != "" {
			if own {
				delete(all, at)
			}
			at.chain, at.number, own = begins, 0, name == "ERROR"
		}
		if name != "ERROR" {
			at.number++
			if policy {
				at.number = 0
			}
			all[at] = binary.NativeEndian.Uint64(e[96:])
		}
		offset += int(binary.NativeEndian.Uint16(e[90:]))
	}
}

// counted is a rule, or with number 0 a policy.
type counted struct {
	table, chain string
	number       int
}
