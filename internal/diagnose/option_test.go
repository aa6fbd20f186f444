package diagnose

import (
	"net/netip"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

var (
	anywhere    = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	loopbackNet = netip.MustParsePrefix("127.0.0.1/8")
	loopback    = loopbackNet.Addr()
)

func TestWhatTheServiceAsksForIsFoundWithAndWithoutReasons(t *testing.T) {
	on := func(change func(*host.Socket)) *host.Snapshot {
		return realServer(func(s *host.Snapshot) { change(&s.Sockets[0]) })
	}
	filter := func(s *host.Socket) { s.Filter = true }
	neighbours := func(s *host.Socket) { s.MinTTL = 255 }
	keys := func(s *host.Socket) { s.MD5 = true }
	counted := func(s *host.Snapshot) { s.Counters["Tcp.InCsumErrors"] = 3 }
	long := func(s *host.Snapshot) {
		s.Coarse = true
		s.Counters["TcpExt.TCPMD5NotFound"] = 6
		counted(s)
	}
	late := func(name string) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.Compared, s.Risen = true, map[string]uint64{name: 1} }
	}
	at := func(reason string) journey.Journey { return dropped("tcp_v4_rcv", reason, "tunl0", false) }
	noSocket := rejected(at("NO_SOCKET"), journey.ByRST, 0, 0)
	for what, test := range map[string]struct {
		j         journey.Journey
		s         *host.Snapshot
		code      string
		certainty Certainty
	}{
		"a filter":                                     {at("SOCKET_FILTER"), on(filter), "socket-filter-drop", Inferred},
		"a filter, no reasons":                         {at(""), on(filter), "socket-filter-drop", Inferred},
		"a filter, and once a wrong checksum":          {at(""), realServer(counted, func(s *host.Snapshot) { filter(&s.Sockets[0]) }), "socket-filter-drop", Inferred},
		"a filter that was not read":                   {at("SOCKET_FILTER"), realServer(), "socket-filter-drop", Inferred},
		"no filter, which its owner says":              {at("SOCKET_FILTER"), on(func(s *host.Socket) { s.Owners = []host.Process{{PID: 7, Name: "web"}} }), "security-module", Inferred},
		"a security module, by its name":               {at("SECURITY_HOOK"), realServer(), "security-module", Inferred},
		"a TTL too low":                                {at("TCP_MINTTL"), on(neighbours), "min-ttl", Observed},
		"a TTL too low, not named":                     {at("NOT_SPECIFIED"), on(neighbours), "min-ttl", Observed},
		"a TTL too low, and a filter":                  {at(""), realServer(func(s *host.Snapshot) { filter(&s.Sockets[0]); neighbours(&s.Sockets[0]) }), "min-ttl", Observed},
		"a TTL that is enough":                         {at(""), on(func(s *host.Socket) { s.MinTTL = 62 }), unknown, NotKnown},
		"no signature":                                 {at("TCP_MD5NOTFOUND"), on(keys), "tcp-auth", Observed},
		"no signature, no reasons":                     {at(""), on(keys), "tcp-auth", Observed},
		"nothing known of the socket":                  {at(""), realServer(), unknown, NotKnown},
		"a wrong checksum, no reasons":                 {at(""), realServer(counted), "bad-checksum", Inferred},
		"no socket, no reasons, once a wrong checksum": {at(""), realServer(counted, func(s *host.Snapshot) { s.Sockets = nil }), unknown, NotKnown},
		"a wrong checksum, and no signature long ago":  {at(""), realServer(long, late("Tcp.InCsumErrors")), "bad-checksum", Inferred},
		"no signature, and a wrong checksum long ago":  {at(""), realServer(long, late("TcpExt.TCPMD5NotFound")), "tcp-auth", Inferred},
		"both long ago":                                {at(""), realServer(long, late("TcpExt.ListenOverflows")), unknown, NotKnown},
		"a policy, no reasons":                         {at(""), realServer(blocked), "xfrm-policy", Observed},
		"a program takes the socket away":              {noSocket, realServer(lookup), "sk-lookup-drop", Observed},
		"a program, and nobody listens":                {noSocket, realServer(lookup, func(s *host.Snapshot) { s.Sockets = nil }), "no-listener", Observed},
		"a program, devices of sockets unknown":        {noSocket, realServer(lookup, func(s *host.Snapshot) { s.Coarse = true }), "sk-lookup-drop", Inferred},
	} {
		t.Run(what, func(t *testing.T) {
			c := Explain(test.j, test.s).Cause
			if c.Code != test.code || c.Certainty != test.certainty {
				t.Errorf("%s, %s (%s); want %s, %s", c.Code, c.Certainty, c.Summary, test.code, test.certainty)
			}
		})
	}
}

func TestNobodyIsToldToTakeLoopbackAway(t *testing.T) {
	j := dropped("ip_rcv_finish_core", "IP_LOCALNET", "tunl0", false)
	j.Packet.Inner.Src = loopback
	s := realServer(func(s *host.Snapshot) {
		s.Addrs = append(s.Addrs, host.Addr{Link: 1, Prefix: loopbackNet})
		s.Routes = append(s.Routes, host.Route{Table: 255, Dst: loopbackNet.Masked(), Type: "local", Hops: []host.Hop{{Link: 1}}})
	})
	if c := Explain(j, s).Cause; c.Code != "martian-source" || len(c.Fix) > 0 {
		t.Errorf("%s, fix %q", c.Code, c.Fix)
	}
}

func blocked(s *host.Snapshot) {
	s.XFRM = []host.Policy{{Dir: "in", Action: "block", Src: anywhere, Dst: anywhere, Index: 8}}
}

func lookup(s *host.Snapshot) { s.Lookups = []host.Lookup{{Link: 3, Program: 7}} }
