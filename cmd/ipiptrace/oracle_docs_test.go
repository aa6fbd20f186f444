package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// block is what one run of an oracle has counted in a guest.
type block struct {
	// Of is what was compared: "generated", "programs".
	Of, Kernel string
	// Rulesets and Rules were loaded; at Hooks packets were compared, Undecided of them the model could not tell.
	Rulesets, Rules, Packets, Hooks, Undecided, Disagreements int
	// Features are how often something that decides over packets was met, Reasons why the model could not tell.
	Features, Reasons map[string]int
}

// oracleKernels are those in which oracles run: in guests, and that of the machine itself.
var oracleKernels = []string{"6.1", "5.10", "6.12", "newest", "host"}

// TestDocsSayHowRulesWereCompared holds the README's figures against those that `make test-oracle` has counted.
func TestDocsSayHowRulesWereCompared(t *testing.T) {
	var where []string
	var all, programs block
	for _, kernel := range oracleKernels {
		blocks := measured[block](t, "../../internal/ruleset/testdata/oracle/"+kernel+".jsonl")
		of := all.add(blocks, "generated")
		programs.add(blocks, "programs")
		if of.Rulesets > 0 {
			where = append(where, fmt.Sprintf("%s on Linux %s", grouped(of.Rulesets), of.Kernel))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all.Features)) {
		if all.Features[name] == 0 {
			t.Errorf("no packet has met: %s", name)
		}
	}
	section(t, "../README.md", "oracle-rules", item(fmt.Sprintf("**What it says of firewall rules is held against kernels**: %s generated rulesets "+
		"of nftables and iptables, nft and legacy, with %s rules (%s). Of %s hooks that packets came to it is undecided at %s, and says so "+
		"(most often: %s); at the others it has the verdict and the rule that the kernel has, with %s disagreements. The rules of ufw, fail2ban, firewalld, "+
		"Docker and kube-proxy: %s hooks, %s undecided, %s disagreements.",
		grouped(all.Rulesets), grouped(all.Rules), strings.Join(where, ", "), grouped(all.Hooks), all.undecided(), all.mostly(2),
		grouped(all.Disagreements), grouped(programs.Hooks), programs.undecided(), grouped(programs.Disagreements))))
}

// add adds those blocks of that kind, and returns their sum.
func (b *block) add(blocks []block, of string) (sum block) {
	for _, one := range blocks {
		if one.Of == of {
			sum.plus(one)
			sum.Kernel = series(one.Kernel)
		}
	}
	b.plus(sum)
	return sum
}

func (b *block) plus(one block) {
	if b.Features == nil {
		b.Features, b.Reasons = map[string]int{}, map[string]int{}
	}
	b.Rulesets, b.Rules, b.Packets, b.Hooks = b.Rulesets+one.Rulesets, b.Rules+one.Rules, b.Packets+one.Packets, b.Hooks+one.Hooks
	b.Undecided, b.Disagreements = b.Undecided+one.Undecided, b.Disagreements+one.Disagreements
	for name, n := range one.Features {
		b.Features[name] += n
	}
	for name, n := range one.Reasons {
		b.Reasons[name] += n
	}
}

// mostly are the reasons that are the most frequent, with their shares of what is undecided.
func (b *block) mostly(n int) string {
	names := slices.SortedFunc(maps.Keys(b.Reasons), func(x, y string) int { return cmp.Or(b.Reasons[y]-b.Reasons[x], strings.Compare(x, y)) })
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	names = names[:min(n, len(names))]
	for i, name := range names {
		names[i] = fmt.Sprintf("%s, %d %%", name, 100*b.Reasons[name]/max(1, b.Undecided))
	}
	return strings.Join(names, "; ")
}

func (b *block) undecided() string {
	return fmt.Sprintf("%.1f %%", 100*float64(b.Undecided)/float64(max(1, b.Hooks)))
}

// measured are the lines of a file that runs of an oracle have written; none if it was not run.
func measured[T any](t *testing.T, file string) (blocks []T) {
	t.Helper()
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var b T
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// item is an item of a list, in lines.
func item(text string) string {
	var b strings.Builder
	line := "-"
	for word := range strings.SplitSeq(strings.ReplaceAll(text, " %", "\u00a0%"), " ") {
		if len([]rune(line+word)) > 110 {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	return strings.ReplaceAll(b.String()+line+"\n", "\u00a0", " ")
}

// series is the beginning of a kernel's release: 6.1 of 6.1.0-50-cloud-amd64.
func series(release string) string {
	parts := strings.SplitN(release, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// grouped is a number with commas.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
