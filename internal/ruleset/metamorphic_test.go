package ruleset

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// TestWhatChangesNothingChangesNoAnswer generates rulesets, changes each in ways that leave what it does as it was, and
// asks of the same packets: the answer names the same rules.
func TestWhatChangesNothingChangesNoAnswer(t *testing.T) {
	changes := map[string]func(*generated){
		"a rule that does nothing":      (*generated).idle,
		"a jump to an empty chain":      (*generated).detour,
		"a set in two rules":            (*generated).split,
		"a set by name":                 (*generated).name,
		"disjoint rules in reverse":     (*generated).reorder,
		"rules in a chain of their own": (*generated).outsource,
		"a table that is asleep":        (*generated).sleep,
	}
	answers := map[string]int{}
	for seed := range uint64(400) {
		g := generate(rand.New(rand.NewPCG(3, seed)))
		asked := make([]Packet, 12)
		for i := range asked {
			asked[i] = g.packet()
		}
		before := g.answers(asked)
		for what, change := range changes {
			changed := g.clone()
			change(changed)
			for i, after := range changed.answers(asked) {
				if after != before[i] {
					t.Fatalf("ruleset %d, %s, %+v: %s, and then %s\n%s\n%s", seed, what, asked[i], before[i], after, g, changed)
				}
				answers[strings.Fields(after)[0]]++
			}
		}
	}
	for _, kind := range []string{"passes", "drops", "perhaps"} {
		if answers[kind] < 1000 {
			t.Errorf("too few rulesets of which it %s: %v", kind, answers)
		}
	}
}

// generated is a ruleset; each rule has a text of its own, by which answers name it.
type generated struct {
	*rand.Rand
	base  []genericRule
	other map[string][]genericRule
	sets  []host.NftSet
	names int
	// asleep adds a table that would drop all.
	asleep bool
}

// genericRule has matches of one port set, so that it can be split, and what is done.
type genericRule struct {
	text string
	// ports are the destination ports it is for; none: it is for any.
	ports []int
	also  []string
	does  string
}

func generate(r *rand.Rand) *generated {
	g := &generated{Rand: r, other: map[string][]genericRule{}}
	g.other["own"] = g.some(3, drop, accept, `{"return":null}`)
	g.base = g.some(6, drop, drop, accept, `{"return":null}`, `{"jump":{"target":"own"}}`, `{"goto":{"target":"own"}}`, mark7, `{"counter":null}`)
	return g
}

func (g *generated) some(n int, does ...string) (rules []genericRule) {
	for range 1 + g.IntN(n) {
		g.names++
		r := genericRule{text: fmt.Sprintf("rule%d", g.names), does: does[g.IntN(len(does))]}
		if g.IntN(3) > 0 {
			for _, p := range []int{22, 53, 80, 443, 8080} {
				if g.IntN(2) == 0 {
					r.ports = append(r.ports, p)
				}
			}
		}
		for range g.IntN(2) {
			r.also = append(r.also, []string{marked, limit, onEth0, toVIP, when("in", ctState, 8), when("!=", ip("saddr"), "10.0.0.7"), when("<", ip("ttl"), 64)}[g.IntN(7)])
		}
		rules = append(rules, r)
	}
	return rules
}

func (g *generated) clone() *generated {
	c := *g
	c.base, c.sets, c.other = slices.Clone(g.base), slices.Clone(g.sets), map[string][]genericRule{}
	for name, rules := range g.other {
		c.other[name] = slices.Clone(rules)
	}
	return &c
}

func (g *generated) packet() Packet {
	p := packet("input")
	p.Dport = []uint16{22, 53, 80, 443, 8080, 9}[g.IntN(6)]
	p.IIF = []string{"eth0", "tunl0"}[g.IntN(2)]
	p.Src = netip.MustParseAddr([]string{"10.0.0.7", "192.0.2.1"}[g.IntN(2)])
	p.CT, p.TTL = []CT{New, Established, 0}[g.IntN(3)], []uint8{1, 64}[g.IntN(2)]
	return p
}

// idle adds a rule that counts.
func (g *generated) idle() {
	g.base = slices.Insert(g.base, g.IntN(len(g.base)+1), genericRule{text: "idle", does: `{"counter":null}`})
}

// detour adds a jump to a chain without rules.
func (g *generated) detour() {
	g.other["empty"] = nil
	g.base = slices.Insert(g.base, g.IntN(len(g.base)+1), genericRule{text: "detour", does: `{"jump":{"target":"empty"}}`})
}

// split makes two rules of each that is for several ports.
func (g *generated) split() {
	var all []genericRule
	for _, r := range g.base {
		if len(r.ports) > 1 {
			first := r
			first.ports, r.ports = r.ports[:1], r.ports[1:]
			all = append(all, first)
		}
		all = append(all, r)
	}
	g.base = all
}

// name gives the sets that rules have a name.
func (g *generated) name() {
	for i := range g.base {
		if r := &g.base[i]; len(r.ports) > 0 {
			elem, _ := json.Marshal(r.ports)
			g.sets = append(g.sets, host.NftSet{Name: r.text, Elem: elem})
			r.also = append([]string{when("==", tcp("dport"), "@"+r.text)}, r.also...)
			r.ports = nil
		}
	}
}

// reorder swaps neighbours of which no packet meets both.
func (g *generated) reorder() {
	for i := 0; i+1 < len(g.base); i += 2 {
		a, b := g.base[i], g.base[i+1]
		if len(a.ports) == 0 || len(b.ports) == 0 || slices.ContainsFunc(a.ports, func(p int) bool { return slices.Contains(b.ports, p) }) {
			continue
		}
		g.base[i], g.base[i+1] = b, a
	}
}

// outsource puts the rules behind the first return or goto, or all, into another chain, to which the packet goes.
func (g *generated) outsource() {
	g.other["outsourced"] = g.base
	g.base = []genericRule{{text: "outsourced", does: `{"goto":{"target":"outsourced"}}`}}
}

// sleep adds a dormant table.
func (g *generated) sleep() { g.asleep = true }

func (g *generated) rules(of []genericRule) (all []host.NftRule) {
	for i, r := range of {
		rule := host.NftRule{Handle: uint64(i + 1), Text: r.text}
		add := func(e string) { rule.Exprs = append(rule.Exprs, json.RawMessage(e)) }
		if len(r.ports) > 0 {
			any := make([]any, len(r.ports))
			for i, p := range r.ports {
				any[i] = p
			}
			add(when("==", tcp("dport"), list(any...)))
		}
		for _, e := range append(slices.Clone(r.also), r.does) {
			add(e)
		}
		all = append(all, rule)
	}
	return all
}

func (g *generated) state() *host.Snapshot {
	t := host.NftTable{Family: "inet", Name: "t", Sets: g.sets, Chains: []host.NftChain{{Name: "input", Hook: "input", Type: "filter", Policy: "accept", Rules: g.rules(g.base)}}}
	for name, rules := range g.other {
		t.Chains = append(t.Chains, host.NftChain{Name: name, Rules: g.rules(rules)})
	}
	s := &host.Snapshot{Nft: []host.NftTable{t}, Links: []host.Link{{Index: 2, Name: "eth0"}, {Index: 3, Name: "tunl0"}}}
	if g.asleep {
		s.Nft = append(s.Nft, host.NftTable{Family: "ip", Name: "asleep", Dormant: true, Chains: []host.NftChain{{Name: "input", Hook: "input", Type: "filter", Policy: "drop"}}})
	}
	return s
}

// answers are what is said of each packet: which rule drops it, which ones may, or that it passes.
func (g *generated) answers(asked []Packet) (all []string) {
	r := Of(g.state())
	for _, p := range asked {
		o := r.Evaluate(p)
		said := "passes"
		if o.Rule != nil {
			said = "drops " + o.Rule.Text
		} else if len(o.Candidates) > 0 {
			var names []string
			for _, c := range o.Candidates {
				names = append(names, c.Text)
			}
			said = "perhaps " + strings.Join(slices.Compact(names), " ")
		}
		all = append(all, said)
	}
	return all
}

func (g *generated) String() string {
	var text strings.Builder
	for _, t := range g.state().Nft {
		for _, c := range t.Chains {
			fmt.Fprintf(&text, "chain %s\n", c.Name)
			for _, r := range c.Rules {
				fmt.Fprintf(&text, "  %s: %s\n", r.Text, r.Exprs)
			}
		}
	}
	return text.String()
}
