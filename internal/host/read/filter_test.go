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
	redirect := &netlink.MirredAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_STOLEN}, MirredAction: netlink.TCA_EGRESS_REDIR}
	mirror := &netlink.MirredAction{ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_PIPE}, MirredAction: netlink.TCA_EGRESS_MIRROR}
	filter := func(kind string, dropped uint64, actions ...string) host.Filter {
		return host.Filter{Kind: kind, Pref: 7, Protocol: 0x0800, Handle: "0x80000800", Actions: actions, Dropped: dropped}
	}
	shared, ofBlock := attrs, filter("u32", 3, "generic drop")
	shared.LinkIndex, shared.Parent, ofBlock.Block = -1, 5, 5
	for what, test := range map[string]struct {
		f    netlink.Filter
		want host.Filter
	}{
		"it drops":                     {&netlink.U32{FilterAttrs: attrs, Actions: []netlink.Action{drop}}, filter("u32", 3, "generic drop")},
		"a policer":                    {&netlink.MatchAll{FilterAttrs: attrs, Actions: []netlink.Action{police}}, filter("matchall", 0, "police drop")},
		"a policer of u32's own":       {&netlink.U32{FilterAttrs: attrs, Police: police}, filter("u32", 0, "police drop")},
		"a policer that passes things": {&netlink.Flower{FilterAttrs: attrs, Actions: []netlink.Action{&netlink.PoliceAction{}}}, filter("flower", 0, "police ok")},
		"it sends it elsewhere":        {&netlink.MatchAll{FilterAttrs: attrs, Actions: []netlink.Action{redirect}}, filter("matchall", 0, "mirred redirect")},
		"it sends a copy":              {&netlink.MatchAll{FilterAttrs: attrs, Actions: []netlink.Action{mirror}}, filter("matchall", 0, "mirred pipe")},
		"it is of a shared block":      {&netlink.U32{FilterAttrs: shared, Actions: []netlink.Action{drop}}, ofBlock},
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
