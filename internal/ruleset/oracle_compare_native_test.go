//go:build native

package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"ipiptrace/internal/host"
)

// told is what the kernel did with a packet.
type told struct {
	// entered has the first event of each hook, left those hooks that have let it go on.
	entered map[string]event
	left    map[string]bool
	// steps are the verdicts of rules at each hook, dropper is the rule or policy that dropped it.
	steps   map[string][]string
	dropper map[string]string
	// used are the rules of iptables-legacy that have counted it.
	used map[string]bool
	// verdicts are those of them that end a chain, or go to one.
	verdicts map[string]bool
	// markedBy is what had given the packet its mark when a rule gave it a verdict: "nft", "iptables-nft", "iptables-legacy".
	markedBy map[string]string
	ct       CT
}

// told reads the events: each chain that a hook runs begins with one that has the packet's header.
func (o *oracle) told(events []event, used map[counted]uint64) (k told) {
	k = told{entered: map[string]event{}, left: map[string]bool{}, steps: map[string][]string{}, dropper: map[string]string{}, used: map[string]bool{}, verdicts: map[string]bool{}, markedBy: map[string]string{}}
	hook, marker, mark := "", "", uint32(0)
	for _, e := range events {
		if e.mark != mark {
			mark, marker = e.mark, o.marker(e)
		}
		if e.header != nil {
			hook = o.hookOf(e)
		}
		if e.table == "oracle" {
			switch at, where, _ := strings.Cut(e.chain, "-"); where {
			case "in":
				if _, again := k.entered[at]; !again {
					k.entered[at] = e
				}
			case "out":
				k.left[at] = true
			case "ct":
				k.ct |= o.probed(e)
			}
			continue
		}
		at := e.family + " " + e.table + " " + e.chain
		switch {
		case e.kind == ofRule && e.verdict != nftContinue, e.kind == ofReturn && e.verdict == nftReturns && e.handle != 0:
			step := fmt.Sprintf("%s #%d", at, e.handle)
			k.steps[hook] = append(k.steps[hook], step)
			k.markedBy[step] = marker
			if e.verdict == nfDrop {
				k.dropper[hook] = step
			}
		case e.kind == ofPolicy && e.policy == nfDrop:
			k.dropper[hook] = at + " policy"
		}
	}
	o.toldByCounters(&k, used)
	for name := range k.used {
		k.markedBy[name] = marker
	}
	return k
}

// last is the last hook that the packet has come to; none if it has turned round, over lo.
func (k told) last(p played) (hook string) {
	n := 0
	for _, h := range p.way() {
		if _, ok := k.entered[h]; ok {
			hook = h
			n++
		}
	}
	if n < len(k.entered) {
		return ""
	}
	return hook
}

// marker is what has given a packet the mark that it has at an event. Of rules of iptables-legacy nothing is heard.
func (o *oracle) marker(e event) string {
	switch i := slices.IndexFunc(o.chains, func(t host.NftTable) bool { return t.Family == e.family && t.Name == e.table }); {
	case e.mark == 0:
		return ""
	case e.kind != ofRule || e.table == "oracle" || i < 0:
		return "iptables-legacy"
	case o.chains[i].IPTables:
		return "iptables-nft"
	}
	return "nft"
}

// hookOf is the hook that runs a chain.
func (o *oracle) hookOf(e event) string {
	for _, t := range o.chains {
		for _, c := range t.Chains {
			if t.Family == e.family && t.Name == e.table && c.Name == e.chain {
				return c.Hook
			}
		}
	}
	return ""
}

// probed is the state in connection tracking that a rule for that has said.
func (o *oracle) probed(e event) CT {
	for _, t := range o.chains {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if t.Name != "oracle" || c.Name != e.chain || r.Handle != e.handle {
					continue
				}
				for _, expr := range r.Exprs {
					var n CT
					if at := bytes.Index(expr, []byte(`"right":`)); at >= 0 && bytes.Contains(expr, []byte(`"state"`)) {
						fmt.Sscan(strings.Trim(string(expr[at+8:]), "}[ "), &n)
					}
					if n != 0 {
						return n
					}
				}
			}
		}
	}
	return 0
}

// toldByCounters adds what counters of iptables-legacy say: of rules that drop one at most has counted the packet.
func (o *oracle) toldByCounters(k *told, used map[counted]uint64) {
	for c := range used {
		for i := range o.s.IPTables {
			t := &o.s.IPTables[i]
			if t.Backend != "iptables-legacy" || t.Table != c.table {
				continue
			}
			chain := find(t, c.chain)
			hook := ""
			for at := range k.entered {
				if !k.left[at] {
					hook = at
				}
			}
			if c.number == 0 {
				if chain.Policy == "DROP" {
					k.dropper[hook] = "legacy " + c.table + " " + c.chain + " policy"
				}
				continue
			}
			name := fmt.Sprintf("legacy %s %s %d", c.table, c.chain, c.number)
			k.used[name] = true
			args := chain.Rules[c.number-1].Args
			if i := slices.IndexFunc(args, func(a string) bool { return a == "-j" || a == "-g" }); i >= 0 {
				k.verdicts[name] = slices.Contains([]string{"ACCEPT", "DROP", "REJECT", "RETURN"}, args[i+1]) || find(t, args[i+1]) != nil
			}
			if slices.Contains(args, "DROP") || slices.Contains(args, "REJECT") {
				k.dropper[hook] = name
			}
		}
	}
}

// name is a rule as told has it.
func (o *oracle) name(r Rule) string {
	at := r.Family + " " + r.Table + " " + r.Chain
	switch {
	case r.Backend == "iptables-legacy" && r.Policy != "":
		return "legacy " + r.Table + " " + r.Chain + " policy"
	case r.Backend == "iptables-legacy":
		return fmt.Sprintf("legacy %s %s %d", r.Table, r.Chain, r.Number)
	case r.Policy != "":
		return at + " policy"
	case r.Backend == "iptables-nft":
		return fmt.Sprintf("%s #%d", at, r.inKernel(o.s).InKernel)
	}
	return fmt.Sprintf("%s #%d", at, r.Handle)
}

// asSeen is the packet as its header was when it came to the hook.
func (p played) asSeen(hook string, seen event) Packet {
	at := p.Packet
	at.Hook, at.Marked = hook, true
	h := seen.header
	at.TTL = h[8]
	at.Src, _ = netip.AddrFromSlice(h[12:16])
	at.Dst, _ = netip.AddrFromSlice(h[16:20])
	if at.HasPorts && len(p.raw) >= 24 && len(seen.ports) >= 4 {
		at.Sport, at.Dport = binary.BigEndian.Uint16(seen.ports), binary.BigEndian.Uint16(seen.ports[2:])
	}
	at.IIF, at.OIF = seen.iif, seen.oif
	if hook == "postrouting" || hook == "egress" {
		at.IIF = p.iif
	}
	return at
}

// compare asks the model of the packet at a hook, with all that is known of it, and with less.
func (o *oracle) compare(p played, hook string, seen event, k told) {
	at := p.asSeen(hook, seen)
	result := o.rules.Evaluate(at)
	doubts := o.trail(p, at, hook, k)
	dropper := k.dropper[hook]
	switch said, decided := o.agrees(result, dropper); {
	case dropper == "" && !k.left[hook] && result.Rule == nil:
		o.tally.left++ // the kernel has taken it away between the hooks
	case said != "":
		o.disagree(p, at, said, k)
	case decided:
		o.compared++
		if dropper != "" {
			o.dropped++
		}
	default:
		o.undecided++
		o.reasons[doubts]++
	}
	less := at
	less.CT, less.Length, less.Marked = 0, 0, false
	if said, _ := o.agrees(o.rules.Evaluate(less), dropper); said != "" && (dropper != "" || k.left[hook]) {
		o.disagree(p, less, said, k)
	}
}

// agrees says how an outcome contradicts what the kernel did, and whether it says it for certain.
func (o *oracle) agrees(result Outcome, dropper string) (said string, decided bool) {
	switch {
	case result.Rule != nil && o.name(*result.Rule) == dropper:
		return "", true
	case result.Rule != nil:
		return "the model has it dropped by " + o.name(*result.Rule), false
	case len(result.Candidates) == 0 && dropper == "":
		return "", true
	case len(result.Candidates) == 0:
		return "the model has it dropped by nothing", false
	case dropper != "" && !slices.ContainsFunc(result.Candidates, func(r Rule) bool { return o.name(r) == dropper }):
		var names []string
		for _, r := range result.Candidates {
			names = append(names, o.name(r))
		}
		return "the model has it dropped by one of " + strings.Join(names, ", "), false
	}
	return "", false
}

// trail compares the verdicts on the way, and says why the model is not certain of one.
func (o *oracle) trail(p played, at Packet, hook string, k told) (doubt string) {
	var steps []step
	e := &evaluation{p: at, s: o.s, rules: o.rules, tracked: at.CT.known()}
	e.watch.verdict = func(v verdict, m match) {
		steps = append(steps, step{v, o.name(v.rule), m, !e.through})
	}
	e.watch.doubt = func(what string) {
		if doubt == "" {
			doubt = what
		}
	}
	e.run()
	if !o.ordered(at) {
		return doubt
	}
	if said := o.differs(p, at, steps, k); said != "" {
		o.disagree(p, at, said, k)
		return doubt
	}
	for _, f := range e.found {
		if f.rule.Policy != "" {
			steps = append(steps, step{verdict{kind: drops, rule: f.rule}, o.name(f.rule), f.how, true})
		}
	}
	o.countFeatures(p, at, hook, steps, k)
	return doubt
}

// differs says how the model's verdicts on the way to a hook differ from what the kernel did: of rules of nftables in their
// order, of those of iptables-legacy, which are only counted, each for itself.
func (o *oracle) differs(p played, at Packet, steps []step, k told) (said string) {
	var rest []string
	for _, h := range append(at.before(), at.Hook) {
		rest = append(rest, k.steps[h]...)
	}
	for _, s := range steps {
		legacy := strings.HasPrefix(s.name, "legacy")
		switch {
		case legacy && s.how == yes && !k.used[s.name]:
			return "the model has it matched by " + s.name
		case legacy:
		case len(rest) > 0 && rest[0] == s.name:
			rest = rest[1:]
		case s.how == yes && (k.left[at.Hook] || k.dropper[at.Hook] != ""):
			return fmt.Sprintf("the model has it matched by %s, the kernel goes on with %q", s.name, rest)
		}
	}
	for name, is := range k.verdicts {
		if is && at.Hook == k.last(p) && !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return fmt.Sprintf("the model does not have it matched by %s, but %s", name, steps)
		}
	}
	if len(rest) > 0 {
		return fmt.Sprintf("the model does not have it matched by %q, but %s", rest, steps)
	}
	return ""
}

// ordered reports whether it is known in which order the kernel runs the chains on the packet's way.
func (o *oracle) ordered(at Packet) bool {
	e := &evaluation{s: o.s, rules: o.rules}
	for _, hook := range append(at.before(), at.Hook) {
		e.p = at.at(hook)
		all := e.bases()
		for i := range all {
			n := i
			for n < len(all) && all[n].priority == all[i].priority {
				n++
			}
			if _, ok := e.inOrder(all[i:n]); !ok {
				return false
			}
		}
	}
	return true
}

// disagree reports it, with the ruleset once.
func (o *oracle) disagree(p played, at Packet, said string, k told) {
	o.disagreed++
	if o.shown {
		return
	}
	o.shown = true
	o.t.Errorf("ruleset %d, %v\nat %s %v ttl %d (%s→%s): %s\nthe kernel: dropped by %q, left %v, %q, legacy %v", o.seed, p, at.Hook, at.Dst, at.TTL, at.IIF, at.OIF, said,
		k.dropper, k.left, k.steps, k.used)
	listed, _ := exec.Command("nft", "-a", "list", "ruleset").Output()
	text := ofOracle.ReplaceAllString(string(listed), "")
	if o.legacy {
		listed, _ = exec.Command("iptables-legacy-save", "-c").Output()
		text += string(listed)
	}
	o.t.Log(text)
	if os.Getenv("ORACLE_DEBUG") != "" {
		listed, _ = exec.Command("nft", "--debug=netlink", "list", "ruleset").Output()
		o.t.Logf("%s", listed)
	}
}

// ofOracle are the tables that say where a packet has come to.
var ofOracle = regexp.MustCompile(`(?s)table (ip|netdev) oracle \{.*?\n\}\n`)
