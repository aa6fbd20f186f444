package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

func TestWhoElseAnswersARPIsSaid(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	known := func(s *host.Snapshot) {
		s.Neighbours = []host.Neighbour{{Link: 2, Addr: director, State: "stale", MAC: "02:00:00:00:00:02"}}
	}
	for what, test := range map[string]struct {
		role  string
		asked Asked
		want  []string
		says  string
	}{
		"nobody":                    {RealServer, Asked{}, nil, "arping -D -I eth0 10.99.0.1: nobody else answers"},
		"the director":              {RealServer, Asked{MACs: []string{"02:00:00:00:00:02"}}, nil, "10.99.0.1: 02:00:00:00:00:02 (10.0.0.2)"},
		"the director and another":  {RealServer, Asked{MACs: []string{"02:00:00:00:00:02", "02:00:00:00:00:03"}}, []string{"risk vip-arp-conflict"}, ""},
		"another than the director": {Director, Asked{MACs: []string{"02:00:00:00:00:03"}}, []string{"risk vip-arp-conflict"}, ""},
		"it could not be asked":     {RealServer, Asked{Why: "operation not permitted"}, []string{"unread vip-arp-conflict"}, "asking who has 10.99.0.1 on eth0: operation not permitted"},
	} {
		own := o
		own.Role = test.role
		test.asked.VIP, test.asked.Dev = vip, "eth0"
		own.Asked = []Asked{test.asked}
		r := Examine(machine(known), own)
		got := slices.DeleteFunc(lines(r), func(line string) bool { return !strings.HasSuffix(line, "vip-arp-conflict") })
		if !slices.Equal(got, test.want) || !strings.Contains(said(r, "vip-arp-conflict"), test.says) {
			t.Errorf("%s: got %q, want %q; it says %q", what, got, test.want, said(r, "vip-arp-conflict"))
		}
	}
	if got := Questions(machine(), o); !slices.Equal(got, []Question{{vip, "eth0"}}) {
		t.Errorf("asked would be %v", got)
	}
}
