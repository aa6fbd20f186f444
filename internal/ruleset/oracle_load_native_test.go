//go:build native

package ruleset

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// kindOfRules is one that can be loaded; tracked says that the kernel tracks connections.
type kindOfRules struct {
	name string
	load func(o *oracle, tracked bool) error
	// legacy: it makes tables of iptables-legacy.
	legacy bool
}

// kinds are those that are generated: each program's alone, and those of two.
var kinds = []kindOfRules{
	{name: "nft", load: (*oracle).withNft},
	{name: "nft again", load: (*oracle).withNft},
	{name: "iptables-nft", load: (*oracle).withIPTables},
	{name: "iptables-nft and nft", load: both((*oracle).withIPTables, (*oracle).withNft)},
	{name: "iptables-legacy", load: (*oracle).withLegacy, legacy: true},
	{name: "iptables-legacy and nft", load: both((*oracle).withLegacy, (*oracle).withNft), legacy: true},
	{name: "iptables-legacy and iptables-nft", load: both((*oracle).withLegacy, (*oracle).withIPTables), legacy: true},
}

func both(first, second func(*oracle, bool) error) func(*oracle, bool) error {
	return func(o *oracle, tracked bool) error {
		o.marks = true
		return errors.Join(first(o, tracked), second(o, tracked))
	}
}

func (o *oracle) withNft(tracked bool) error {
	w := &nftWriter{Rand: o.Rand, tracked: tracked, egress: o.egress, marks: o.marks}
	return o.load("nft", []string{"-f", "-"}, w.generated())
}

func (o *oracle) withIPTables(tracked bool) error {
	w := &iptablesWriter{Rand: o.Rand, tracked: tracked, marks: o.marks}
	return o.load("iptables-nft-restore", nil, w.generated())
}

func (o *oracle) withLegacy(tracked bool) error {
	o.legacy = true
	w := &iptablesWriter{Rand: o.Rand, tracked: tracked, marks: o.marks}
	return o.load("iptables-legacy-restore", nil, w.generated())
}

// clean takes away all rules, and adds those that say where a packet has come to. What the kernel answers by itself is
// dropped before other rules count it.
func (o *oracle) clean(tracked bool) error {
	var text strings.Builder
	text.WriteString("flush ruleset\nadd table netdev oracle\nadd table ip oracle\n")
	probe := func(family, hook, name, device string, priority int) {
		fmt.Fprintf(&text, "add chain %s oracle %s { type filter hook %s %s priority %d; }\n", family, name, hook, device, priority)
		fmt.Fprintf(&text, "add rule %s oracle %s meta nftrace set 1\n", family, name)
	}
	text.WriteString("add chain ip oracle answers { type filter hook output priority -1100; }\n")
	fmt.Fprintf(&text, "add rule ip oracle answers ip id != { %d-%d, %d-%d } drop\n", firstID, firstID+*oraclePackets, firstID+beginID, firstID+beginID+*oraclePackets)
	probe("netdev", "ingress", "ingress-in", "device in0", -1000)
	probe("netdev", "ingress", "ingress-out", "device in0", 1000)
	if o.egress {
		probe("netdev", "egress", "egress-in", "device out0", -1000)
		probe("netdev", "egress", "egress-out", "device out0", 1000)
	}
	for _, hook := range []string{"prerouting", "input", "forward", "output", "postrouting"} {
		probe("ip", hook, hook+"-in", "", -1000)
		probe("ip", hook, hook+"-out", "", 1000)
	}
	if tracked {
		for _, hook := range []string{"prerouting", "output"} {
			probe("ip", hook, hook+"-ct", "", -199)
			for _, state := range []string{"new", "established", "related", "invalid", "untracked"} {
				fmt.Fprintf(&text, "add rule ip oracle %s-ct ct state %s counter comment \"%s\"\n", hook, state, state)
			}
		}
	}
	if err := feed(text.String(), "nft", "-f", "-"); err != nil {
		return err
	}
	if o.hasLegacy() {
		if err := feed(noLegacy(), "iptables-legacy-restore"); err != nil {
			return err
		}
	}
	o.legacy = false
	return netlink.ConntrackTableFlush(netlink.ConntrackTable)
}

// noLegacy are tables of iptables-legacy without rules.
func noLegacy() string {
	var text strings.Builder
	for table, chains := range hooksOf {
		text.WriteString("*" + table + "\n")
		for _, c := range chains {
			text.WriteString(":" + c + " ACCEPT [0:0]\n")
		}
		text.WriteString("COMMIT\n")
	}
	return text.String()
}

// hasLegacy reports whether the kernel has tables of iptables-legacy here.
func (o *oracle) hasLegacy() bool {
	names, _ := os.ReadFile("/proc/net/ip_tables_names")
	return len(names) > 0
}

func feed(input string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// complaint is a line of the input that a program refuses.
var complained = regexp.MustCompile(`(?:/dev/stdin|standard input|-):(\d+):|line (\d+)(?:: RULE_\w+)? failed|line: (\d+)`)

// load has a program take the lines, without those that it refuses.
func (o *oracle) load(program string, args []string, lines []string) error {
	o.lines = append(o.lines, lines...)
	for range len(lines) {
		err := feed(strings.Join(lines, "\n")+"\n", program, args...)
		if err == nil {
			o.tally.rules += len(lines)
			return nil
		}
		found := complained.FindStringSubmatch(err.Error())
		if found == nil {
			return err
		}
		n, _ := strconv.Atoi(found[1] + found[2] + found[3])
		if n < 1 || n > len(lines) {
			return err
		}
		if os.Getenv("ORACLE_REFUSED") != "" {
			o.t.Logf("refused: %s: %v", lines[n-1], err)
		}
		o.refused++
		lines = slices.Delete(slices.Clone(lines), n-1, n)
	}
	return errors.New("all was refused")
}
