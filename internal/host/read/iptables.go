package read

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// errChanged says that what iptables-save shows is not what the kernel has: it has changed, or is not shown as it is.
var errChanged = errors.New("the rules are not those that the kernel has")

// errNotShown: which tables are iptables-nft's is seen in nftables.
var errNotShown = errors.New("iptables-nft: nftables was not read")

// iptables reads what iptables-save shows, of tables that are there: it makes those that are not.
func (r *reader) iptables() error {
	names, err := os.ReadFile(r.files.net("ip_tables_names"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	errs := []error{err}
	for _, name := range strings.Fields(string(names)) {
		errs = append(errs, r.iptablesLegacy(name))
	}
	errs = append(errs, r.iptablesNft())
	r.hooks()
	return errors.Join(errs...)
}

// iptablesLegacy reads a table, as many rules as the kernel says it has.
func (r *reader) iptablesLegacy(name string) (err error) {
	for range attempts {
		var tables []host.IPTables
		if tables, err = r.save(legacyPrograms, name); err != nil {
			return err
		}
		entries, err := r.kernel.entries(name)
		if err != nil {
			return fmt.Errorf("iptables-legacy %s: %w", name, err)
		}
		if len(tables) == 1 && tables[0].Table == name && entriesOf(tables[0]) == entries {
			tables[0].Backend = "iptables-legacy"
			r.s.IPTables = append(r.s.IPTables, tables...)
			return nil
		}
	}
	return fmt.Errorf("iptables-legacy %s: %w", name, errChanged)
}

// ipt_getinfo and what to ask with, of linux/netfilter_ipv4/ip_tables.h.
const (
	iptGetInfo  = 64
	iptInfoSize = 84
	iptEntries  = 76
	iptNameSize = 32
)

// legacyEntries is the number of entries of a table of iptables-legacy.
func legacyEntries(table string) (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	info := make([]byte, iptInfoSize)
	copy(info[:iptNameSize-1], table)
	size := uint32(len(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, iptGetInfo, uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return binary.NativeEndian.Uint32(info[iptEntries:]), nil
}

// entriesOf is how many entries a table has in the kernel: one for each rule, a built-in chain has its policy beside
// them, any other a head and a return, and the table an end (libiptc).
func entriesOf(t host.IPTables) uint32 {
	n := 1
	for _, c := range t.Chains {
		n += len(c.Rules)
		if n++; c.Policy == "" {
			n++
		}
	}
	return uint32(n)
}

// iptablesNft reads the tables of iptables-nft. Each must have as many rules in each chain as nft has shown.
func (r *reader) iptablesNft() (err error) {
	if !r.s.Knows(host.PartNft) {
		return errNotShown
	}
	for range attempts {
		var all []host.IPTables
		if all, err = r.savedNft(); !errors.Is(err, errChanged) {
			r.s.IPTables = append(r.s.IPTables, all...)
			return err
		}
		if err := r.nft(); err != nil {
			r.s.Unread = append(r.s.Unread, host.Unread{Part: host.PartNft, Why: plain(err)})
			return errNotShown
		}
	}
	return err
}

func (r *reader) savedNft() (all []host.IPTables, err error) {
	var errs []error
	for _, name := range likeIPTables(r.s.Nft) {
		t := table(r.s.Nft, "ip", name)
		if !sayable(*t) {
			continue
		}
		tables, err := r.save(nftSaves, name)
		switch {
		case err != nil:
			errs = append(errs, err)
		case len(tables) == 0: // it has found rules that iptables has no words for
		case len(tables) > 1 || !sameRules(tables[0], *t):
			errs = append(errs, fmt.Errorf("iptables-nft %s: %w", name, errChanged))
		default:
			t.IPTables, tables[0].Backend = true, "iptables-nft"
			all = append(all, tables...)
		}
	}
	return all, errors.Join(errs...)
}

// statements are those that rules of iptables-nft consist of, matched what their matches ask for.
var (
	statements = []string{"accept", "continue", "counter", "drop", "goto", "jump", "limit", "log", "match", "return", "xt"}
	matched    = []string{
		"meta iif", "meta iifname", "meta oif", "meta oifname", "meta l4proto", "meta mark", "meta pkttype",
		"ip saddr", "ip daddr", "ip protocol", "ip frag-off",
		"tcp sport", "tcp dport", "tcp flags", "udp sport", "udp dport",
	}
	ports = []string{"tcp sport", "tcp dport", "udp sport", "udp dport"}
)

// sayable reports whether iptables has words for each rule of a table. iptables-nft-save (1.8.9) leaves out what it has no
// words for, instead of saying so: `ip saddr { 192.0.2.1, 192.0.2.2 } drop` is `-j DROP` there, and of a range of addresses
// it shows the last one. A table in which nft has added such a rule is read as nft shows it.
func sayable(t host.NftTable) bool {
	for _, c := range t.Chains {
		if slices.ContainsFunc(c.Rules, func(r host.NftRule) bool { return !sayableRule(r) }) {
			return false
		}
	}
	return true
}

func sayableRule(r host.NftRule) bool {
	var asked []string
	for _, raw := range r.Exprs {
		var statement map[string]json.RawMessage
		if json.Unmarshal(raw, &statement) != nil || len(statement) != 1 {
			return false
		}
		for kind, body := range statement {
			if !slices.Contains(statements, kind) {
				return false
			}
			if kind != "match" {
				continue
			}
			what, ok := asks(body)
			if !ok || slices.Contains(asked, what) { // of two the last one is shown
				return false
			}
			asked = append(asked, what)
		}
	}
	return true
}

// asks is what a match asks for, if iptables can ask so: for one value, or a prefix, and for ports also a range.
func asks(match json.RawMessage) (what string, ok bool) {
	var m struct{ Left, Right json.RawMessage }
	if json.Unmarshal(match, &m) != nil {
		return "", false
	}
	var left struct {
		Meta    struct{ Key string }
		Payload struct{ Protocol, Field string }
		And     []json.RawMessage `json:"&"`
	}
	if json.Unmarshal(m.Left, &left) == nil && len(left.And) == 2 { // with a mask
		m.Left, left.And = left.And[0], nil
		if json.Unmarshal(m.Left, &left) != nil {
			return "", false
		}
	}
	what = left.Payload.Protocol + " " + left.Payload.Field
	if left.Meta.Key != "" {
		what = "meta " + left.Meta.Key
	}
	if !slices.Contains(matched, what) {
		return "", false
	}
	var right any
	if json.Unmarshal(m.Right, &right) != nil {
		return "", false
	}
	switch value := right.(type) {
	case string:
		return what, !strings.HasPrefix(value, "@")
	case float64:
		return what, true
	case map[string]any:
		_, prefix := value["prefix"]
		_, span := value["range"]
		return what, prefix || span && slices.Contains(ports, what)
	}
	return "", false
}

// sameRules reports whether two views of a table have the same chains, and as many rules in each. iptables-nft-save
// also shows built-in chains that are not there.
func sameRules(saved host.IPTables, t host.NftTable) bool {
	for _, c := range saved.Chains {
		seen := chain(&t, c.Name)
		if seen == nil && (c.Policy == "" || len(c.Rules) > 0) || seen != nil && len(seen.Rules) != len(c.Rules) {
			return false
		}
	}
	shown := func(c host.NftChain) bool {
		return slices.ContainsFunc(saved.Chains, func(s host.IPTablesChain) bool { return s.Name == c.Name })
	}
	return saved.Table == t.Name && !slices.ContainsFunc(t.Chains, func(c host.NftChain) bool { return !shown(c) })
}

// builtInTables are the tables of iptables, builtInChains the chains that each of them may begin with.
var (
	builtInTables = []string{"filter", "nat", "mangle", "raw", "security"}
	builtInChains = []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
)

// likeIPTables are the tables that look as iptables-nft makes them.
func likeIPTables(tables []host.NftTable) (names []string) {
	for _, t := range tables {
		base := func(c host.NftChain) bool { return c.Hook != "" }
		ours := func(c host.NftChain) bool { return base(c) && !slices.Contains(builtInChains, c.Name) }
		if t.Family == "ip" && slices.Contains(builtInTables, t.Name) && slices.ContainsFunc(t.Chains, base) && !slices.ContainsFunc(t.Chains, ours) {
			names = append(names, t.Name)
		}
	}
	return names
}

// save has a program show a table.
func (r *reader) save(programs []string, name string) ([]host.IPTables, error) {
	text, err := r.output(r.ctx, programs, "--counters", "--table", name)
	if err != nil {
		return nil, err
	}
	tables, err := saved(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", programs[0], err)
	}
	return tables, nil
}

// saved reads iptables-save's form. What does not fit exactly is an error, not another rule:
//
//	*filter
//	:INPUT ACCEPT [12:720]
//	[3:180] -A INPUT -p tcp -m tcp --dport 80 -j DROP
//	COMMIT
func saved(text []byte) (tables []host.IPTables, err error) {
	var t *host.IPTables // the one that is begun
	rules := false
	for len(text) > 0 {
		if text[0] == '#' {
			_, text, _ = bytes.Cut(text, []byte("\n"))
			continue
		}
		words, rest, err := line(text)
		if err != nil {
			return nil, err
		}
		whole := strings.TrimSuffix(string(text[:len(text)-len(rest)]), "\n")
		text = rest
		switch {
		case len(words) == 0:
		case t == nil && len(words) == 1 && strings.HasPrefix(words[0], "*"):
			tables = append(tables, host.IPTables{Table: words[0][1:]})
			t, rules = &tables[len(tables)-1], false
		case t == nil:
			return nil, fmt.Errorf("%q before a table", words)
		case len(words) == 1 && words[0] == "COMMIT":
			t = nil
		case strings.HasPrefix(words[0], ":") && !rules:
			if err := addChain(t, words); err != nil {
				return nil, err
			}
		default:
			if err := addRule(t, words, whole); err != nil {
				return nil, err
			}
			rules = true
		}
	}
	if t != nil {
		return nil, fmt.Errorf("table %q has no end", t.Table)
	}
	return tables, nil
}

// addChain reads ":INPUT ACCEPT [12:720]".
func addChain(t *host.IPTables, words []string) error {
	if len(words) != 3 || len(words[0]) == 1 || !slices.Contains([]string{"-", "ACCEPT", "DROP", "QUEUE", "RETURN"}, words[1]) {
		return fmt.Errorf("%q is no chain", words)
	}
	c := host.IPTablesChain{Name: words[0][1:]}
	if slices.ContainsFunc(t.Chains, func(other host.IPTablesChain) bool { return other.Name == c.Name }) {
		return fmt.Errorf("chain %q is there twice", c.Name)
	}
	if words[1] != "-" {
		c.Policy = words[1]
	}
	t.Chains = append(t.Chains, c)
	return nil
}

// addRule reads "[3:180] -A INPUT -p tcp -j DROP": the words of a whole line.
func addRule(t *host.IPTables, words []string, whole string) error {
	if len(words) < 3 || words[1] != "-A" {
		return fmt.Errorf("%q is no rule", words)
	}
	var rule host.IPTablesRule
	if _, err := fmt.Sscanf(words[0], "[%d:%d]", &rule.Packets, &rule.Bytes); err != nil {
		return fmt.Errorf("%q has no counters: %w", words, err)
	}
	i := slices.IndexFunc(t.Chains, func(c host.IPTablesChain) bool { return c.Name == words[2] })
	if i < 0 {
		return fmt.Errorf("%q is of no chain", words)
	}
	rule.Args = words[3:]
	if begins := words[0] + " " + rule.Saved(words[2]); begins != whole {
		_, rule.Line, _ = strings.Cut(whole, " -A "+words[2]+" ")
	}
	t.Chains[i].Rules = append(t.Chains[i].Rules, rule)
	return nil
}

// line cuts a line off a text, in words as iptables-restore reads them: whole ones in double quotes, and a backslash
// inside of those. A newline inside of quotes ends no line: iptables-save writes a comment as it is.
func line(text []byte) (words []string, rest []byte, err error) {
	var word strings.Builder
	quoted, begun := false, false
	end := func() {
		if begun {
			words = append(words, word.String())
			word.Reset()
		}
		begun = false
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && quoted && i+1 < len(text):
			i++
			word.WriteByte(text[i])
		case c == '"' && quoted && i+1 < len(text) && text[i+1] != ' ' && text[i+1] != '\n', c == '"' && !quoted && begun:
			return nil, nil, fmt.Errorf("%q has a quote inside", word.String())
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			end()
		case c == '\n' && !quoted:
			end()
			return words, text[i+1:], nil
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if quoted {
		return nil, nil, fmt.Errorf("%q ends inside of quotes", word.String())
	}
	end()
	return words, nil, nil
}
