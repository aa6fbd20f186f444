package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// clean are the counters that healthy traffic must leave alone. Resets and retransmissions are not among
// them: on two CPUs a FIN may overtake the ACK before it, TIME_WAIT answers the late ACK, and the
// client, who is done, resets; and a slow guest may miss TCP's 200 ms.
func clean() (all []fault.Count) {
	for _, at := range []lab.Role{lab.Client, lab.Director, lab.RealServer} {
		for _, c := range [][2]string{
			{"Ip:", "InHdrErrors"}, {"Ip:", "InAddrErrors"}, {"Ip:", "InDiscards"}, {"Ip:", "OutNoRoutes"}, {"Ip:", "ReasmReqds"},
			{"Icmp:", "OutMsgs"}, {"Icmp:", "InErrors"}, {"Tcp:", "InErrs"}, {"Tcp:", "AttemptFails"},
			{"Udp:", "NoPorts"}, {"Udp:", "InErrors"}, {"TcpExt:", "IPReversePathFilter"}, {"TcpExt:", "ListenDrops"},
		} {
			all = append(all, fault.Count{At: at, Group: c[0], Name: c[1]})
		}
	}
	return all
}

// reading is what counters were at a moment.
type reading struct {
	lab    *lab.Lab
	counts []fault.Count
	values []int
	err    error
}

func readCounts(l *lab.Lab, counts []fault.Count) reading {
	r := reading{lab: l, counts: counts}
	for _, t := range counts {
		n, err := l.Counter(t.At, t.Group, t.Name)
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
	for i, t := range r.counts {
		n, err := r.lab.Counter(t.At, t.Group, t.Name)
		if rise := n - r.values[i]; err == nil && (rise < low || rise > high) {
			err = fmt.Errorf("%s: %s %s rose by %d", t.At, t.Group, t.Name, rise)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
