package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// icmpErrors counts what reached the client until now.
func (l *Lab) icmpErrors() (int, error) { return l.Counter(Client, "Icmp:", "InDestUnreachs") }

// Counter reads a counter of the namespace: group "Tcp:", name "InSegs" for example, as in
// /proc/net/snmp, in /proc/net/netstat for the groups "TcpExt:" and "IpExt:", or in
// /proc/net/stat/nf_conntrack for the group Conntrack.
func (l *Lab) Counter(r Role, group, name string) (n int, err error) {
	file, find := "/proc/thread-self/net/snmp", counter
	switch {
	case strings.HasSuffix(group, "Ext:"):
		file = "/proc/thread-self/net/netstat"
	case group == Conntrack:
		file, find = "/proc/thread-self/net/stat/nf_conntrack", perCPUCounter
	}
	err = l.Node(r).Do(func() error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err = find(f, group, name)
		return err
	})
	return n, err
}

// Conntrack is the group of the connection tracker's counters.
const Conntrack = "nf_conntrack"

// perCPUCounter sums a column: a line of names, then a line of hexadecimal numbers a CPU.
func perCPUCounter(r io.Reader, group, name string) (n int, err error) {
	s := bufio.NewScanner(r)
	s.Scan()
	column := slices.Index(strings.Fields(s.Text()), name)
	if column < 0 {
		return 0, fmt.Errorf("no counter %s %s", group, name)
	}
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) <= column {
			return 0, fmt.Errorf("counter %s %s: short line %q", group, name, s.Text())
		}
		value, err := strconv.ParseUint(fields[column], 16, 32)
		if err != nil {
			return 0, fmt.Errorf("counter %s %s: %w", group, name, err)
		}
		n += int(value)
	}
	return n, s.Err()
}

// counter finds a value in the form of /proc/net/snmp: a line of names, then a line of values.
func counter(r io.Reader, prefix, name string) (int, error) {
	var names []string
	for s := bufio.NewScanner(r); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 0 || fields[0] != prefix {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, f := range fields {
			if i < len(names) && names[i] == name {
				return strconv.Atoi(f)
			}
		}
	}
	return 0, fmt.Errorf("no counter %s %s", prefix, name)
}
