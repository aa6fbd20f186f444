package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

// noIPIP is a machine without the module, and without its devices.
func noIPIP(s *host.Snapshot) {
	s.Modules, s.Links, s.Addrs, s.Routes = nil, s.Links[:2], s.Addrs[:1], append(s.Routes[:1:1], s.Routes[2:]...)
	s.Sysctls["net/ipv4/conf/default/rp_filter"], s.Sysctls["net/ipv4/conf/all/rp_filter"] = "1", "1"
	delete(s.Sysctls, "net/ipv4/conf/tunl0/rp_filter")
}

// TestNoModuleIsLoadedThatIsNotThere: a kernel that has no ipip is told of, and what is behind is asked all the same.
func TestNoModuleIsLoadedThatIsNotThere(t *testing.T) {
	absent := func(s *host.Snapshot) {
		s.Absent = map[string]string{"ipip": "it loads no modules, and none of that name is built in"}
	}
	q := request()
	q.Client = netip.MustParseAddrPort("203.0.113.7:50000")
	for what, test := range map[string]struct {
		s         *host.Snapshot
		says, fix string
	}{
		"not loaded": {supposedServer(noIPIP), "the kernel module ipip is not loaded: nothing takes IPIP packets", "modprobe ipip; ip link set tunl0 up; ip addr add 10.99.0.1/32 dev tunl0"},
		"not there":  {supposedServer(noIPIP, absent), "this kernel has no ipip, and nothing takes IPIP packets: it loads no modules", ""},
	} {
		found, _ := examined1(q, test.s)
		if len(found) == 0 || !strings.Contains(found[0].Summary, test.says) || typed(&found[0].Cause) != test.fix || found[0].Untried {
			t.Errorf("%s: %q, %+v", what, saidOf(found), found[:min(1, len(found))])
		}
		if len(found) < 2 {
			t.Errorf("%s: nothing is asked behind it: %q", what, saidOf(found))
		}
	}
}

// TestOfADeviceThatIsNotThereItIsSaidWhatItWillBe: its settings are those of conf.default, and nobody has read its own.
func TestOfADeviceThatIsNotThereItIsSaidWhatItWillBe(t *testing.T) {
	found, _ := examined1(request(), supposedServer(noIPIP))
	lines := ""
	for _, f := range found {
		for _, line := range f.Evidence {
			lines += line + "\n"
			if f.Behind && strings.Contains(line, "tunl0") && !strings.HasPrefix(line, "then ") {
				t.Errorf("%s: %s", f.Code, line)
			}
		}
	}
	if want := "then net.ipv4.conf.tunl0.rp_filter = 1, as net.ipv4.conf.default.rp_filter\n"; !strings.Contains(lines, want) {
		t.Errorf("no %q in:\n%s", want, lines)
	}
}
