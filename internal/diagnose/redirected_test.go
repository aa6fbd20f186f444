package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
)

// TestWhatIsSaidOfARedirectedPacketIsSaidOfItsSocket: NAT has given it to another port than the client's.
func TestWhatIsSaidOfARedirectedPacketIsSaidOfItsSocket(t *testing.T) {
	at := func(change func(*host.Socket)) func(*host.Snapshot) {
		return func(s *host.Snapshot) {
			sock := s.Sockets[0]
			sock.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 8080)
			change(&sock)
			s.Sockets = append(s.Sockets, sock)
		}
	}
	full := at(func(x *host.Socket) { x.RecvQueue = x.SendQueue + 1 })
	asked := given(dropped("tcp_conn_request", "", "tunl0", false), "10.99.0.1:8080")
	theirs := given(dropped("tcp_conn_request", "", "tunl0", false), "10.0.0.11:8080")
	const to = "port 8080, to which NAT has given the packet for 10.99.0.1:80,"
	// The answer is routed as it leaves its socket, and gets the VIP as source behind that.
	fromVIP := rule(host.Rule{From: netip.PrefixFrom(vip, 32), Action: "blackhole"})
	for what, test := range map[string]struct {
		loss
		says string
	}{
		"its queue is full":                  {loss{asked, realServer(full), "accept-queue-full", Observed, ""}, to},
		"the queue of the VIP's port is":     {loss{asked, realServer(at(func(*host.Socket) {}), func(s *host.Snapshot) { s.Sockets[0].RecvQueue = 200 }), unknown, NotKnown, ""}, ""},
		"it was lost without a state":        {loss{given(dropped("tcp_conn_request", "TCP_LISTEN_OVERFLOW", "tunl0", false), "10.99.0.1:8080"), nil, "accept-queue-full", Inferred, ""}, to},
		"a rule refuses what the VIP sends":  {loss{theirs, realServer(at(func(*host.Socket) {}), fromVIP), unknown, NotKnown, ""}, ""},
		"a rule refuses what the host sends": {loss{theirs, realServer(at(func(*host.Socket) {}), rule(host.Rule{From: netip.PrefixFrom(rip, 32), Action: "blackhole"})), "no-return-route", Observed, "ip rule del pref 10 from 10.0.0.11/32 blackhole"}, "rule 10"},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			found(t, v, test.code, test.certainty, test.fix)
			if !strings.Contains(v.Cause.Summary, test.says) {
				t.Error(v.Cause.Summary)
			}
		})
	}
}

func TestTheTTLThatASocketAsksForIsRead(t *testing.T) {
	low := dropped("tcp_v4_rcv", "TCP_MINTTL", "tunl0", false)
	passed := low
	passed.Steps = slices.Insert(slices.Clone(low.Steps), 0, journey.Step{Dev: "veth9", Netns: here + 1})
	asks := func(ttl uint8, was bool) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.Sockets[0].MinTTL, s.Sockets[0].Unbound = ttl, was }
	}
	for what, test := range map[string]struct {
		loss
		says string
	}{
		"it asks for more":                     {loss{low, realServer(asks(63, true)), "min-ttl", Observed, ""}, "IP_MINTTL on 0.0.0.0:80: 63"},
		"it was not asked":                     {loss{low, realServer(asks(0, false)), "min-ttl", Inferred, ""}, "was not asked for its options"},
		"it asks for as much as there was":     {loss{low, realServer(asks(62, true)), "min-ttl", Inferred, ""}, ""},
		"it asks for what there was elsewhere": {loss{passed, realServer(asks(62, true)), "min-ttl", Observed, ""}, "in another network namespace"},
		"the state was not read":               {loss{low, nil, "min-ttl", Inferred, ""}, "the state of the machine"},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			found(t, v, test.code, test.certainty, test.fix)
			if all := strings.Join(slices.Concat(v.Cause.Evidence, v.Cause.Unread), "\n"); !strings.Contains(all, test.says) {
				t.Errorf("nothing says %q: %q", test.says, all)
			}
		})
	}
}
