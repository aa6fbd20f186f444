package diagnose

import (
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
)

func TestBucketsAreTheKernels(t *testing.T) {
	for what, got := range map[string][2]int{
		"the client":               {bucket(client, 0), 114},
		"the client and its port":  {bucket(client, 30000), 109},
		"the VIP":                  {bucket(vip, 0), 21},
		"what is no IPv4 address":  {bucket(netip.Addr{}, 0), 0},
		"buckets of two with 2, 1": {tableOf(t, 2, 1), 0},
		"with 0 and 1":             {tableOf(t, 0, 1), 0},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", what, got[0], got[1])
		}
	}
}

// tableOf is which of two real servers with such weights sh has for the client.
func tableOf(t *testing.T, weights ...int32) int {
	t.Helper()
	var all []host.Destination
	for _, w := range weights {
		all = append(all, host.Destination{Weight: w})
	}
	table := sourceTable(all)
	if len(table) != 256 || len(destinationTable(all)) != 256 {
		t.Fatalf("a table of %d, and one of %d", len(table), len(destinationTable(all)))
	}
	for i := range all {
		if table[bucket(client, 0)] == &all[i] {
			return i
		}
	}
	return -1
}

// scheduled are losses, and healthy twins, of a director with two real servers: the first of them is the client's for
// sh, the second one everybody's for dh.
func scheduled() map[string]loss {
	at := func(address, method string, weight int32, upper, active uint32) host.Destination {
		return host.Destination{Addr: netip.MustParseAddrPort(address), Method: method, Weight: weight, Upper: upper, Active: active}
	}
	ours := func(weight int32, upper, active uint32) host.Destination {
		return at("10.0.0.11:80", "tunnel", weight, upper, active)
	}
	other := func(weight int32, upper, active uint32) host.Destination {
		return at("10.0.0.12:80", "tunnel", weight, upper, active)
	}
	by := func(scheduler string, flags uint32, change ...func(*host.Service)) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			v := &s.IPVS.Services[0]
			v.Scheduler, v.Flags = scheduler, flags
			for _, c := range change {
				c(v)
			}
		}
	}
	j := rejected(dropped("nf_hook_slow", "NETFILTER_DROP", "eth0", false), journey.ByICMP, 3, 3)
	j.Outer, j.Drop.Decider = nil, "ip_vs_in"
	later := j
	later.Packet.TCPFlags = 0x10
	odd := j // the hash of its port has the second one
	odd.Packet.SrcPort = 30000
	even := j
	even.Packet.SrcPort = 30003
	gue := ours(0, 0, 0)
	gue.TunType, gue.TunPort, gue.TunFlags, gue.Upper, gue.Lower = "gue", 6080, 1, 50, 40
	gre := ours(1, 1, 1)
	gre.TunType = "gre"
	masked := func(v *host.Service) {
		v.Timeout, v.Netmask, v.Engine = 360, netip.MustParseAddr("255.255.255.0"), "sip"
	}
	const again, falls, port = "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1", host.ServiceFallback, host.ServicePort
	none, over := "ipvs-no-destination", "ipvs-overloaded"
	return map[string]loss{
		"sh, its own at rest":              {j, balancer(by("sh", 0), ours(0, 0, 0), other(1, 0, 0)), none, Observed, "ipvsadm -E -t 10.99.0.1:80 -s sh -b sh-fallback"},
		"sh, its own full":                 {j, balancer(by("sh", 0), ours(1, 2, 2), other(1, 0, 0)), over, Observed, "ipvsadm -E -t 10.99.0.1:80 -s sh -b sh-fallback"},
		"sh, its own full, others at rest": {j, balancer(by("sh", 0), ours(1, 2, 2), other(0, 0, 0)), over, Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1 -x 0"},
		"sh, another at rest":              {j, balancer(by("sh", 0), ours(1, 0, 0), other(0, 0, 0)), unknown, NotKnown, ""},
		"sh, all at rest":                  {j, balancer(by("sh", 0), ours(0, 0, 0), other(0, 0, 0)), none, Observed, again},
		"sh, the port's at rest":           {even, balancer(by("sh", port|host.ServicePersistent, masked), ours(0, 0, 0), other(1, 0, 0)), none, Observed, "ipvsadm -E -t 10.99.0.1:80 -s sh -b sh-fallback,sh-port -p 360 -M 255.255.255.0 --pe sip"},
		"sh, another port's at rest":       {odd, balancer(by("sh", port), ours(0, 0, 0), other(1, 0, 0)), unknown, NotKnown, ""},
		"sh, and another instead":          {j, balancer(by("sh", falls), ours(0, 0, 0), other(1, 0, 0)), unknown, NotKnown, ""},
		"sh, and none instead":             {j, balancer(by("sh", falls), ours(0, 0, 0), other(0, 0, 0)), none, Observed, again},
		"sh, and none of the table":        {j, balancer(by("sh", falls), ours(300, 1, 1), other(1, 0, 0)), over, Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 300 -x 0"},
		"dh, its own at rest":              {j, balancer(by("dh", 0), other(1, 0, 0), ours(0, 0, 0)), none, Observed, again},
		"dh, another at rest":              {j, balancer(by("dh", 0), ours(0, 0, 0), other(1, 0, 0)), unknown, NotKnown, ""},
		"mh, one at rest":                  {j, balancer(by("mh", host.ServiceOnePacket), ours(0, 0, 0), other(1, 0, 0)), none, Inferred, "ipvsadm -E -t 10.99.0.1:80 -s mh -b mh-fallback -o"},
		"mh, all at rest":                  {j, balancer(by("mh", 0), ours(0, 0, 0), other(0, 0, 0)), none, Observed, again},
		"mh, and another instead":          {j, balancer(by("mh", falls), ours(0, 0, 0), other(1, 0, 0)), unknown, NotKnown, ""},
		"mh, all are well":                 {j, balancer(by("mh", 0), ours(1, 0, 0), other(1, 0, 0)), unknown, NotKnown, ""},
		"rr, one at rest":                  {j, balancer(by("rr", 0), ours(0, 0, 0), other(1, 0, 0)), unknown, NotKnown, ""},
		"rr, one full":                     {j, balancer(by("rr", 0), ours(1, 1, 1), other(1, 9, 1)), unknown, NotKnown, ""},
		"rr, one at rest, another full":    {j, balancer(by("rr", 0), ours(1, 1, 1), other(0, 9, 1)), over, Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 1 -x 0"},
		"ovf, as many as its weight":       {j, balancer(by("ovf", 0), ours(3, 0, 3)), over, Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i -w 6"},
		"ovf, another has room":            {j, balancer(by("ovf", 0), ours(3, 0, 3), other(4, 0, 3)), unknown, NotKnown, ""},
		"at rest, a later segment":         {later, balancer(by("rr", 0), ours(0, 0, 0)), unknown, NotKnown, ""},
		"at rest, by GUE":                  {j, balancer(by("rr", 0), gue), none, Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i --tun-type gue --tun-port 6080 --tun-csum -w 1 -x 50 -y 40"},
		"full, by GRE":                     {j, balancer(by("rr", 0), gre), over, Observed, "ipvsadm -e -t 10.99.0.1:80 -r 10.0.0.11:80 -i --tun-type gre -w 1 -x 0"},
	}
}

func TestASchedulerThatHashesAsksOneRealServer(t *testing.T) {
	for what, test := range scheduled() {
		t.Run(what, func(t *testing.T) { found(t, Explain(test.j, test.s), test.code, test.certainty, test.fix) })
	}
}

func TestWhatIsSaidOfAPortIsNotSaidOfAnother(t *testing.T) {
	all := scheduled()
	at, other := all["sh, the port's at rest"], all["sh, another port's at rest"].j
	st := &state{host: at.s, rules: ruleset.Of(at.s), said: map[sameToRules]Verdict{}}
	at.j.Drop.NfHook = "input"
	found(t, st.explain(at.j), at.code, at.certainty, at.fix)
	other.Drop.NfHook = "input"
	found(t, st.explain(other), unknown, NotKnown, "")
}
