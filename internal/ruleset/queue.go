package ruleset

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
)

// Queue is where a rule hands packets to (NF_QUEUE): one of the queues From to To.
type Queue struct {
	From, To uint16
	// Known: the numbers could be read. Nobody here knows what an expression says.
	Known bool
	// Bypass: where no program reads the queue, the rule accepts the packet.
	Bypass bool
}

// Queues finds the rule that hands the packet to a program at its hook, and those that may drop what the program accepts.
func (r *Ruleset) Queues(p Packet) Outcome { return r.outcome(p, queuer) }

// queue hands the packet to a program, as a rule says. Where no program reads the queue, a rule that bypasses it accepts
// (nf_queue).
func (e *evaluation) queue(r Rule, m match) {
	e.exits++
	if r.Queue != nil && r.Queue.Bypass && e.s.QueuesKnown() && len(r.Queue.Readers(e.s.Queues)) == 0 {
		e.accepted = e.accepted.or(m)
		return
	}
	e.stopped++
	e.marked = false // a program may give it another (NFQA_MARK)
	e.accepted = e.accepted.or(m.and(may))
	if e.through {
		return
	}
	if e.stolen = true; e.sought == queuer {
		e.found = append(e.found, found{r, m})
	}
}

// Readers are those of the queues that programs read.
func (q Queue) Readers(all []host.Queue) []host.Queue {
	return slices.DeleteFunc(slices.Clone(all), func(x host.Queue) bool { return q.Known && (x.Number < q.From || x.Number > q.To) })
}

// nftQueue reads {"num": 7, "flags": ["bypass", "fanout"]}; of one flag the list is the word.
func nftQueue(body json.RawMessage) *Queue {
	var x struct{ Num, Flags json.RawMessage }
	if json.Unmarshal(body, &x) != nil {
		return &Queue{}
	}
	q := &Queue{Bypass: strings.Contains(string(x.Flags), `"bypass"`)}
	switch v := valueOf(x.Num, false); {
	case len(x.Num) == 0: // 0
		q.Known = true
	case v.shape == plain && v.isNumber && v.number < 1<<16:
		q.From, q.To, q.Known = uint16(v.number), uint16(v.number), true
	case v.shape == between && v.list[0].number < 1<<16 && v.list[1].number < 1<<16:
		q.From, q.To, q.Known = uint16(v.list[0].number), uint16(v.list[1].number), v.list[0].isNumber && v.list[1].isNumber
	}
	return q
}

// iptablesQueue reads --queue-num N or --queue-balance FROM:TO, and --queue-bypass.
func iptablesQueue(args []string) *Queue {
	q := &Queue{Known: true, Bypass: slices.Contains(args, "--queue-bypass")}
	for i := 0; i+1 < len(args); i++ {
		if args[i] != "--queue-num" && args[i] != "--queue-balance" {
			continue
		}
		from, to, several := strings.Cut(args[i+1], ":")
		if !several {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 16)
		b, err2 := strconv.ParseUint(to, 10, 16)
		q.From, q.To, q.Known = uint16(a), uint16(b), err1 == nil && err2 == nil
	}
	return q
}
