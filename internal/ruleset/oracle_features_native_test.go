//go:build native

package ruleset

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// features are what a ruleset may have that decides over a packet. Of each it is counted how often a rule with it gave a
// packet its verdict, in the kernel and by the model.
var features = []struct {
	name string
	// ofNft and ofIPTables find it in a rule's text.
	ofNft, ofIPTables *regexp.Regexp
}{
	{"set", regexp.MustCompile(`(?:[a-z]|!=) (?:\{|@[a-z]+\d)`), nil},
	{"named set", regexp.MustCompile(`@[a-z]+\d`), nil},
	{"timeout", regexp.MustCompile(`@timed\d`), nil},
	{"interval", regexp.MustCompile(`\{[^}]*[\d.]+[-/]\d|@(?:network|span|area)\d`), regexp.MustCompile(`:|-range`)},
	{"concatenation", regexp.MustCompile(`[a-z4] \. [a-z]`), nil},
	{"concatenation of intervals", regexp.MustCompile(`\{[^}]* \. [^}]*\d[-/]\d|\{[^}]*\d[-/]\d[^}]* \. |@(?:area|way)\d`), nil},
	{"map", regexp.MustCompile(` map `), nil},
	{"verdict map", regexp.MustCompile(` vmap `), nil},
	{"named verdict map", regexp.MustCompile(` vmap @`), nil},
	{"fib", regexp.MustCompile(`\bfib `), regexp.MustCompile(`addrtype`)},
	{"mark", regexp.MustCompile(`\bmark (?:&|and|!=|<|>|\{|0x|\d|vmap)`), regexp.MustCompile(`--mark`)},
	{"translation", regexp.MustCompile(`\b(?:dnat|snat|masquerade|redirect)\b`), regexp.MustCompile(`-j (?:DNAT|SNAT|MASQUERADE|REDIRECT|NETMAP)`)},
	{"reject", regexp.MustCompile(`\breject\b`), regexp.MustCompile(`-j REJECT`)},
}

var asksState = regexp.MustCompile(`\bct state\b|--(?:ct)?state `)

// hookFeatures are those of the packet, the hook and the verdict, not of a rule's text.
var hookFeatures = []string{
	"jump", "goto", "return", "accept", "drop", "policy", "nft", "iptables-nft", "iptables-legacy", "family ip", "family inet", "family netdev",
	"state new", "state established", "state related", "state invalid", "state untracked", "several tables", "chains of one priority", "translated packet",
	"mark set on the way", "mark of iptables in nft", "mark of nft in iptables",
}

// step is a verdict that the packet has met.
type step struct {
	verdict
	name string
	how  match
	// own: at the packet's own hook.
	own bool
}

// String is the rule, and how surely it matches: 1 perhaps, 2 for certain.
func (s step) String() string { return fmt.Sprintf("%s (%d)", s.name, s.how) }

// countFeatures counts those of the verdicts at a hook that model and kernel agree about.
func (o *oracle) countFeatures(p played, at Packet, hook string, steps []step, k told) {
	tables, equal := map[string]bool{}, false
	bases := (&evaluation{p: at, s: o.s, rules: o.rules}).bases()
	for i, b := range bases {
		tables[b.family+" "+b.table] = true
		equal = equal || i > 0 && bases[i-1].priority == b.priority
	}
	for _, s := range steps {
		took := k.dropper[hook] == s.name || k.used[s.name] || slices.Contains(k.steps[hook], s.name)
		if !s.own || !took {
			continue
		}
		if s.kind == drops && s.rule.Policy == "" || s.kind == accepts {
			o.decided[o.kind]++
		}
		found := o.ofRule(s, p, k)
		if len(tables) > 1 {
			found = append(found, "several tables")
		}
		if equal {
			found = append(found, "chains of one priority")
		}
		if at.Src != p.Src || at.Dst != p.Dst || at.Dport != p.Dport {
			found = append(found, "translated packet")
		}
		for _, f := range found {
			o.features[f]++
		}
	}
}

// ofRule are the features of a verdict.
func (o *oracle) ofRule(s step, p played, k told) (found []string) {
	r := s.rule
	found = append(found, r.Backend, "family "+r.Family)
	if r.Policy != "" {
		return append(found, "policy")
	}
	if word := map[kind]string{jumps: "jump", goes: "goto", returns: "return", accepts: "accept", drops: "drop"}[s.kind]; word != "" {
		found = append(found, word)
	}
	for _, f := range features {
		of := f.ofNft
		if r.Backend != "nft" {
			of = f.ofIPTables
		}
		if of != nil && of.MatchString(r.Text) {
			found = append(found, f.name)
		}
	}
	if ct := cmp.Or(k.ct, p.CT); asksState.MatchString(r.Text) && ct.single() {
		found = append(found, "state "+ct.String())
	}
	if by := k.markedBy[s.name]; slices.Contains(found, "mark") && by != "" {
		found = append(found, "mark set on the way")
		if from := strings.HasPrefix(by, "iptables"); from && r.Backend == "nft" {
			found = append(found, "mark of iptables in nft")
		} else if !from && r.Backend != "nft" {
			found = append(found, "mark of nft in iptables")
		}
	}
	return found
}

// featureNames are all of them.
func featureNames() (all []string) {
	all = slices.Clone(hookFeatures)
	for _, f := range features {
		all = append(all, f.name)
	}
	return all
}

// lacking are the features that no packet has met.
func (s *tally) lacking() (names []string) {
	return slices.DeleteFunc(featureNames(), func(name string) bool { return s.features[name] > 0 })
}
