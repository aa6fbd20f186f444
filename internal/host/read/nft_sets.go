package read

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"ipiptrace/internal/host"
)

// How much is read of sets: nft (1.0.6) takes 1.1 s and 130 MB to list 200,000 elements on a machine that has nothing else
// to do.
const (
	// maxElements bounds the elements of all sets together that nft lists.
	maxElements = 1 << 16
	// maxSets bounds the sets that are listed each by a process of its own.
	maxSets = 64
)

// askedSets are the names of the sets that rules of a table ask: "@blocked" wherever a rule has it as a word.
func askedSets(t *host.NftTable) map[string]bool {
	asked := map[string]bool{}
	for _, c := range t.Chains {
		for _, r := range c.Rules {
			for _, e := range r.Exprs {
				addAsked(asked, e)
			}
		}
	}
	return asked
}

func addAsked(asked map[string]bool, expr json.RawMessage) {
	for {
		at := bytes.Index(expr, []byte(`"@`))
		if at < 0 {
			return
		}
		var word string
		if json.NewDecoder(bytes.NewReader(expr[at:])).Decode(&word) == nil {
			asked[word[1:]] = true
		}
		expr = expr[at+2:]
	}
}

// readSets reads the elements of those sets that rules ask, the small ones first, and says of each other set that it was
// not read.
func (r *reader) readSets(tables []host.NftTable, counted []nftSet) {
	slices.SortStableFunc(counted, func(a, b nftSet) int { return cmp.Compare(a.elements, b.elements) })
	for i := range tables {
		asked := askedSets(&tables[i])
		for j := range tables[i].Sets {
			if s := &tables[i].Sets[j]; s.Elem == nil {
				s.Unread = notCounted
			}
			if s := &tables[i].Sets[j]; s.Elem == nil && !asked[s.Name] {
				s.Unread = notAsked
			}
		}
	}
	elements, listed := 0, 0
	for _, c := range counted {
		if c.anonymous {
			continue
		}
		s := set(table(tables, c.family, c.table), c.name)
		if s == nil || s.Unread != notCounted {
			continue
		}
		elements, listed = elements+c.elements, listed+1
		s.Unread = ""
		var err error
		switch {
		case elements <= maxElements && listed <= maxSets:
			err = r.readSet(s, c)
		case c.addresses:
			s.Elem, err = r.kernel.addresses(r.ctx, c)
		case listed > maxSets:
			err = fmt.Errorf("rules ask more than %d sets", maxSets)
		default:
			err = fmt.Errorf("sets with more than %d elements are not read", maxElements)
		}
		if err != nil {
			s.Elem, s.Unread = nil, plain(err)
		}
	}
}

// Why the elements of a set were not read.
const (
	notCounted = "its elements were not counted"
	notAsked   = "no rule asks it"
)

func set(t *host.NftTable, name string) *host.NftSet {
	if t == nil {
		return nil
	}
	for i := range t.Sets {
		if t.Sets[i].Name == name {
			return &t.Sets[i]
		}
	}
	return nil
}

// readSet has nft list a set: of several in one run nft 1.0.6 finds the last one only. It is asked in JSON: of words nft
// would make a command, and any text may be a name.
func (r *reader) readSet(to *host.NftSet, from nftSet) error {
	kind := "set"
	if from.isMap {
		kind = "map"
	}
	type named struct {
		Family string `json:"family"`
		Table  string `json:"table"`
		Name   string `json:"name"`
	}
	command, err := json.Marshal(map[string]any{"nftables": []any{
		map[string]any{"list": map[string]any{kind: named{from.family, from.table, from.name}}},
	}})
	if err != nil {
		return err
	}
	found := false
	err = r.run(r.ctx, nftPrograms, []string{"--json", "--handle", "--numeric", string(command)}, func(out io.Reader) error {
		return nftObjects(out, func(o nftObject) {
			if s := cmp.Or(o.Set, o.Map); s != nil && s.Name == to.Name && s.Handle == to.Handle {
				to.Flags, to.Elem, found = s.Flags, s.Elem, true
			}
		})
	})
	if err == nil && !found {
		err = errors.New("the set has changed")
	}
	return err
}
