package main

import (
	"errors"
	"fmt"

	"ipiptrace/internal/lab"
)

// trace is a kernel counter that a scenario's traffic must raise: that the client is unhappy does not
// prove that it is for the reason it should be. Firewalls count nothing by themselves.
type trace struct {
	scenario    string
	at          lab.Role
	group, name string
}

func tracesOf(scenario string) (found []trace) {
	for _, t := range []trace{
		{"healthy", lab.RealServer, "Udp:", "OutDatagrams"},
		{"rp-filter", lab.RealServer, "TcpExt:", "IPReversePathFilter"},
		{"vip-missing", lab.RealServer, "Ip:", "InAddrErrors"},
		{"tunnel-down", lab.RealServer, "Icmp:", "OutDestUnreachs"},
		{"no-listener", lab.RealServer, "Tcp:", "OutRsts"},
		{"no-listener", lab.RealServer, "Udp:", "NoPorts"},
		{"bad-checksum", lab.RealServer, "Tcp:", "InCsumErrors"},
		{"malformed-inner", lab.RealServer, "IpExt:", "InTruncatedPkts"},
	} {
		if t.scenario == scenario {
			found = append(found, t)
		}
	}
	return found
}

// clean are the counters that healthy traffic must leave alone. Resets and retransmissions are not among
// them: on two CPUs a FIN may overtake the ACK before it, TIME_WAIT answers the late ACK, and the
// client, who is done, resets; and a slow guest may miss TCP's 200 ms.
func clean() (all []trace) {
	for _, at := range []lab.Role{lab.Client, lab.Director, lab.RealServer} {
		for _, c := range [][2]string{
			{"Ip:", "InHdrErrors"}, {"Ip:", "InAddrErrors"}, {"Ip:", "InDiscards"}, {"Ip:", "OutNoRoutes"}, {"Ip:", "ReasmReqds"},
			{"Icmp:", "OutMsgs"}, {"Icmp:", "InErrors"}, {"Tcp:", "InErrs"}, {"Tcp:", "AttemptFails"},
			{"Udp:", "NoPorts"}, {"Udp:", "InErrors"}, {"TcpExt:", "IPReversePathFilter"}, {"TcpExt:", "ListenDrops"},
		} {
			all = append(all, trace{"", at, c[0], c[1]})
		}
	}
	return all
}

// reading is what counters were at a moment.
type reading struct {
	lab    *lab.Lab
	traces []trace
	values []int
	err    error
}

func readTraces(l *lab.Lab, traces []trace) reading {
	r := reading{lab: l, traces: traces}
	for _, t := range traces {
		n, err := l.Counter(t.at, t.group, t.name)
		r.values, r.err = append(r.values, n), errors.Join(r.err, err)
	}
	return r
}

// rose checks that each counter rose by at least low and at most high since the reading.
func (r reading) rose(low, high int) error {
	errs := []error{r.err}
	for i, t := range r.traces {
		n, err := r.lab.Counter(t.at, t.group, t.name)
		if rise := n - r.values[i]; err == nil && (rise < low || rise > high) {
			err = fmt.Errorf("%s: %s %s rose by %d", t.at, t.group, t.name, rise)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
