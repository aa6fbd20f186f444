package diagnose

import (
	"testing"

	"ipiptrace/internal/host"
)

// TestAShapersDeviceIsSetUp: the filter that sends packets there has its reasons, and stays.
func TestAShapersDeviceIsSetUp(t *testing.T) {
	to := func(up bool, others ...host.Filter) *host.Snapshot {
		return realServer(with(host.Link{Name: "ifb0", Type: "ifb", Up: up}), func(s *host.Snapshot) {
			ifb := s.Links[len(s.Links)-1].Index
			s.Filters = append(others, host.Filter{Link: 2, Side: "ingress", Kind: "matchall", Pref: 49152, Protocol: ethAll, Handle: "0x1", Actions: []string{"mirred redirect"}, Target: ifb})
		})
	}
	lost := dropped("__netif_receive_skb_core", "TC_INGRESS", "eth0", true)
	drops := host.Filter{Link: 2, Side: "ingress", Kind: "u32", Pref: 10, Protocol: ethIP, Handle: "0x80000800", Actions: []string{"gact drop"}, Dropped: 3}
	for what, test := range map[string]loss{
		"it is down":               {lost, to(false), "tc-drop", Observed, "ip link set ifb0 up"},
		"it is up":                 {lost, to(true), "tc-drop", Inferred, ""},
		"another filter has drops": {lost, to(false, drops), "tc-drop", Observed, "tc filter del dev eth0 ingress pref 10"},
	} {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix) })
	}
}
