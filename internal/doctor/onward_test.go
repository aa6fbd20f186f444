package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// hostOf is a machine without the VIP, behind which a container is the real server.
func hostOf(changes ...func(*host.Snapshot)) *host.Snapshot {
	return machine(append([]func(*host.Snapshot){func(s *host.Snapshot) {
		s.Addrs = slices.Delete(s.Addrs, 2, 3)
		s.Routes = slices.Delete(s.Routes, 1, 2)
		s.Sysctls["net/ipv4/conf/eth0/forwarding"], s.Sysctls["net/ipv4/conf/eth1/forwarding"] = "1", "1"
	}}, changes...)...)
}

var behind = netip.MustParseAddr("10.0.0.12")

func routed(s *host.Snapshot) {
	s.Routes = append(s.Routes, host.Route{Table: 254, Dst: netip.PrefixFrom(behind, 32), Type: "unicast", Hops: []host.Hop{{Link: 4, Gateway: netip.MustParseAddr("172.16.0.2")}}})
}

// TestAHostOfAContainerLacksNothing: the service is behind it, and how that is known is said.
func TestAHostOfAContainerLacksNothing(t *testing.T) {
	o := Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}
	within := netip.MustParseAddr("172.16.0.2")
	container := func(changes ...func(*host.Snapshot)) *host.Snapshot {
		s := machine(append([]func(*host.Snapshot){func(s *host.Snapshot) {
			s.Name, s.Addrs[1].Prefix, s.Addrs[3].Prefix = "web", netip.PrefixFrom(within, 16), netip.MustParsePrefix("192.168.7.1/24")
		}}, changes...)...)
		return s
	}
	tracks := func(s *host.Snapshot) {
		s.Conntrack = &host.Conntrack{Count: 1, Conns: []host.Connection{{Proto: 4, From: netip.AddrPortFrom(director, 0), To: netip.AddrPortFrom(within, 0)}}}
	}
	off := func(s *host.Snapshot) { s.Sysctls["net/ipv4/conf/eth0/forwarding"] = "0" }
	down := func(s *host.Snapshot) { s.Links[2].Up = false }
	bridge := func(s *host.Snapshot) {
		s.Addrs, s.Routes = s.Addrs[:1], nil
		s.Links = append(s.Links, host.Link{Index: 9, Name: "br0", Type: "bridge", Up: true})
	}
	for what, test := range map[string]struct {
		s         *host.Snapshot
		elsewhere *host.Snapshot
		role      string
		findings  []string
		says      string
	}{
		"by a route":                  {hostOf(routed), nil, Forwarder, nil, "10.0.0.12, of a network in which this machine is"},
		"by connection tracking":      {hostOf(tracks), nil, Forwarder, nil, "was passed on to 172.16.0.2"},
		"by its namespace":            {hostOf(), container(), Forwarder, nil, "in the network namespace web, to which this one leads by 172.16.0.2"},
		"a tunnel that is down there": {hostOf(), container(down), RealServer, []string{"fault vip-missing"}, ""},
		"a bridge":                    {hostOf(bridge), nil, Forwarder, []string{"unread firewall-drop"}, "a bridge is here"},
		"nobody is behind it":         {hostOf(), nil, RealServer, []string{"fault vip-missing"}, ""},
		"it does not forward":         {hostOf(routed, off), nil, Forwarder, []string{"fault ip-forward-off"}, "as if the real server were behind it"},
		"it drops what it forwards":   {hostOf(routed, dropsAllBut("forward", "192.0.2.0/24")), nil, Forwarder, []string{"fault firewall-drop"}, ""},
		"the VIP is here":             {machine(routed), nil, RealServer, nil, ""},
	} {
		o.Elsewhere = nil
		if test.elsewhere != nil {
			o.Elsewhere = []Elsewhere{{test.elsewhere}}
		}
		r := Examine(test.s, o)
		got := lines(r)
		if r.Role != test.role || len(got) < len(test.findings) || !slices.Equal(got[:len(test.findings)], test.findings) || len(test.findings) == 0 && len(got) > 0 {
			t.Errorf("%s: a %s with %q", what, r.Role, got)
		}
		if got := said(r, "vip-missing"); !strings.Contains(got, test.says) {
			t.Errorf("%s: %q", what, got)
		}
	}
}
