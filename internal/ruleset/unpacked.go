package ruleset

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"slices"

	"ipiptrace/internal/host"
)

// Ruleset are the rules of a state, and what of them was unpacked: a set of ten thousand networks is unpacked once, not
// for each packet. The state must not change meanwhile. A Ruleset is for one goroutine.
type Ruleset struct {
	host  *host.Snapshot
	rules map[*host.NftRule][]*statement
	// statements are those of all rules, by a hash of their text: rules by the thousand end in the same ones.
	statements map[uint64]*statement
	seed       maphash.Seed
	sets       map[setOf]*set
	// writes are the sets that rules of a table write to.
	writes map[*host.NftTable]map[string]bool
	// altered is what rules of any hook may do to a packet's header; nil: they were not looked through yet.
	altered *effects
	// told are answers about all rules.
	told map[string]bool
	// room is the memory that may still be used, in bytes: a forged state could have a rule for each of its bytes.
	room int
}

// setOf names a set of a table.
type setOf struct {
	table *host.NftTable
	name  string
}

// What is kept at most, and what a rule, one of its statements, a value that is compared one by one and a span need, in bytes.
const (
	maxKept        = 48 << 20
	ruleBytes      = 96
	statementBytes = 512
	elementBytes   = 256
	spanBytes      = 16
	perTextOfRule  = 2
)

// Of are the rules of a state.
func Of(s *host.Snapshot) *Ruleset {
	return &Ruleset{
		host: s, room: maxKept, seed: maphash.MakeSeed(),
		rules: map[*host.NftRule][]*statement{}, statements: map[uint64]*statement{}, sets: map[setOf]*set{}, writes: map[*host.NftTable]map[string]bool{},
	}
}

// Once is the answer to a question about all rules, which costs a look at each: it is asked once.
func (r *Ruleset) Once(question string, ask func() bool) bool {
	answer, known := r.told[question]
	if !known {
		if r.told == nil {
			r.told = map[string]bool{}
		}
		answer = ask()
		r.told[question] = answer
	}
	return answer
}

// keep reports whether there is room for that many more bytes, and takes it.
func (r *Ruleset) keep(bytes int) bool {
	if bytes > r.room {
		return false
	}
	r.room -= bytes
	return true
}

// statementsOf are a rule's expressions.
func (r *Ruleset) statementsOf(rule *host.NftRule) []*statement {
	if all, ok := r.rules[rule]; ok {
		return all
	}
	all := make([]*statement, len(rule.Exprs))
	for i, raw := range rule.Exprs {
		all[i] = r.statement(raw)
	}
	if all = join(all); r.keep(ruleBytes + 8*len(all)) {
		r.rules[rule] = all
	}
	return all
}

// statement is one of a rule's expressions.
func (r *Ruleset) statement(raw json.RawMessage) *statement {
	hash := maphash.Bytes(r.seed, raw)
	if s := r.statements[hash]; s != nil && bytes.Equal(s.text, raw) {
		return s
	}
	s := unpack(raw)
	if r.keep(statementBytes + len(raw)*perTextOfRule) {
		r.statements[hash] = s
	}
	return s
}

// set is the one that is written in a rule, or the table's of that name.
func (r *Ruleset) set(t *host.NftTable, s *set) *set {
	if s.name == "" {
		return s
	}
	named, done := r.sets[setOf{t, s.name}]
	if done {
		return named
	}
	named = &set{name: s.name}
	if i := slices.IndexFunc(t.Sets, func(x host.NftSet) bool { return x.Name == s.name }); i >= 0 {
		of := t.Sets[i]
		named.volatile = slices.Contains(of.Flags, "timeout") || slices.Contains(of.Flags, "dynamic") || r.written(t, s.name)
		named.text = of.Elem
		named.known = of.Unread == "" && (len(of.Elem) == 0 || first(of.Elem) == '[' || string(of.Elem) == "null")
	}
	r.sets[setOf{t, s.name}] = named
	return named
}

// elements are those of a set; kept says that they are not unpacked the next time.
func (r *Ruleset) elements(s *set, of sort) (all *elements, kept bool) {
	if s.by[of] != nil {
		return s.by[of], true
	}
	all = unpackElements(s.text, of)
	if !r.keep(len(all.rest)*elementBytes + len(all.spans)*spanBytes) {
		return all, false
	}
	s.by[of] = all
	return all, true
}

// written reports whether a rule of the table adds to the set, or takes from it.
func (r *Ruleset) written(t *host.NftTable, set string) bool {
	names, done := r.writes[t]
	if !done {
		names = map[string]bool{}
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				for _, raw := range rule.Exprs {
					for _, name := range writes(raw) {
						names[name] = true
					}
				}
			}
		}
		r.writes[t] = names
	}
	return names[set]
}

// alters is what may have been done to the header of a packet on its way to its hook, whichever rules it has met.
// Where there is a chain of NAT a connection may have been translated, by a rule that has gone since, too.
func (r *Ruleset) alters(p Packet, tracked CT) (f effects) {
	if r.altered == nil {
		r.altered = r.alterations()
	}
	f = *r.altered
	f.natted = f.natted && tracked&(New|Established|Related) != 0
	if f.natted && p.Hook == "egress" {
		f.change("saddr")
		f.change("sport")
	}
	return f
}

func (r *Ruleset) alterations() *effects {
	f := new(effects)
	for _, t := range r.host.Nft {
		for _, c := range t.Chains {
			f.natted = f.natted || c.Type == "nat"
			for i := range c.Rules {
				for _, raw := range c.Rules[i].Exprs {
					if name, _ := only(raw); name != "mangle" {
						continue
					}
					if s := unpack(raw); s.writes != nil && s.writes.name == "payload" {
						f.change(s.writes.field)
					}
				}
			}
		}
	}
	for _, t := range r.host.IPTables {
		f.natted = f.natted || t.Table == "nat"
		for _, c := range t.Chains {
			for _, rule := range c.Rules {
				if slices.Contains(rule.Args, "TTL") {
					f.change("ttl")
				}
				if slices.Contains(rule.Args, "TCPMSS") {
					f.change("length")
				}
			}
		}
	}
	return f
}

// reroutes reports whether what is sent may get another route by its mark (ipt_mangle_out, nf_route_table_hook4).
func (r *Ruleset) reroutes() bool {
	return slices.ContainsFunc(r.host.Rules, func(rule host.Rule) bool { return rule.Mark != 0 || rule.Mask != 0 })
}
