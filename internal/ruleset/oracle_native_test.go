//go:build native

package ruleset

import (
	"embed"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ipiptrace/internal/host"
)

var (
	oracleRulesets = flag.Int("oracle.rulesets", 60, "how many rulesets are generated")
	oraclePackets  = flag.Int("oracle.packets", 12, "how many packets are played through each")
	oracleFirst    = flag.Uint64("oracle.first", 0, "the seed of the first ruleset")
	oracleKind     = flag.String("oracle.kind", "", "only rulesets of this kind")
	oracleFigures  = flag.String("oracle.figures", "", "the directory to which the figures are written")
)

// TestNativeTheModelFiltersAsTheKernelDoes generates rulesets, has the kernel play packets through each of them, and
// compares at each hook that a packet has come to: which rule has dropped it, or that none has, and which rules have
// sent it where on the way. What the kernel did is said by its traces, of iptables-legacy by counters.
func TestNativeTheModelFiltersAsTheKernelDoes(t *testing.T) {
	if os.Getenv("IN_A_NAMESPACE") == "" {
		again(t)
		return
	}
	p, err := newPlace()
	if err != nil {
		t.Fatal(err)
	}
	sum := newTally()
	for _, legacy := range []bool{false, true} { // tables of iptables-legacy stay, and take time to read
		for seed := *oracleFirst; seed < *oracleFirst+uint64(*oracleRulesets) && sum.disagreed <= 12; seed++ {
			o := &oracle{place: p, tally: sum, t: t, values: anyValues, seed: seed, Rand: rand.New(rand.NewPCG(12, seed))}
			kind := o.ofAnyKind()
			if kind.legacy != legacy {
				continue
			}
			if err := o.play(kind); err != nil {
				t.Errorf("ruleset %d (-oracle.first %d -oracle.rulesets 1): %v", seed, seed, err)
			}
		}
	}
	t.Log(sum)
	if sum.compared < *oracleRulesets**oraclePackets/2 {
		t.Error("too little could be compared")
	}
	if none := sum.lacking(); len(none) > 0 && *oracleRulesets >= allFeatures && *oracleKind == "" {
		t.Errorf("no rule decided over a packet of: %s", strings.Join(none, ", "))
	}
	if err := sum.write(*oracleFigures, "generated", *oracleFirst); err != nil {
		t.Error(err)
	}
}

// allFeatures is how many rulesets have each of features.
const allFeatures = 300

// TestNativeTheModelKnowsRulesOfPrograms does so with rulesets that ufw 0.36.2, fail2ban 1.0.2, firewalld 1.3.3 and Docker
// 20.10.24 have made in Debian 12, and kube-proxy's, written after its source: Debian has none.
func TestNativeTheModelKnowsRulesOfPrograms(t *testing.T) {
	if os.Getenv("IN_A_NAMESPACE") == "" {
		again(t)
		return
	}
	p, err := newPlace()
	if err != nil {
		t.Fatal(err)
	}
	sum := newTally()
	files, err := programs.ReadDir("testdata/programs")
	if err != nil || len(files) == 0 {
		t.Fatal("no rulesets", err)
	}
	for i, file := range files {
		text, err := programs.ReadFile("testdata/programs/" + file.Name())
		if err != nil {
			t.Fatal(err)
		}
		loads := []string{"nft -f -"}
		if strings.HasSuffix(file.Name(), ".iptables") {
			loads = []string{"iptables-nft-restore", "iptables-legacy-restore"}
		}
		for _, program := range loads {
			kind := kindOfRules{name: file.Name() + " by " + program, load: func(o *oracle, _ bool) error {
				o.legacy = strings.Contains(program, "legacy")
				words := strings.Fields(program)
				return feed(string(text), words[0], words[1:]...)
			}}
			for turn := range uint64(4) {
				o := &oracle{place: p, tally: sum, t: t, values: valuesIn(string(text)), seed: turn, Rand: rand.New(rand.NewPCG(uint64(i), turn))}
				if err := o.play(kind); err != nil {
					t.Errorf("%s: %v", kind.name, err)
				}
			}
		}
	}
	for kind := range sum.kinds {
		if sum.decided[kind] == 0 {
			t.Errorf("%s: no rule decided over a packet", kind)
		}
	}
	t.Log(sum)
	if err := sum.write(*oracleFigures, "programs", 0); err != nil {
		t.Error(err)
	}
}

//go:embed testdata/programs
var programs embed.FS

// again runs the test in a process with a network namespace of its own.
func again(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the kernel's rules are for root")
	}
	cmd := exec.Command(os.Args[0], append(slices.Clone(os.Args[1:]), "-test.v", "-test.run", "^"+t.Name()+"$")...)
	cmd.Env = append(os.Environ(), "IN_A_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// oracle plays one ruleset.
type oracle struct {
	*place
	*tally
	*rand.Rand
	t *testing.T
	values
	seed  uint64
	lines []string
	// chains are all that were read, s has them without those of the test's own.
	chains []host.NftTable
	s      *host.Snapshot
	rules  *Ruleset
	kind   string
	// legacy: there are tables of iptables-legacy, whose counters were these.
	legacy bool
	// marks: the ruleset is of two programs, and what one marks the other asks for.
	marks   bool
	shown   bool
	counted map[counted]uint64
}

// ofAnyKind is any kind, or the one that was asked for.
func (o *oracle) ofAnyKind() kindOfRules {
	k := one(o.Rand, kinds)
	if i := slices.IndexFunc(kinds, func(k kindOfRules) bool { return k.name == *oracleKind }); i >= 0 {
		k = kinds[i]
	}
	return k
}

// play plays a ruleset of that kind.
func (o *oracle) play(kind kindOfRules) error {
	tracked := o.IntN(5) > 0
	all := packets(o.Rand, *oraclePackets, tracked, o.values)
	if err := o.clean(tracked); err != nil {
		return err
	}
	for _, p := range all {
		for _, b := range p.before {
			if err := o.send(b.iif, b.raw); err != nil {
				return fmt.Errorf("before %v: %w", p, err)
			}
		}
	}
	if err := kind.load(o, tracked); err != nil {
		return err
	}
	o.s = snapshot(o.t)
	o.chains = slices.Clone(o.s.Nft)
	o.s.Nft = slices.DeleteFunc(o.s.Nft, func(t host.NftTable) bool { return t.Name == "oracle" })
	o.rules = Of(o.s)
	o.counted = nil
	if o.legacy {
		var err error
		if o.counted, err = counters(); err != nil {
			return err
		}
	}
	o.tally.rulesets++
	o.kinds[kind.name]++
	o.kind = kind.name
	for _, p := range all {
		if err := o.packet(p); err != nil {
			return err
		}
	}
	return nil
}

// way are the hooks of a packet's way, in order.
func (p played) way() []string {
	if p.iif == "" {
		return []string{"output", "postrouting", "egress"}
	}
	return []string{"ingress", "prerouting", "input", "forward", "postrouting", "egress"}
}

func (o *oracle) packet(p played) error {
	if err := o.send(p.iif, p.raw); err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	events, err := o.heard(p.id)
	if err != nil {
		return err
	}
	used := map[counted]uint64{}
	if o.legacy {
		after, err := counters()
		if err != nil {
			return err
		}
		for k, n := range after {
			if n > o.counted[k] {
				used[k] = n - o.counted[k]
			}
		}
		o.counted = after
	}
	o.played++
	k := o.told(events, used)
	if k.ct != 0 && k.ct != Untracked && k.ct != p.CT {
		if o.rules.alterations().natted {
			o.left++ // the answer of another packet, by a translation
			return nil
		}
		return fmt.Errorf("%v: the kernel tracks it as %v", p, k.ct)
	}
	for _, hook := range p.way() {
		if seen, ok := k.entered[hook]; ok {
			o.compare(p, hook, seen, k)
		}
	}
	return nil
}
