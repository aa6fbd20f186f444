package ruleset

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ipiptrace/internal/host"
)

// withSet is a ruleset with a set of so many elements, and so many rules that drop what is in it.
func withSet(t *testing.T, rules int, elements []any, left string) *host.Snapshot {
	t.Helper()
	text := make([]string, rules)
	for i := range text {
		text[i] = and(when("==", left, "@big"), drop)
	}
	s := table(t, "accept", text...)
	elem, err := json.Marshal(elements)
	if err != nil {
		t.Fatal(err)
	}
	s.Nft[0].Sets = append(s.Nft[0].Sets, host.NftSet{Name: "big", Elem: elem})
	return s
}

func networks(n int) (all []any) {
	for i := range n {
		all = append(all, map[string]any{"prefix": map[string]any{"addr": fmt.Sprintf("20.%d.%d.0", i>>8, i&255), "len": 24}})
	}
	return all
}

func TestASetIsUnpackedOnceForAllRulesAndPackets(t *testing.T) {
	pair := `{"concat":[` + ip("saddr") + `,` + tcp("dport") + `]}`
	var pairs []any
	for i := range 5000 {
		pairs = append(pairs, map[string]any{"concat": []any{fmt.Sprintf("20.0.%d.%d", i>>8, i&255), 80}})
	}
	for what, s := range map[string]*host.Snapshot{
		"10,000 networks, 20 rules": withSet(t, 20, networks(10000), ip("saddr")),
		"400 networks, 2,000 rules": withSet(t, 2000, networks(400), ip("saddr")),
		"5,000 pairs, 1 rule":       withSet(t, 1, pairs, pair),
	} {
		rules, begun := Of(s), time.Now()
		for i := range 100 {
			p := packet("input")
			p.Src = netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})
			nothing.check(t, rules.Evaluate(p))
		}
		if took := time.Since(begun); took > 5*time.Second { // unpacked each time it took a minute, and more
			t.Errorf("%s: 100 packets took %v", what, took)
		}
		p := packet("input")
		p.Src = netip.MustParseAddr("20.0.3.9")
		sure(1).check(t, rules.Evaluate(p))
	}
}

func TestWhatIsLookedForByHalvesIsFoundAsOneByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	addr := func() string { return fmt.Sprintf("10.0.%d.%d", random.IntN(2), random.IntN(256)) }
	for range 300 {
		var list []any
		for range random.IntN(12) {
			switch random.IntN(7) {
			case 0, 1:
				list = append(list, addr())
			case 2:
				list = append(list, map[string]any{"range": []any{addr(), addr()}})
			case 3:
				list = append(list, map[string]any{"prefix": map[string]any{"addr": addr(), "len": 20 + random.IntN(14)}})
			case 4:
				list = append(list, random.IntN(8))
			case 5:
				list = append(list, map[string]any{"range": []any{random.IntN(8), random.IntN(8)}})
			case 6:
				list = append(list, []any{"2001:db8::1", "tcp", "6", true, "*", map[string]any{"elem": map[string]any{"val": addr(), "limit": 1}}}[random.IntN(6)])
			}
		}
		text, _ := json.Marshal(list)
		s := &set{text: text, known: true}
		for range 40 {
			f := field{known: true, number: uint64(random.IntN(8)), names: protocolNumbers}
			if random.IntN(2) == 0 {
				f = field{known: true, addr: netip.MustParseAddr(addr())}
			}
			e := &evaluation{rules: Of(&host.Snapshot{})}
			found := e.inSet(nil, f, s)
			var want match
			for _, el := range unpackElements(text, ofAnything).rest {
				want = want.or(e.among(nil, f, &el.key, false).and(el.sure))
			}
			if found != want {
				t.Fatalf("%+v in %s: %v, one by one %v", f, text, found, want)
			}
		}
	}
}

func TestWhatIsTooMuchToLookAtIsNotKnown(t *testing.T) {
	var list []any
	for i := range 40000 {
		list = append(list, map[string]any{"elem": map[string]any{"val": fmt.Sprintf("20.0.%d.%d", i>>8, i&255), "limit": 1}})
	}
	s := withSet(t, 100, list, ip("saddr"))
	rules := Of(s)
	o := rules.Evaluate(packet("input"))
	if o.Rule != nil || len(o.Candidates) == 0 {
		t.Errorf("found %v, %d candidates; want candidates", o.Rule, len(o.Candidates))
	}
	if rules.room < 0 {
		t.Errorf("%d bytes too many are kept", -rules.room)
	}
}

func TestASetInItselfEndsTheSearch(t *testing.T) {
	perhaps(1).check(t, Of(withSet(t, 1, []any{"@big"}, ip("saddr"))).Evaluate(packet("input")))
}
