package read

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ipiptrace/internal/host"
)

// says is a runner of programs that write that, by the program's name and arguments.
func says(outputs map[string]string) runner {
	return func(_ context.Context, paths, args []string, take func(io.Reader) error) error {
		command := strings.Join(append([]string{filepath.Base(paths[0])}, args...), " ")
		text, ok := outputs[command]
		if !ok {
			return errors.New(paths[0] + " is not installed")
		}
		return take(strings.NewReader(text))
	}
}

// outline is what the kernel says of where rules are.
var outline = []host.NftOutline{{Family: "ip", Table: "t", Chain: "c", Handles: []uint64{2, 3}}}

// ruled is a reader of rules, of a machine with both kinds of iptables.
func ruled(t *testing.T, run runner, sets ...nftSet) *reader {
	return &reader{
		ctx: t.Context(), run: run, modules: modules{names: []string{"nf_tables"}}, s: &host.Snapshot{},
		files: rootOf(t, map[string]string{"/proc/modules": "", "/proc/thread-self/net/ip_tables_names": "filter\n"}),
		kernel: kernel{
			sets:    func(context.Context) ([]nftSet, error) { return sets, nil },
			entries: func(string) (uint32, error) { return 4, nil },
			outline: func() ([]host.NftOutline, error) { return outline, nil },
		},
	}
}

var rulesParts = []part{{name: host.PartNft, read: (*reader).nft}, {name: host.PartIPTables, read: (*reader).iptables}}

// TestRulesThatWereNotReadAreSaid has programs be absent, fail and take too long.
func TestRulesThatWereNotReadAreSaid(t *testing.T) {
	slow, fails := execute(10*time.Millisecond), execute(time.Minute)
	for what, c := range map[string]struct {
		run  runner
		want []string
	}{
		"absent": {execute(time.Minute), []string{
			"nftables: /none/nft is not installed",
			"iptables: /none/iptables-legacy-save is not installed; iptables-nft: nftables was not read"}},
		"slow": {func(ctx context.Context, paths, _ []string, take func(io.Reader) error) error {
			return slow(ctx, []string{"/bin/sleep"}, []string{"60"}, take)
		}, []string{"nftables: /bin/sleep took longer than 10ms", "iptables: /bin/sleep took longer than 10ms; iptables-nft: nftables was not read"}},
		"failing": {func(ctx context.Context, paths, _ []string, take func(io.Reader) error) error {
			return fails(ctx, []string{"/bin/sh"}, []string{"-c", "echo '{\"nftables\": ['; printf 'no memory\\nmore' >&2; exit 1"}, take)
		}, []string{"nftables: /bin/sh: exit status 1: no memory", "iptables: /bin/sh: exit status 1: no memory; iptables-nft: nftables was not read"}},
		"cut off": {func(_ context.Context, _, _ []string, take func(io.Reader) error) error {
			return take(strings.NewReader(`{"nftables": [{"table": {"family": "ip", "name": "t", "handle": 1}}`))
		}, []string{"nftables: nft's list has no end", "iptables: /usr/sbin/iptables-legacy-save: \"{\" has a quote inside; iptables-nft: nftables was not read"}},
	} {
		t.Run(what, func(t *testing.T) {
			r := ruled(t, c.run)
			if what == "absent" {
				r.run = func(ctx context.Context, paths, args []string, take func(io.Reader) error) error {
					return c.run(ctx, []string{"/none/" + filepath.Base(paths[0])}, args, take)
				}
			}
			r.read(rulesParts)
			var got []string
			for _, u := range r.s.Unread {
				got = append(got, string(u.Part)+": "+u.Why)
			}
			if !slices.Equal(got, c.want) || len(r.s.Nft)+len(r.s.IPTables) > 0 {
				t.Errorf("unread is\n%q, want\n%q, of %+v", got, c.want, r.s)
			}
			if slow := what == "slow"; slow != reflect.DeepEqual(r.s.NftOutline, outline) {
				t.Errorf("the outline is %+v", r.s.NftOutline)
			}
		})
	}
}

// TestOfLargeSetsOnlyThoseAreReadThatRulesAsk has nft 1.0.6 leave out the elements of named sets, then asks for some.
func TestOfLargeSetsOnlyThoseAreReadThatRulesAsk(t *testing.T) {
	outputs := map[string]string{}
	for command, file := range map[string]string{
		"nft --terse --json --handle --numeric list ruleset":                                                       "terse.json",
		"nft --terse --handle --numeric-protocol --numeric-priority list ruleset":                                  "terse.txt",
		`nft --json --handle --numeric {"nftables":[{"list":{"set":{"family":"ip","table":"t","name":"small"}}}]}`: "small.json",
		`nft --json --handle --numeric {"nftables":[{"list":{"map":{"family":"ip","table":"t","name":"vm"}}}]}`:    "vm.json",
	} {
		text, err := os.ReadFile(filepath.Join("testdata/sets", file))
		if err != nil {
			t.Fatal(err)
		}
		outputs[command] = string(text)
	}
	of := func(name string, isMap bool, elements int) nftSet {
		return nftSet{family: "ip", table: "t", name: name, isMap: isMap, elements: elements}
	}
	r := ruled(t, says(outputs), of("s", false, maxElements+1), of("small", false, 2), of("idle", false, 1), of("vm", true, 1), of("gone", false, 1))
	r.read(rulesParts[:1])
	if len(r.s.Unread) > 0 || len(r.s.Nft) != 1 || r.s.Nft[0].Chains[0].Rules[0].Text != "ip saddr @s drop" {
		t.Fatalf("%+v", r.s)
	}
	want := []host.NftSet{
		{Name: "s", Handle: 2, Unread: "sets with more than 65536 elements are not read"},
		{Name: "small", Handle: 3, Elem: []byte("[80, 443]")},
		{Name: "idle", Handle: 4, Unread: "no rule asks it"},
		{Name: "vm", Handle: 5, Elem: []byte(`[[80, {"drop": null}]]`)},
	}
	if got := r.s.Nft[0].Sets; !reflect.DeepEqual(got, want) {
		t.Errorf("the sets are\n%+v, want\n%+v", got, want)
	}
	r = ruled(t, says(outputs), nftSet{family: "ip", table: "t", name: "s", elements: maxElements + 1, addresses: true})
	r.kernel.addresses = func(context.Context, nftSet) (json.RawMessage, error) { return json.RawMessage(`["192.0.2.1"]`), nil }
	r.read(rulesParts[:1])
	if got := r.s.Nft[0].Sets[0]; string(got.Elem) != `["192.0.2.1"]` || got.Unread != "" {
		t.Errorf("of a large set of addresses there is %+v", got)
	}
}

// TestAnNftThatLeavesOutTooMuchIsRefused has --terse leave out what a set within a rule has.
func TestAnNftThatLeavesOutTooMuchIsRefused(t *testing.T) {
	r := ruled(t, says(map[string]string{"nft --terse --json --handle --numeric list ruleset": `{"nftables": [
		{"table": {"family": "ip", "name": "t", "handle": 1}}, {"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1}},
		{"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 2, "expr": [{"match": {"right": {"set": []}}}]}}]}`}),
		nftSet{elements: maxElements + 1})
	if r.read(rulesParts[:1]); r.s.Nft != nil || len(r.s.Unread) != 1 {
		t.Errorf("%+v", r.s)
	}
}

func TestElementsAreCountedAsTheyAreListed(t *testing.T) {
	for want, b := range []string{"", "\x04\x00\x00\x00", "\x05\x00\x00\x00a\x00\x00\x00\x04\x00\x00\x00"} {
		if got := countAttributes([]byte(b)); got != want {
			t.Errorf("%q: %d", b, got)
		}
	}
	for _, b := range []string{"\x03\x00\x00\x00", "\x08\x00\x00\x00", "\xff\xff\x00\x00", "\x00"} {
		if got := countAttributes([]byte(b)); got != 0 {
			t.Errorf("%q: %d", b, got)
		}
	}
}

// FuzzNftObjects reads what anybody may have written for nft's list.
func FuzzNftObjects(f *testing.F) {
	f.Add(`{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "ip", "name": "t", "handle": 1}},
		{"chain": {"family": "ip", "table": "t", "name": "c", "handle": 1}},
		{"rule": {"family": "ip", "table": "t", "chain": "c", "handle": 2, "expr": [{"match": {"right": "@s"}}, {"drop": null}]}},
		{"set": {"family": "ip", "table": "t", "name": "s", "handle": 3, "flags": "interval", "elem": ["10.0.0.1"]}}]}`)
	f.Fuzz(func(_ *testing.T, text string) {
		tables, _ := nftTables(strings.NewReader(text))
		for i := range tables {
			askedSets(&tables[i])
			sayable(tables[i])
		}
	})
}
