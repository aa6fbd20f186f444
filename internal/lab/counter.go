package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// icmpErrors counts what reached the client until now.
func (l *Lab) icmpErrors() (int, error) { return l.Counter(Client, "Icmp:", "InDestUnreachs") }

// Counter reads a counter of the namespace: group "Tcp:", name "InSegs" for example, as in
// /proc/net/snmp, or in /proc/net/netstat for the groups "TcpExt:" and "IpExt:".
func (l *Lab) Counter(r Role, group, name string) (n int, err error) {
	file := "/proc/thread-self/net/snmp"
	if strings.HasSuffix(group, "Ext:") {
		file = "/proc/thread-self/net/netstat"
	}
	err = l.Node(r).Do(func() error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err = counter(f, group, name)
		return err
	})
	return n, err
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
