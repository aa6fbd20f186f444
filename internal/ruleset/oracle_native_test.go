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
	for seed := *oracleFirst; seed < *oracleFirst+uint64(*oracleRulesets); seed++ {
		o := &oracle{place: p, tally: sum, t: t, seed: seed, Rand: rand.New(rand.NewPCG(12, seed))}
		if err := o.play(); err != nil {
			t.Errorf("ruleset %d (-oracle.first %d -oracle.rulesets 1): %v", seed, seed, err)
		}
		if sum.disagreed > 12 {
			break
		}
	}
	t.Log(sum)
	if sum.compared < *oracleRulesets**oraclePackets/2 {
		t.Error("too little could be compared")
	}
}

// TestNativeTheModelKnowsRulesOfPrograms does so with rulesets that ufw 0.36.2, fail2ban 1.0.2 and firewalld 1.3.3 have
// made in Debian 12, and Docker's and kube-proxy's, written after their sources.
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
			kind := kindOfRules{file.Name() + " by " + program, func(o *oracle, _ bool) error {
				o.legacy = strings.Contains(program, "legacy")
				words := strings.Fields(program)
				return feed(string(text), words[0], words[1:]...)
			}}
			for turn := range uint64(4) {
				o := &oracle{place: p, tally: sum, t: t, seed: turn, Rand: rand.New(rand.NewPCG(uint64(i), turn))}
				if err := o.playKind(kind); err != nil {
					t.Errorf("%s: %v", kind.name, err)
				}
			}
		}
	}
	t.Log(sum)
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
	t     *testing.T
	seed  uint64
	lines []string
	// chains are all that were read, s has them without those of the test's own.
	chains []host.NftTable
	s      *host.Snapshot
	rules  *Ruleset
	// legacy: there are tables of iptables-legacy, whose counters were these.
	legacy  bool
	shown   bool
	counted map[counted]uint64
}

// play plays a ruleset of any kind, or of the one that was asked for.
func (o *oracle) play() error {
	k := one(o.Rand, kinds)
	if i := slices.IndexFunc(kinds, func(k kindOfRules) bool { return k.name == *oracleKind }); i >= 0 {
		k = kinds[i]
	}
	return o.playKind(k)
}

func (o *oracle) playKind(kind kindOfRules) error {
	tracked := o.IntN(5) > 0
	all := packets(o.Rand, *oraclePackets, tracked)
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
	o.tally.rulesets++
	o.kinds[kind.name]++
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
	if o.legacy {
		var err error
		if o.counted, err = counters(); err != nil {
			return err
		}
	}
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
