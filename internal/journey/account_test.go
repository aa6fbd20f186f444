package journey

import (
	"math"
	"reflect"
	"testing"

	"ipiptrace/tracer/event"
)

func TestTheAccountOfTwoRunsHasAllOfBoth(t *testing.T) {
	missed := func(n uint64) *uint64 { return &n }
	probes := []event.Probe{{Name: "ip_rcv", Mechanism: "fentry"}}
	drop := Site{Fate: Dropped, Function: "ip_error", Reason: "IP_INNOROUTES", Dev: "eth0", Count: 2}
	other := Site{Fate: Vanished, Function: "ip_rcv", Count: 3}
	a := Account{Journeys: 11, Arrived: 9, Lost: 1, Open: 1, Events: 32, LostEvents: math.MaxUint64, Missed: missed(1), Probes: probes, Sites: []Site{drop}}
	b := Account{Journeys: 4, Arrived: 1, Lost: 2, Unknown: 1, Events: 5, LostEvents: 7, Missed: missed(math.MaxUint64), Untracked: 3, Sites: []Site{drop, other}}
	want := Account{
		Journeys: 15, Arrived: 10, Lost: 3, Open: 1, Unknown: 1, Events: 37, LostEvents: math.MaxUint64, Missed: missed(math.MaxUint64), Untracked: 3,
		Probes: probes, Sites: []Site{{Fate: Dropped, Function: "ip_error", Reason: "IP_INNOROUTES", Dev: "eth0", Count: 4}, other},
	}
	if got := a.Plus(b); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got := a.Plus(Account{}); got.Missed != nil {
		t.Errorf("missed %d, though one run did not count", *got.Missed)
	}
}
