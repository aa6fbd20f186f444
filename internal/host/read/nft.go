package read

import (
	"encoding/json"
	"fmt"
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
	if !r.has("nf_tables") {
		return nil
	}
	for range attempts {
		asJSON, err := r.output(nftPrograms, "--json", "--handle", "--numeric", "list", "ruleset")
		if err != nil {
			return err
		}
		if r.s.Nft, err = nftTables(asJSON); err != nil {
			return fmt.Errorf("nft --json: %w", err)
		}
		// For people: states and types by name, where JSON has their numbers.
		text, err := r.output(nftPrograms, "--handle", "--numeric-protocol", "--numeric-priority", "list", "ruleset")
		if err != nil {
			return err
		}
		if addTexts(r.s.Nft, string(text)) {
			break
		}
	}
	return nil
}

// nftTables reads what nft --json lists.
func nftTables(asJSON []byte) (tables []host.NftTable, err error) {
	var list struct{ Nftables []nftObject }
	if err := json.Unmarshal(asJSON, &list); err != nil {
		return nil, err
	}
	for _, o := range list.Nftables {
		tables = o.addTo(tables)
	}
	return tables, nil
}

func (o nftObject) addTo(tables []host.NftTable) []host.NftTable {
	switch {
	case o.Table != nil:
		return append(tables, host.NftTable{
			Family: o.Table.Family, Name: o.Table.Name, Handle: o.Table.Handle, Dormant: slices.Contains(o.Table.Flags, "dormant"),
		})
	case o.Chain != nil:
		if t := table(tables, o.Chain.Family, o.Chain.Table); t != nil {
			c := o.Chain
			t.Chains = append(t.Chains, host.NftChain{
				Name: c.Name, Handle: c.Handle, Hook: c.Hook, Type: c.Type, Priority: c.Prio, Policy: c.Policy, Devices: c.Dev,
			})
		}
	case o.Rule != nil:
		if c := chain(table(tables, o.Rule.Family, o.Rule.Table), o.Rule.Chain); c != nil {
			c.Rules = append(c.Rules, host.NftRule{Handle: o.Rule.Handle, Exprs: o.Rule.Expr})
		}
	case o.Set != nil || o.Map != nil:
		set := o.Set
		if set == nil {
			set = o.Map
		}
		if t := table(tables, set.Family, set.Table); t != nil {
			t.Sets = append(t.Sets, host.NftSet{Name: set.Name, Handle: set.Handle, Flags: set.Flags, Elem: set.Elem})
		}
	}
	return tables
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
