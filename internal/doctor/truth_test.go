package doctor

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// noTunnel is a machine without the module, and without its device and the VIP.
func noTunnel(s *host.Snapshot) {
	s.Modules, s.Links = nil, slices.Delete(s.Links, 2, 3)
	s.Addrs, s.Routes = slices.Delete(s.Addrs, 2, 3), slices.Delete(s.Routes, 1, 2)
}

func markOf(r Report, code string) (Mark, bool) {
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Code == code })
	if i < 0 {
		return 0, false
	}
	return r.Checks[i].Mark, true
}

// TestWhatOnlyARepairMadeGoodHasNotPassed: a check that packets do not come to is not ticked off.
func TestWhatOnlyARepairMadeGoodHasNotPassed(t *testing.T) {
	r := Examine(machine(noTunnel), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
	for code, want := range map[string]Mark{"tunnel-module-missing": Failed, "tunnel-device-down": Behind, "vip-missing": Behind, "xdp-drop": Passed} {
		if got, ok := markOf(r, code); !ok || got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
	if !r.Guessed {
		t.Error("nothing speaks for a real server")
	}
}

// TestARiskStopsNoPacket: what is asked behind one has passed.
func TestARiskStopsNoPacket(t *testing.T) {
	open := func(s *host.Snapshot) { s.Sysctls["net/ipv4/conf/all/arp_ignore"] = "0" }
	r := Examine(machine(open), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
	if got := lines(r); !slices.Equal(got, []string{"risk vip-arp-conflict"}) {
		t.Fatalf("got %q", got)
	}
	for _, c := range r.Checks {
		if c.Mark == Behind {
			t.Errorf("%s is behind, and nothing fails", c.Code)
		}
	}
}

// TestASampleIsSaidToBeOne: no command names what does not exist, and its line says whom it stands for.
func TestASampleIsSaidToBeOne(t *testing.T) {
	noDefault := func(s *host.Snapshot) { s.Routes = s.Routes[:5] }
	for what, test := range map[string]struct {
		s          *host.Snapshot
		o          Options
		code, says string
	}{
		"the director": {machine(dropsAllBut("input", "192.0.2.0/24")), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: netip.MustParsePrefix("172.16.0.9/32")}, "firewall-drop", "is a sample, and stands for the director"},
		"a client":     {machine(noDefault), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director}, "no-return-route", "203.0.113.77 is a sample, and stands for clients"},
	} {
		r := Examine(test.s, test.o)
		i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Code == test.code })
		if i < 0 {
			t.Fatalf("%s: %q", what, lines(r))
		}
		f := r.Findings[i]
		if !strings.Contains(strings.Join(f.Evidence, "\n"), test.says) {
			t.Errorf("%s: %q", what, f.Evidence)
		}
		for _, c := range f.Fix {
			if strings.Contains(c.String(), "10.0.0.77") || strings.Contains(c.String(), "203.0.113.77") {
				t.Errorf("%s: %s", what, c)
			}
		}
	}
}

// TestWithoutAPortTheRestIsAsked: nobody listens, and the tunnel is missing all the same.
func TestWithoutAPortTheRestIsAsked(t *testing.T) {
	silent := func(s *host.Snapshot) { s.Sockets = nil }
	r := Examine(machine(noTunnel, silent), Options{VIPs: []netip.Addr{vip}, Client: client, Director: director})
	if got := lines(r); !slices.Contains(got, "fault tunnel-module-missing") || !slices.Contains(got, "unread no-listener") || slices.Contains(got, "fault no-listener") {
		t.Errorf("%q", got)
	}
}

// TestADirectorWithoutIPVSHasNoService: that it is a director was said.
func TestADirectorWithoutIPVSHasNoService(t *testing.T) {
	onLo := func(s *host.Snapshot) { s.Addrs[2].Link, s.Links[2].Up = 1, false }
	r := Examine(machine(onLo), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{81}, Client: client, Role: Director})
	if got := lines(r); !slices.Contains(got, "fault ipvs-no-service") || slices.Contains(got, "fault no-listener") {
		t.Errorf("%q", got)
	}
}

// TestAnAnswerOfICMPIsOne: the reply to an echo has another type than the request.
func TestAnAnswerOfICMPIsOne(t *testing.T) {
	for kind, want := range map[string][]string{"8": nil, "0": {"fault firewall-drop"}} {
		rule := func(s *host.Snapshot) {
			s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{
				{Name: "OUTPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: []string{"-p", "icmp", "-m", "icmp", "--icmp-type", kind, "-j", "DROP"}}}},
			}}}
		}
		r := Examine(machine(rule), Options{VIPs: []netip.Addr{vip}, Proto: 1, Client: client, Director: director})
		if got := lines(r); !slices.Equal(got, want) {
			t.Errorf("type %s: got %q, want %q", kind, got, want)
		}
	}
}

// TestNoClientIsToldByItsPort: a rule by the port of a client, its TTL or its length stops some, and which is not known.
func TestNoClientIsToldByItsPort(t *testing.T) {
	for _, rule := range []string{"-p tcp -m tcp --sport 50000:51000", "-m ttl --ttl-gt 128", "-m length --length 0:59"} {
		rules := func(s *host.Snapshot) {
			s.IPTables = []host.IPTables{{Backend: "iptables-legacy", Table: "filter", Chains: []host.IPTablesChain{
				{Name: "INPUT", Policy: "ACCEPT", Rules: []host.IPTablesRule{{Args: strings.Fields("-i tunl0 " + rule + " -j DROP")}}},
			}}}
		}
		r := Examine(machine(rules), Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
		if got := lines(r); !slices.Equal(got, []string{"note firewall-drop", "unread firewall-drop"}) {
			t.Errorf("%s: got %q", rule, got)
		}
	}
}
