package read

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"ipiptrace/internal/host"
)

// nftObject is one object of libnftables-json(5).
type nftObject struct {
	Table *struct {
		Family, Name string
		Handle       uint64
		Flags        flags
	}
	Chain *struct {
		Family, Table, Name, Type, Hook, Policy string
		Handle                                  uint64
		Prio                                    int
		Dev                                     flags
	}
	Rule *struct {
		Family, Table, Chain string
		Handle               uint64
		Expr                 []json.RawMessage
	}
	Set, Map *struct {
		Family, Table, Name string
		Handle              uint64
		Flags               flags
		Elem                json.RawMessage
	}
}

// flags are a word or a list of words.
type flags []string

// UnmarshalJSON takes both.
func (f *flags) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*f = flags{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(f))
}

// nft reads the rulesets of nftables, iptables-nft's included: what they are from JSON, their text from a listing.
func (r *reader) nft() error {
	if there, err := r.modules.has("nf_tables"); !there {
		return err
	}
	sets, err := r.kernel.sets(r.ctx)
	if err != nil {
		return fmt.Errorf("count the elements of sets: %w", err)
	}
	// Terse leaves out the elements of named sets, and nft does not even read them then.
	var terse []string
	if !areFew(sets) {
		terse = []string{"--terse"}
	}
	for range attempts {
		if err := r.nftRules(terse); err != nil {
			r.s.Nft = nil
			return r.outlined(err, sets)
		}
		if r.nftTexts(terse) {
			break
		}
	}
	if terse != nil {
		r.readSets(r.s.Nft, sets)
	}
	return r.nftDevices()
}

// nftTexts gives rules the text of nft's listing for people, which has states and types by name where JSON has numbers. It
// reports whether the listing is of these rules; if there is none in half of the time that is left they have no text.
func (r *reader) nftTexts(terse []string) (fits bool) {
	ctx, cancel := r.half()
	defer cancel()
	text, err := r.output(ctx, nftPrograms, append(terse, "--handle", "--numeric-protocol", "--numeric-priority", "list", "ruleset")...)
	return err != nil || addTexts(r.s.Nft, string(text))
}

func areFew(sets []nftSet) bool {
	n := 0
	for _, s := range sets {
		n += s.elements
	}
	return n <= maxElements
}

// nftRules reads all that nft lists as JSON.
func (r *reader) nftRules(terse []string) error {
	return r.run(r.ctx, nftPrograms, append(terse, "--json", "--handle", "--numeric", "list", "ruleset"), func(from io.Reader) (err error) {
		r.s.Nft, err = nftTables(from)
		if terse != nil && err == nil && slices.ContainsFunc(r.s.Nft, hasEmptySet) {
			err = errors.New("--terse leaves out what sets within rules have")
		}
		return err
	})
}

// hasEmptySet reports whether a rule has a set without elements within itself: nobody can write such a rule.
func hasEmptySet(t host.NftTable) bool {
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			if slices.ContainsFunc(r.Exprs, func(e json.RawMessage) bool { return emptySet.Match(e) }) {
				return true
			}
		}
	}
	return false
}

var emptySet = regexp.MustCompile(`"set":\s*(\[\s*\]|null)`)

// nftTables reads what nft --json lists.
func nftTables(from io.Reader) ([]host.NftTable, error) {
	l := nftList{table: map[[2]string]int{}, chain: map[[3]string]int{}}
	err := nftObjects(from, l.add)
	return l.tables, err
}

// nftObjects hands on each object of a list as it comes.
func nftObjects(from io.Reader, add func(nftObject)) error {
	d := json.NewDecoder(from)
	for _, want := range []json.Token{json.Delim('{'), "nftables", json.Delim('[')} {
		if got, err := d.Token(); err != nil || got != want {
			return cmp.Or(err, fmt.Errorf("%v where a list of nftables has %v", got, want))
		}
	}
	for d.More() {
		var o nftObject
		if err := d.Decode(&o); err != nil {
			return err
		}
		add(o)
	}
	if _, err := d.Token(); err != nil {
		return errors.New("nft's list has no end")
	}
	return nil
}

// nftList are the tables of a list, and where each of them and each chain is.
type nftList struct {
	tables []host.NftTable
	table  map[[2]string]int
	chain  map[[3]string]int
}

func (l *nftList) add(o nftObject) {
	switch {
	case o.Table != nil:
		l.table[[2]string{o.Table.Family, o.Table.Name}] = len(l.tables)
		l.tables = append(l.tables, host.NftTable{
			Family: o.Table.Family, Name: o.Table.Name, Handle: o.Table.Handle, Dormant: slices.Contains(o.Table.Flags, "dormant"),
			Owned: slices.Contains(o.Table.Flags, "owner"),
		})
	case o.Chain != nil:
		c := o.Chain
		if t := l.at(c.Family, c.Table); t != nil {
			l.chain[[3]string{c.Family, c.Table, c.Name}] = len(t.Chains)
			t.Chains = append(t.Chains, host.NftChain{
				Name: c.Name, Handle: c.Handle, Hook: c.Hook, Type: c.Type, Priority: c.Prio, Policy: c.Policy, Devices: c.Dev,
			})
		}
	case o.Rule != nil:
		t := l.at(o.Rule.Family, o.Rule.Table)
		if i, ok := l.chain[[3]string{o.Rule.Family, o.Rule.Table, o.Rule.Chain}]; ok && t != nil {
			t.Chains[i].Rules = append(t.Chains[i].Rules, host.NftRule{Handle: o.Rule.Handle, Exprs: o.Rule.Expr})
		}
	case o.Set != nil || o.Map != nil:
		set := cmp.Or(o.Set, o.Map)
		if t := l.at(set.Family, set.Table); t != nil {
			t.Sets = append(t.Sets, host.NftSet{Name: set.Name, Handle: set.Handle, Flags: set.Flags, Elem: set.Elem})
		}
	}
}

func (l *nftList) at(family, name string) *host.NftTable {
	i, ok := l.table[[2]string{family, name}]
	if !ok {
		return nil
	}
	return &l.tables[i]
}

func table(tables []host.NftTable, family, name string) *host.NftTable {
	for i := range tables {
		if t := &tables[i]; t.Family == family && t.Name == name {
			return t
		}
	}
	return nil
}

func chain(t *host.NftTable, name string) *host.NftChain {
	if t == nil {
		return nil
	}
	for i := range t.Chains {
		if t.Chains[i].Name == name {
			return &t.Chains[i]
		}
	}
	return nil
}
