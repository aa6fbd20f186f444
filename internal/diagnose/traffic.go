package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// tcState: the state does not say what a filter matches, but says which filters have dropped something.
func tcState(s Subject, st *State) *finding {
	side, at := "ingress", command.Say("ingress")
	if s.Leaving {
		side, at = "egress", command.Say("egress")
	}
	l := st.link(s)
	if l == nil {
		return nil
	}
	f := filtersAt(l, side, at, st.Filters, dropsOrRuns)
	if f == nil && !s.Supposed {
		return st.redirectedDown(l, side, at)
	}
	if f == nil && s.Supposed && slices.ContainsFunc(st.Filters, func(x host.Filter) bool { return x.Link == l.Index && x.Side == side && redirects(x) && seesIPv4(x) }) {
		return &finding{undecided: fmt.Sprintf("filters: what a tc filter at the %s of %s sends to another device (mirred) is not followed there", side, l.Name)}
	}
	if f != nil {
		f.summary = fmt.Sprintf("a tc filter at the %s of %s drops the packet", side, l.Name)
		f.consistent = s.Supposed && !dropsAll(l, side, st.Filters)
	}
	return f
}

// redirectedDown finds the filter that sends packets to a device that is down, which drops them (tcf_mirred_act), as a shaper's
// ifb may be after a restart: the device is what is repaired, and not the filter taken away. Nil if it is not one.
func (st *State) redirectedDown(l *host.Link, side string, at command.Part) (f *finding) {
	for _, x := range st.Filters {
		to := st.Link(x.Target)
		if x.Link != l.Index || x.Side != side || x.Target == 0 || !seesIPv4(x) || to == nil || to.Up {
			continue
		}
		if f != nil && !strings.Contains(f.summary, to.Name) {
			return nil // which of the two it was is not in the state
		}
		f = &finding{
			summary: fmt.Sprintf("a tc filter at the %s of %s sends the packet to %s, which is down", side, l.Name, to.Name),
			evidence: []evidence{
				by(host.PartFilters, "tc -s filter show dev %s %s: pref %d %s mirred redirect to %s", command.Device(l.Name), at, x.Pref, x.Kind, to.Name),
				by(host.PartLinks, "ip link show %s: state DOWN", command.Device(to.Name)),
			},
			fix: command.Of("ip link set % up", command.Device(to.Name)), mend: changeLink(to.Index, func(l *host.Link) { l.Up = true }),
		}
	}
	return f
}

// ETH_P_ALL and ETH_P_IP of linux/if_ether.h.
const (
	ethAll = 0x0003
	ethIP  = 0x0800
)

// seesIPv4 reports whether a filter is asked about packets of IPv4, which may have a VLAN's tag.
func seesIPv4(f host.Filter) bool {
	return slices.Contains([]uint16{0, ethAll, ethIP, 0x8100, 0x88a8}, f.Protocol)
}

// dropsAll reports whether the first filter at a side of a device drops whatever comes: what others look for is not read.
func dropsAll(l *host.Link, side string, all []host.Filter) bool {
	var first *host.Filter
	for i := range all {
		if f := &all[i]; f.Link == l.Index && f.Side == side && f.Chain == 0 && (first == nil || f.Pref < first.Pref) {
			first = f
		}
	}
	return first != nil && first.Kind == "matchall" && slices.Equal(first.Actions, []string{"gact drop"}) &&
		(first.Protocol == ethAll || first.Protocol == ethIP)
}

// dropsOrRuns reports whether a filter may drop a packet: by an action, or as its program says.
func dropsOrRuns(f host.Filter) bool { return drops(f) || f.Kind == "bpf" || f.Kind == "tcx" }

// redirects reports whether a filter sends packets to another device, from which they may come back (an ifb).
func redirects(f host.Filter) bool { return slices.Contains(f.Actions, "mirred redirect") }

func drops(f host.Filter) bool {
	return slices.ContainsFunc(f.Actions, func(a string) bool { return strings.HasSuffix(a, " drop") })
}

// classifierState: filters of a queueing discipline that have dropped packets, or, of a packet that would be, that can.
func classifierState(s Subject, st *State) *finding {
	l := st.link(s)
	if l == nil {
		return nil
	}
	for _, d := range st.Qdiscs {
		if d.Link != l.Index {
			continue
		}
		has := func(f host.Filter) bool { return drops(f) && (f.Dropped > 0 || s.Supposed) }
		f := filtersAt(l, d.Handle, command.Say("parent").And(command.Class(d.Handle)), st.Filters, has)
		if f != nil {
			f.summary = fmt.Sprintf("a tc filter of the queueing discipline %s %s of %s drops the packet", d.Kind, d.Handle, l.Name)
			return f
		}
	}
	return nil
}

// filtersAt are the filters at a side of a device that may have dropped the packet, and the command that takes away the
// only one; nil if there is none. at is the side as tc names it.
func filtersAt(l *host.Link, side string, at command.Part, all []host.Filter, may func(host.Filter) bool) *finding {
	here := slices.DeleteFunc(slices.Clone(all), func(f host.Filter) bool { return f.Link != l.Index || f.Side != side })
	found := slices.DeleteFunc(slices.Clone(here), func(f host.Filter) bool { return !may(f) || !seesIPv4(f) })
	if counted := slices.DeleteFunc(slices.Clone(found), func(f host.Filter) bool { return drops(f) && f.Dropped == 0 }); len(counted) > 0 {
		found = counted
	}
	if len(found) == 0 {
		return nil
	}
	f := &finding{doubtful: len(found) > 1}
	for _, x := range found {
		what := strings.Join(x.Actions, ", ")
		if x.Program != "" {
			what = strings.TrimSpace(what + " program " + x.Program)
		}
		if x.Dropped > 0 {
			what += fmt.Sprintf(", dropped %d", x.Dropped)
		}
		f.evidence = append(f.evidence, by(host.PartFilters, "tc -s filter show dev %s %s: pref %d %s %s", command.Device(l.Name), at, x.Pref, x.Kind, what))
	}
	if len(found) == 1 && found[0].Block != 0 {
		f.evidence = append(f.evidence, by(host.PartFilters, "tc qdisc show dev %s: block %d, whose filters all have that share it", command.Device(l.Name), found[0].Block))
	}
	if len(found) == 1 && found[0].Pref != 0 { // 0 would be all of them
		f.fix, f.mend = withoutFilter(l, at, found[0], here), dropFilter(found[0])
	}
	return f
}

// withoutFilter deletes one filter by its handle: others of its preference stay.
func withoutFilter(l *host.Link, at command.Part, f host.Filter, here []host.Filter) command.Fix {
	from, pref := command.Say("dev").And(command.Device(l.Name), at), command.Number(f.Pref)
	if f.Block != 0 {
		from = command.Say("block").And(command.Number(f.Block))
	}
	alike := 0
	for _, x := range here {
		if x.Pref == f.Pref {
			alike++
		}
	}
	chain := command.Say("")
	if f.Chain != 0 {
		chain = command.Say("chain").And(command.Number(f.Chain))
	}
	if alike == 1 {
		return command.Of("tc filter del % % pref %", from, chain, pref)
	}
	return command.Of("tc filter del % % pref % %", from, chain, pref, command.FilterHandle(f.Kind, f.Handle))
}

// qdiscState: a discipline also counts what one inside it drops; the innermost that counted is the one that dropped.
func qdiscState(s Subject, st *State) *finding {
	l := st.link(s)
	if l == nil {
		return nil
	}
	drops := func(d host.Qdisc) bool { return d.Dropped > 0 }
	if s.Supposed { // what was dropped were other packets
		drops = func(d host.Qdisc) bool { return losesAny(d) || st.unsorted(d) }
	}
	lossy := slices.DeleteFunc(slices.Clone(st.Qdiscs), func(d host.Qdisc) bool {
		return d.Link != l.Index || !drops(d) || d.Parent == "ingress"
	})
	innermost := slices.DeleteFunc(slices.Clone(lossy), func(d host.Qdisc) bool {
		return slices.ContainsFunc(lossy, func(x host.Qdisc) bool { return within(x, d) })
	})
	if len(innermost) == 0 {
		return s.shaped(l, st)
	}
	d := innermost[0]
	f := lossyQdisc(l, d)
	if d.Handle != "0:" && st.ofQueue(d) { // to delete it leaves one that drops everything (mq_graft: noop_qdisc)
		f.fix = command.Of("tc qdisc replace dev % parent % pfifo", command.Device(l.Name), command.Class(d.Parent))
	}
	// An empty fq lets packets pass by on newer kernels (fq_fastpath_check), and a sender may choose its class by its priority.
	f.doubtful = s.Supposed && (d.Parent != "root" || d.Loss > 0 && d.Loss < 100 || d.Kind == "fq" || st.unsorted(d))
	if st.unsorted(d) {
		f.evidence = append(f.evidence, by(host.PartFilters, "tc filter show dev %s parent %s: none, and what none gives a class is dropped", command.Device(l.Name), command.Class(d.Handle)))
	}
	if slices.ContainsFunc(st.Qdiscs, func(x host.Qdisc) bool { return x.Link == d.Link && within(x, d) }) {
		f.summary += ", which has classes: with it all of them would go"
		var none command.Fix
		f.fix, f.mend = none, nil
	}
	// Of several that have dropped packets it is not known which had this one. The kernel's own, one a queue, are all alike.
	differ := slices.ContainsFunc(innermost, func(x host.Qdisc) bool { return x != d && (x.Kind != d.Kind || x.Handle != "0:" || d.Handle != "0:") })
	if differ && !s.Supposed {
		f = &finding{summary: fmt.Sprintf("one of %d queueing disciplines of %s drops packets", len(innermost), l.Name), doubtful: true}
		for _, d := range innermost {
			f.evidence = append(f.evidence, lossyQdisc(l, d).evidence...)
		}
	}
	return f
}

// losesAny reports whether a discipline loses packets by what it was told: netem, blackhole, or a queue that has no room for
// the smallest.
func losesAny(d host.Qdisc) bool {
	return d.Loss > 0 || d.Kind == "blackhole" || d.NoRoom || d.Kind == "bfifo" && d.Limit > 0 && d.Limit < smallest
}

// unsorted reports whether a discipline drops what no filter gives a class (drr_enqueue, qfq_enqueue), and has no filter.
func (st *State) unsorted(d host.Qdisc) bool {
	here := func(f host.Filter) bool { return f.Link == d.Link && f.Side == d.Handle }
	return (d.Kind == "drr" || d.Kind == "qfq") && !slices.ContainsFunc(st.Filters, here)
}

// shaping are the disciplines that hold packets back, and drop what there is no room for meanwhile.
var shaping = []string{"tbf", "htb", "hfsc", "cake", "cbq", "netem", "plug"}

// shaped: a discipline holds packets back at a rate that somebody has set: whether more than that comes is in no state.
func (s Subject) shaped(l *host.Link, st *State) *finding {
	i := slices.IndexFunc(st.Qdiscs, func(d host.Qdisc) bool {
		return d.Link == l.Index && d.Handle != "0:" && slices.Contains(shaping, d.Kind)
	})
	if i < 0 || !s.Supposed {
		return nil
	}
	d := st.Qdiscs[i]
	return &finding{
		consistent: true, doubtful: true,
		summary:  fmt.Sprintf("the queueing discipline %s of %s drops packets that come faster than it lets them go", d.Kind, l.Name),
		evidence: lossyQdisc(l, d).evidence,
		because:  []string{"its rate and the traffic are not read"},
	}
}

// smallest is the length in bytes of a frame with no more than the headers of IP and UDP.
const smallest = 42

// within reports whether a discipline is inside a class of another.
func within(inner, outer host.Qdisc) bool {
	return inner != outer && (outer.Handle != "0:" || outer.Parent == "root") && strings.HasPrefix(inner.Parent, outer.Handle)
}

// ofQueue reports whether a discipline is that of one of a device's queues.
func (st *State) ofQueue(d host.Qdisc) bool {
	return slices.ContainsFunc(st.whole.Qdiscs, func(x host.Qdisc) bool {
		return x.Link == d.Link && (x.Kind == "mq" || x.Kind == "mqprio") && within(d, x)
	})
}

func lossyQdisc(l *host.Link, d host.Qdisc) *finding {
	dev := command.Device(l.Name)
	f := &finding{
		summary:  fmt.Sprintf("the queueing discipline %s of %s drops packets", d.Kind, l.Name),
		evidence: []evidence{by(host.PartFilters, "tc -s qdisc show dev %s: %s %s, dropped %d", dev, d.Kind, d.Handle, d.Dropped)},
	}
	if d.Loss > 0 {
		f.evidence = append(f.evidence, by(host.PartFilters, "loss %.4g%%", d.Loss))
	}
	if d.NoRoom {
		f.evidence = append(f.evidence, by(host.PartFilters, "limit %d: no packet has room", d.Limit))
	}
	switch {
	case d.Handle == "0:": // the kernel's own
	case d.Parent == "root":
		f.fix, f.mend = command.Of("tc qdisc del dev % root", dev), dropQdiscs(l.Index)
	default:
		f.summary = fmt.Sprintf("the queueing discipline %s of class %s of %s drops packets", d.Kind, d.Parent, l.Name)
		f.fix, f.mend = command.Of("tc qdisc del dev % parent %", dev, command.Class(d.Parent)), dropQdisc(d)
	}
	return f
}
