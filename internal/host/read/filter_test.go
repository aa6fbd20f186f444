package read

import (
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"

	"ipiptrace/internal/host"
)

func TestWhatAFilterDoes(t *testing.T) {
	counted := netlink.NewClassStatistics()
	counted.Queue = &netlink.GnetStatsQueue{Drops: 3}
	drop := &netlink.GenericAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_SHOT, Statistics: (*netlink.ActionStatistic)(counted)}}
	police := &netlink.PoliceAction{ExceedAction: netlink.TC_POLICE_SHOT}
	attrs := netlink.FilterAttrs{Handle: 0x80000800, Priority: 7, Protocol: 0x0800}
	filter := func(kind string, dropped uint64, actions ...string) host.Filter {
		return host.Filter{Kind: kind, Pref: 7, Protocol: 0x0800, Handle: "0x80000800", Actions: actions, Dropped: dropped}
	}
	for what, test := range map[string]struct {
		f    netlink.Filter
		want host.Filter
	}{
		"it drops":                     {&netlink.U32{FilterAttrs: attrs, Actions: []netlink.Action{drop}}, filter("u32", 3, "generic drop")},
		"a policer":                    {&netlink.MatchAll{FilterAttrs: attrs, Actions: []netlink.Action{police}}, filter("matchall", 0, "police drop")},
		"a policer of u32's own":       {&netlink.U32{FilterAttrs: attrs, Police: police}, filter("u32", 0, "police drop")},
		"a policer that passes things": {&netlink.Flower{FilterAttrs: attrs, Actions: []netlink.Action{&netlink.PoliceAction{}}}, filter("flower", 0, "police ok")},
	} {
		got, ok := filterOf(test.f)
		if !ok || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %t; want %+v", what, got, ok, test.want)
		}
	}
	if _, ok := filterOf(&netlink.U32{FilterAttrs: attrs}); ok {
		t.Error("the head of u32's list is no filter")
	}
}
