package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"ipiptrace/internal/lab"
)

// trace is a kernel counter that a scenario's traffic must raise: that the client is unhappy does not
// prove that it is for the reason it should be. Firewalls, tc and a wrong MAC count nothing by themselves.
type trace struct {
	scenario    string
	at          lab.Role
	group, name string
}

func tracesOf(scenario string) (found []trace) {
	for _, t := range []trace{
		{"healthy", lab.RealServer, "Udp:", "OutDatagrams"},
		{"rp-filter", lab.RealServer, "TcpExt:", "IPReversePathFilter"},
		{"rp-filter-tunl0", lab.RealServer, "TcpExt:", "IPReversePathFilter"},
		{"blackhole", lab.RealServer, "Ip:", "InAddrErrors"},
		{"vip-missing", lab.RealServer, "Ip:", "InAddrErrors"},
		{"tunnel-down", lab.RealServer, "Icmp:", "OutDestUnreachs"},
		{"tunnel-module-missing", lab.RealServer, "Ip:", "InUnknownProtos"},
		{"tunnel-module-missing", lab.RealServer, "Icmp:", "OutDestUnreachs"},
		{"tunnel-module-missing-sit", lab.RealServer, "Icmp:", "OutDestUnreachs"},
		{"conntrack-full", lab.RealServer, lab.Conntrack, "drop"},
		{"fragment-lost", lab.RealServer, "Ip:", "ReasmTimeout"},
		{"fragment-lost", lab.RealServer, "Icmp:", "OutTimeExcds"},
		{"neighbour-failed", lab.RealServer, "Icmp:", "OutDestUnreachs"},
		{"accept-queue-full", lab.RealServer, "TcpExt:", "ListenOverflows"},
		{"syn-queue-full", lab.RealServer, "TcpExt:", "TCPReqQFullDrop"},
		{"receive-buffer-full", lab.RealServer, "Udp:", "RcvbufErrors"},
		{"tcp-paws", lab.RealServer, "TcpExt:", "PAWSEstab"},
		{"no-return-route", lab.RealServer, "Ip:", "OutNoRoutes"},
		{"no-return-route", lab.RealServer, "TcpExt:", "ListenDrops"},
		{"blackhole-return", lab.RealServer, "Ip:", "OutNoRoutes"},
		{"blackhole-return", lab.RealServer, "TcpExt:", "ListenDrops"},
		{"no-service", lab.Director, "Tcp:", "OutRsts"},
		{"no-service", lab.Director, "Udp:", "NoPorts"},
		{"weight-zero", lab.Director, "Icmp:", "OutDestUnreachs"},
		{"ttl-expired", lab.Director, "Ip:", "InHdrErrors"},
		{"ttl-expired", lab.Director, "Icmp:", "OutTimeExcds"},
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

// rise waits until each counter has risen by at least low since the reading: a lost fragment is noticed late.
func (r reading) rise(low int) (err error) {
	for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(50 * time.Millisecond) {
		if err = r.rose(low, math.MaxInt); err == nil {
			break
		}
	}
	return err
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
