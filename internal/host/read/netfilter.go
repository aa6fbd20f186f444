package read

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"ipiptrace/internal/host"
)

// The programs that render rules: the kernel's form of a rule has no text. They only read.
var (
	nftPrograms    = []string{"/usr/sbin/nft", "/sbin/nft"}
	legacyPrograms = []string{"/usr/sbin/iptables-legacy-save", "/sbin/iptables-legacy-save"}
	nftSaves       = []string{"/usr/sbin/iptables-nft-save", "/sbin/iptables-nft-save"}
)

// runTime bounds a program that renders rules.
const runTime = 5 * time.Second

// output is what a program that only reads says: a fixed path, no environment.
func (r *reader) output(programs []string, args ...string) ([]byte, error) {
	i := slices.IndexFunc(programs, func(p string) bool { _, err := os.Stat(p); return err == nil })
	if i < 0 {
		return nil, fmt.Errorf("%s is not installed", programs[0])
	}
	ctx, cancel := context.WithTimeout(r.ctx, runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, programs[i], args...)
	cmd.Env = []string{"LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", programs[i], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

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

// nft reads the rulesets of nftables, iptables-nft's included.
func (r *reader) nft() error {
	if !r.has("nf_tables") {
		return nil
	}
	asJSON, err := r.output(nftPrograms, "--json", "--handle", "--numeric", "list", "ruleset")
	if err != nil {
		return err
	}
	var list struct{ Nftables []nftObject }
	if err := json.Unmarshal(asJSON, &list); err != nil {
		return fmt.Errorf("nft --json: %w", err)
	}
	for _, o := range list.Nftables {
		r.nftObject(o)
	}
	// For people: states and types by name, where JSON has their numbers.
	text, err := r.output(nftPrograms, "--handle", "--numeric-protocol", "--numeric-priority", "list", "ruleset")
	if err != nil {
		return err
	}
	r.nftText(string(text))
	return nil
}

func (r *reader) nftObject(o nftObject) {
	switch {
	case o.Table != nil:
		r.s.Nft = append(r.s.Nft, host.NftTable{
			Family: o.Table.Family, Name: o.Table.Name, Handle: o.Table.Handle, Dormant: slices.Contains(o.Table.Flags, "dormant"),
		})
	case o.Chain != nil:
		if t := r.table(o.Chain.Family, o.Chain.Table); t != nil {
			c := o.Chain
			t.Chains = append(t.Chains, host.NftChain{
				Name: c.Name, Handle: c.Handle, Hook: c.Hook, Type: c.Type, Priority: c.Prio, Policy: c.Policy, Devices: c.Dev,
			})
		}
	case o.Rule != nil:
		if c := chain(r.table(o.Rule.Family, o.Rule.Table), o.Rule.Chain); c != nil {
			c.Rules = append(c.Rules, host.NftRule{Handle: o.Rule.Handle, Exprs: o.Rule.Expr})
		}
	case o.Set != nil || o.Map != nil:
		set := o.Set
		if set == nil {
			set = o.Map
		}
		if t := r.table(set.Family, set.Table); t != nil {
			t.Sets = append(t.Sets, host.NftSet{Name: set.Name, Handle: set.Handle, Flags: set.Flags, Elem: set.Elem})
		}
	}
}

func (r *reader) table(family, name string) *host.NftTable {
	for i := range r.s.Nft {
		if t := &r.s.Nft[i]; t.Family == family && t.Name == name {
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

// nftText adds the text of the rules: lines that end in "# handle 12", within "table ip lab {" and "chain input {".
func (r *reader) nftText(text string) {
	var t *host.NftTable
	var c *host.NftChain
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case len(words) >= 4 && words[0] == "table" && words[3] == "{":
			t, c = r.table(words[1], unquote(words[2])), nil
		case len(words) >= 3 && words[0] == "chain" && words[2] == "{":
			c = chain(t, unquote(words[1]))
		case c != nil:
			body, handle, ok := strings.Cut(line, " # handle ")
			n, err := strconv.ParseUint(handle, 10, 64)
			if !ok || err != nil {
				continue
			}
			for i := range c.Rules {
				if c.Rules[i].Handle == n {
					c.Rules[i].Text = body
				}
			}
		}
	}
}

func unquote(word string) string { return strings.Trim(word, `"`) }

// iptables reads what iptables-save shows, of tables that are there: it makes those that are not.
func (r *reader) iptables() error {
	var errs []error
	names, err := os.ReadFile(netFile("ip_tables_names"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, name := range strings.Fields(string(names)) {
		text, err := r.output(legacyPrograms, "--counters", "--table", name)
		if err == nil {
			err = r.saved("iptables-legacy", string(text))
		}
		errs = append(errs, err)
	}
	if tables := r.iptablesNft(); len(tables) > 0 {
		for _, name := range tables {
			text, err := r.output(nftSaves, "--counters", "--table", name)
			if err == nil {
				err = r.saved("iptables-nft", string(text))
			}
			if err == nil {
				r.table("ip", name).IPTables = true
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// builtIn are the tables of iptables, and the chains that each of them may begin with.
var (
	builtInTables = []string{"filter", "nat", "mangle", "raw", "security"}
	builtInChains = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
)

// iptablesNft are the tables that look as iptables-nft makes them.
func (r *reader) iptablesNft() (names []string) {
	for _, t := range r.s.Nft {
		base := func(c host.NftChain) bool { return c.Hook != "" }
		ours := func(c host.NftChain) bool { return base(c) && !slices.Contains(builtInChains, c.Name) }
		if t.Family == "ip" && slices.Contains(builtInTables, t.Name) && slices.ContainsFunc(t.Chains, base) && !slices.ContainsFunc(t.Chains, ours) {
			names = append(names, t.Name)
		}
	}
	return names
}

// saved reads iptables-save's form:
//
//	*filter
//	:INPUT ACCEPT [12:720]
//	[3:180] -A INPUT -p tcp -m tcp --dport 80 -j DROP
func (r *reader) saved(backend, text string) error {
	var t *host.IPTables
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			r.s.IPTables = append(r.s.IPTables, host.IPTables{Backend: backend, Table: line[1:]})
			t = &r.s.IPTables[len(r.s.IPTables)-1]
		case t == nil:
			return fmt.Errorf("%s-save: %q before a table", backend, line)
		case line[0] == ':':
			f := strings.Fields(line[1:])
			if len(f) < 2 {
				return fmt.Errorf("%s-save: %q is no chain", backend, line)
			}
			c := host.IPTablesChain{Name: f[0]}
			if f[1] != "-" {
				c.Policy = f[1]
			}
			t.Chains = append(t.Chains, c)
		default:
			if err := addSaved(t, line); err != nil {
				return fmt.Errorf("%s-save: %w", backend, err)
			}
		}
	}
	return nil
}

func addSaved(t *host.IPTables, line string) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	var rule host.IPTablesRule
	if len(words) > 0 && strings.HasPrefix(words[0], "[") {
		if _, err := fmt.Sscanf(words[0], "[%d:%d]", &rule.Packets, &rule.Bytes); err != nil {
			return fmt.Errorf("%q has no counters: %w", line, err)
		}
		words = words[1:]
	}
	if len(words) < 2 || words[0] != "-A" {
		return fmt.Errorf("%q is no rule", line)
	}
	i := slices.IndexFunc(t.Chains, func(c host.IPTablesChain) bool { return c.Name == words[1] })
	if i < 0 {
		return fmt.Errorf("%q is of no chain", line)
	}
	rule.Args = words[2:]
	t.Chains[i].Rules = append(t.Chains[i].Rules, rule)
	return nil
}

// split cuts a line into words as iptables-restore does: double quotes, and a backslash inside of them.
func split(line string) (words []string, err error) {
	var word strings.Builder
	quoted, begun := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && quoted && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("%q ends inside of quotes", line)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
