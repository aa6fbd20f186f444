package ruleset

// kind is what a rule does with a packet that it matches.
type kind uint8

const (
	// goesOn: nothing; the next rule is asked.
	goesOn kind = iota
	accepts
	drops
	// steals: another part of the kernel takes the packet.
	steals
	// queues: a program is to decide; it may accept the packet, and the next chain is asked then.
	queues
	returns
	jumps
	goes
)

// verdict is what a rule says.
type verdict struct {
	kind kind
	// rule is the one that drops, or queues.
	rule Rule
	// target is that of iptables, of which no more is known than the name.
	target string
	// run walks through the chain that it jumps, or goes, to.
	run func(reach match) (through match)
}

// follow applies a rule's verdict. next is how surely the next rule is reached, back how surely the packet returns to the
// chain that called this one.
func (e *evaluation) follow(v verdict, reach, hit match) (next, back match) {
	m := reach.and(hit)
	if m == no || v.kind == goesOn {
		return reach, no
	}
	if e.watch.verdict != nil {
		e.watch.verdict(v, m)
	}
	rest := reach.and(hit.not())
	switch v.kind {
	case accepts:
		e.exits++
		e.accepted = e.accepted.or(m)
	case drops:
		e.drop(v.rule, m)
	case steals:
		e.stolen = e.stolen || !e.through
		e.exits++
		e.stopped++
	case queues:
		e.queue(v.rule, m)
	case returns:
		return rest, m
	case goes:
		return rest, v.run(m)
	case jumps:
		before := e.exits
		through := v.run(m)
		switch {
		case hit == yes:
			return through, no
		case e.exits == before:
			return reach, no
		}
		return may, no
	}
	return rest, no
}

func (e *evaluation) drop(r Rule, m match) {
	e.exits++
	e.stopped++
	switch {
	case e.through:
	case e.sought != queuer:
		e.found = append(e.found, found{r, m})
	case len(e.found) > 0:
		e.behind = append(e.behind, r)
	}
}

// walk goes through a chain's rules. It says how surely the packet comes out at the chain's end, or is sent back.
func (e *evaluation) walk(rules int, reach match, rule func(i int, reach match) (next, back match)) (through match) {
	if e.depth >= maxDepth {
		e.marked = false
		return reach.and(may)
	}
	e.depth++
	defer func() { e.depth-- }()
	into, before := reach, e.exits
	for i := 0; i < rules && reach != no; i++ {
		if e.steps++; e.steps > maxSteps {
			e.exits++
			return reach.and(may)
		}
		next, back := rule(i, reach)
		through, reach = through.or(back), next
	}
	if e.exits == before {
		return into
	}
	return through.or(reach)
}

// base runs a chain that a hook runs, and its policy.
func (e *evaluation) base(reach match, policy *Rule, walk func(reach match) (through match)) (next match) {
	e.accepted = no
	before := e.stopped
	through := walk(reach)
	if through != no && policy != nil {
		e.drop(*policy, through)
		through = no
	}
	if e.stopped == before {
		return reach
	}
	return e.accepted.or(through)
}
