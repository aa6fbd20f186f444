package read

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// fixture reads a ruleset that nft 1.0.6 has listed in both ways, after it was given NAME.in in a namespace of its own.
func fixture(t *testing.T, name string) (tables []host.NftTable, text string) {
	t.Helper()
	asJSON, err := os.ReadFile(filepath.Join("testdata/nft", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	listing, err := os.ReadFile(filepath.Join("testdata/nft", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	if tables, err = nftTables(bytes.NewReader(asJSON)); err != nil {
		t.Fatal(err)
	}
	return tables, string(listing)
}

// texts are the texts of rules, by table, chain and handle.
func texts(tables []host.NftTable) map[string]string {
	all := map[string]string{}
	for _, t := range tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				if r.Text != "" {
					all[fmt.Sprintf("%s %s %d", t.Name, c.Name, r.Handle)] = r.Text
				}
			}
		}
	}
	return all
}

// TestTheTextOfARuleIsNotForged reads rulesets whose names and comments look like other rules.
func TestTheTextOfARuleIsNotForged(t *testing.T) {
	for name, want := range map[string]map[string]string{
		"honest": {
			"lab input 7":  `ip saddr @s drop comment "first"`,
			"lab input 8":  "tcp dport vmap @m",
			"lab input 10": `tcp dport { 80, 443 } log prefix "a { b } # handle 3" drop`,
			"lab input 11": `ip daddr 10.99.0.1 tcp dport 80 drop comment "x"`,
			"lab input 12": "ct state established,related accept",
			"lab input 13": "jump other",
			"two input 3":  "tcp dport 80 limit rate 10/second accept",
		},
		"comment-of-two-lines":        {"lab input 3": "accept"},
		"comment-with-a-handle":       {},
		"comment-with-another-handle": {},
		"comment-with-a-chain":        {},
		"comment-with-quotes": {
			"lab input 2": `tcp dport 80 drop comment "x" accept # handle 9 "y"`,
			"lab input 3": "accept",
		},
		"comment-of-a-chain":   {"lab other 6": "accept", "lab input 8": "accept", "lab output 9": "drop"},
		"chain-with-a-newline": {},
		"set-of-two-lines":     {},
		"log-prefix":           {},
	} {
		t.Run(name, func(t *testing.T) {
			tables, text := fixture(t, name)
			addTexts(tables, text)
			if got := texts(tables); !maps.Equal(got, want) {
				t.Errorf("the rules have these texts:\n%q\nwant\n%q", got, want)
			}
		})
	}
}

// TestRulesThatChangedMeanwhileHaveNoText has the listing be of another moment than the JSON.
func TestRulesThatChangedMeanwhileHaveNoText(t *testing.T) {
	for what, change := range map[string]struct{ from, to string }{
		"a rule came":                   {"\t\tjump other # handle 13\n", "\t\tjump other # handle 13\n\t\taccept # handle 14\n"},
		"a rule went":                   {"\t\tjump other # handle 13\n", ""},
		"a rule was replaced":           {"jump other # handle 13\n", "accept # handle 14\n"},
		"a chain was made anew":         {"chain other { # handle 1\n", "chain other { # handle 14\n"},
		"a rule is in another chain":    {"\t}\n\n\tchain input { # handle 2\n", "\t\tdrop # handle 7\n\t}\n\n\tchain input { # handle 2\n"},
		"the table was made anew":       {"table ip lab { # handle 1\n", "table ip lab { # handle 3\n"},
		"a table of another family":     {"table ip lab { # handle 1\n", "table inet lab { # handle 1\n"},
		"a table came":                  {"table inet two { # handle 2\n", "table ip new { # handle 3\n}\ntable inet two { # handle 2\n"},
		"the listing ends":              {"\t\tjump other # handle 13\n\t}\n}\n", ""},
		"there is no listing":           {"table ip lab { # handle 1\n", ""},
		"a set comes after the chains":  {"\t\tjump other # handle 13\n\t}\n", "\t\tjump other # handle 13\n\t}\n\tset n { # handle 14\n\t}\n"},
		"a rule is there, but no chain": {"\tchain other { # handle 1\n", ""},
	} {
		t.Run(what, func(t *testing.T) {
			tables, text := fixture(t, "honest")
			changed := strings.Replace(text, change.from, change.to, 1)
			if changed == text {
				t.Fatal("nothing has changed")
			}
			if addTexts(tables, changed) {
				t.Error("it fits")
			}
			for rule, text := range texts(tables) {
				if strings.HasPrefix(rule, "lab ") {
					t.Errorf("%s is %q", rule, text)
				}
			}
			if addTexts(tables, text); len(texts(tables)) != 7 {
				t.Errorf("read again, %d rules have a text", len(texts(tables)))
			}
		})
	}
}

// FuzzTexts lists rulesets as nft does, with any text where a user can put one: a rule has its own text or none, and
// its own if no text has a newline.
func FuzzTexts(f *testing.F) {
	f.Add("a set", "a chain", "first", "second", "input", true)
	f.Add("x\"\n\t}\n\n\tchain input { # handle 2\n\t\taccept # handle 4", "x", "x\n\t\taccept # handle 5", "", "a", true)
	f.Add("", "x\n\t\ttype filter", "x\n\t\ttype filter\n\t\taccept", "x # handle 5", "a { # handle 2\n\tchain b", false)
	f.Fuzz(func(t *testing.T, set, ofChain, one, two, name string, base bool) {
		c := host.NftChain{Name: name, Handle: 2, Rules: []host.NftRule{{Handle: 4}, {Handle: 5}}}
		head := ""
		if base {
			c.Hook, head = "input", "\t\ttype filter hook input priority 0; policy accept;\n"
		}
		if ofChain != "" {
			head = "\t\tcomment \"" + ofChain + "\"\n" + head
		}
		own := []string{`comment "` + one + `"`, `tcp dport 80 log prefix "` + two + `" drop`}
		text := "table ip lab { # handle 1\n" +
			"\tset s { # handle 1\n\t\tcomment \"" + set + "\"\n\t}\n\n" +
			"\tchain " + name + " { # handle 2\n" + head + "\t\t" + own[0] + " # handle 4\n\t\t" + own[1] + " # handle 5\n\t}\n\n" +
			"\tchain last { # handle 3\n\t\taccept # handle 6\n\t}\n}\n"
		tables := []host.NftTable{{Family: "ip", Name: "lab", Handle: 1, Chains: []host.NftChain{
			c, {Name: "last", Handle: 3, Rules: []host.NftRule{{Handle: 6}}}}}}
		fits := addTexts(tables, text)
		plain := !strings.Contains(set+ofChain+one+two+name, "\n")
		for i, r := range tables[0].Chains[0].Rules {
			if r.Text != own[i] && (plain || r.Text != "") && (base || ofChain == "" || i > 0) {
				t.Errorf("%q is read as %q of\n%s", own[i], r.Text, text)
			}
			if r.Text != own[i] && r.Text != "" {
				t.Errorf("%q is read as %q of\n%s", own[i], r.Text, text)
			}
		}
		if last := tables[0].Chains[1].Rules[0].Text; last != "accept" && (plain || last != "") {
			t.Errorf("the last rule is %q of\n%s", last, text)
		}
		if plain && !fits {
			t.Errorf("it does not fit:\n%s", text)
		}
	})
}
