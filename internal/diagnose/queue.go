package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
)

// queueState finds the rule that hands the packet to a program, and whether there is one.
func queueState(s Subject, st *State) *finding {
	p, all, sure := queuers(s, st)
	switch {
	case len(all) == 0:
		return stolenState(s, st)
	case len(all) > 1:
		return &finding{
			summary:    fmt.Sprintf("one of %d rules at the hook %s hands the packet to a program, and no program takes it", len(all), p.Hook),
			candidates: all, doubtful: true, consistent: true,
		}
	}
	f := untaken(st, all[0], p)
	if f != nil && !sure {
		f.doubtful, f.consistent = true, true
	}
	if f == nil {
		return stolenState(s, st)
	}
	return f
}

// stolenState: a rule would hand a packet that is not there to a program, which would decide, or to another part of the kernel.
func stolenState(s Subject, st *State) *finding {
	if s.Hook == "" || !s.Supposed {
		return nil
	}
	if _, o := st.filtered(); !o.Stolen {
		return nil
	}
	return &finding{
		consistent: true, doubtful: true,
		summary: fmt.Sprintf("a rule at the hook %s hands the packet to a program (NF_QUEUE), or to another part of the kernel, and it is not taken from there", s.Hook),
	}
}

// queuers are the rules that may hand the packet to a program; sure says that the only one does.
func queuers(s Subject, st *State) (p ruleset.Packet, all []ruleset.Rule, sure bool) {
	if s.Hook == "" {
		return p, nil, false
	}
	if _, o := st.filtered(); !o.Stolen {
		return p, nil, false
	}
	p = filteredPacket(s, st.whole)
	o := st.rules.Queues(p)
	if o.Rule != nil {
		return p, []ruleset.Rule{*o.Rule}, true
	}
	return p, o.Candidates, false
}

// queueOf names the queue.
func queueOf(q ruleset.Queue) string {
	switch {
	case !q.Known:
		return "a queue"
	case q.From != q.To:
		return fmt.Sprintf("one of the queues %d to %d", q.From, q.To)
	}
	return fmt.Sprintf("queue %d", q.From)
}

// noQueue says that it is not there.
func noQueue(q ruleset.Queue) string {
	if of, several := strings.CutPrefix(queueOf(q), "one "); several {
		return "none " + of
	}
	return "no " + strings.TrimPrefix(queueOf(q), "a ")
}

// untaken is why no program takes what a rule hands to one; nil if one does.
func untaken(st *State, r ruleset.Rule, p ruleset.Packet) *finding {
	q, queue := r.Queue, queueOf(*r.Queue)
	f := &finding{summary: where(r) + " hands the packet to " + queue, evidence: evidenceOf(r), rule: &r}
	readers := q.Readers(st.Queues)
	full := slices.IndexFunc(readers, func(x host.Queue) bool { return x.Full > 0 || x.Unsent > 0 })
	switch {
	case !st.QueuesKnown():
		f.summary += ", and it is not taken from there: who reads queues was not read"
		f.fix, f.mend = ruleset.Fix(r, p), func(st *State) { ruleset.Mend(st.whole, r, p) }
		f.consistent, f.doubtful = true, true
	case len(readers) == 0:
		f.summary += ", and no program reads it: start the program, or let the rule bypass it (queue bypass)"
		f.evidence = append(f.evidence, by(host.PartQueues, "/proc/net/netfilter/nfnetlink_queue: %s", noQueue(*q)))
		f.fix, f.mend = ruleset.Fix(r, p), func(st *State) { ruleset.Mend(st.whole, r, p) }
		f.doubtful = !q.Known
	case full >= 0:
		x := readers[full]
		f.summary += ", whose program is too slow: let it fail open, or give it a longer queue"
		f.evidence = append(f.evidence, by(host.PartQueues, "/proc/net/netfilter/nfnetlink_queue: queue %d: %d waiting, %d found it full, %d the program's socket", x.Number, x.Waiting, x.Full, x.Unsent))
		f.consistent = true
	case len(readers) <= int(q.To-q.From):
		f.summary += ", and no program reads some of them"
		for _, x := range readers {
			f.evidence = append(f.evidence, by(host.PartQueues, "/proc/net/netfilter/nfnetlink_queue: queue %d is read", x.Number))
		}
		f.consistent, f.doubtful = true, true
	default:
		return nil
	}
	return f
}

// verdictState finds the rule that handed the packet to a program from which it came back to be dropped, and who else may
// have dropped it then: what a program accepts goes on to the next chain of the hook, and nf_reinject frees what that drops.
func verdictState(s Subject, st *State) *finding {
	p, all, _ := queuers(s, st)
	if len(all) == 0 {
		return nil
	}
	said := "the program that reads the queue said so (its own log says why), or ended with the packet in it"
	if len(all) > 1 {
		return &finding{
			summary:    fmt.Sprintf("one of %d rules at the hook %s handed the packet to a program (NF_QUEUE), and it came back to be dropped: %s", len(all), p.Hook, said),
			candidates: all, consistent: true, doubtful: true,
		}
	}
	r := all[0]
	f := &finding{evidence: evidenceOf(r), rule: &r, consistent: true, doubtful: true}
	for _, q := range r.Queue.Readers(st.Queues) {
		f.evidence = append(f.evidence, by(host.PartQueues, "/proc/net/netfilter/nfnetlink_queue: queue %d is read by %d", q.Number, q.Reader))
	}
	o := st.rules.Queues(p)
	behind := slices.DeleteFunc(o.Behind, func(b ruleset.Rule) bool { return b.Family == r.Family && b.Table == r.Table && b.Chain == r.Chain })
	switch {
	case len(behind) == 1:
		said += ", or, behind it, " + where(behind[0]) + " drops it"
		f.evidence = append(f.evidence, evidenceOf(behind[0])...)
	case len(behind) > 1:
		said += fmt.Sprintf(", or, behind it, one of %d rules drops it", len(behind))
	case len(o.Unread) > 0:
		said += ", or a chain behind it, which was not read, drops it"
	}
	f.summary = fmt.Sprintf("%s handed the packet to %s, and it came back to be dropped: %s", where(r), queueOf(*r.Queue), said)
	return f
}
