package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/tracer/event"
)

func TestPlacesThatCouldBeWatchedAreDescribed(t *testing.T) {
	rows := []event.Probe{{Name: "kfree_skb", Mechanism: "tracepoint"}, {Name: "ip_rcv", Mechanism: "fentry"}, {Name: "ip_vs_in", Why: "the module ip_vs is not loaded"}}
	for what, test := range map[string]struct {
		places *Places
		mark   Mark
		says   string
	}{
		"all":              {&Places{Rows: rows[:2], Tried: true}, Described, "2 of 2 places can be watched, 1 of them functions"},
		"all but one":      {&Places{Rows: rows, Tried: true, More: "mount it"}, Described, "2 of 3 places can be watched, 1 of them functions, as ipiptrace probes tries them\nnot ip_vs_in: the module ip_vs is not loaded\nmount it"},
		"not tried":        {&Places{Rows: rows}, Unread, "by their names 2 of 3 places"},
		"it is not known":  {&Places{Why: "no BTF"}, Unread, ""},
		"nobody has asked": {nil, Passed, ""},
	} {
		r := Examine(machine(), Options{VIPs: []netip.Addr{vip}, Client: client, Director: director, Places: test.places})
		i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Step == stepKernel })
		if (i >= 0) != (test.places != nil) || len(r.Findings) > 0 {
			t.Fatalf("%s: %+v", what, r)
		}
		if i >= 0 && (r.Checks[i].Mark != test.mark || !strings.Contains(strings.Join(r.Checks[i].Says, "\n"), test.says)) {
			t.Errorf("%s: %+v", what, r.Checks[i])
		}
	}
}

func TestAStepThatNobodyAsksForIsNotRead(t *testing.T) {
	for _, test := range []struct {
		only, skip []string
		want       bool
	}{
		{nil, nil, true}, {[]string{"kernel"}, nil, true}, {[]string{"9"}, nil, true}, {[]string{"mtu"}, nil, false}, {nil, []string{"kernel"}, false},
		{[]string{"no-listener"}, nil, false},
	} {
		if got := (Options{Only: test.only, Skip: test.skip}).Asks(stepKernel); got != test.want {
			t.Errorf("%v", test)
		}
	}
}
