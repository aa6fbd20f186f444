package diagnose

import (
	"fmt"
	"net/netip"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
)

// sameToRules is what rules compare in a packet, without the client's port, which few rules test. Packets with the same
// key share a verdict: evaluating ten thousand rules for each packet of a flood would stop the run. IPVS tests the port, too.
type sameToRules struct {
	netns                        uint32
	function, reason, hook, dev  string
	direction                    journey.Direction
	fate                         journey.Fate
	src, dst, outerSrc, outerDst netip.Addr
	vip                          netip.Addr
	service, port, clientPort    uint16
	proto, flags, outerProto     uint8
	outerPort                    uint16
	outerFOU                     bool
	tunnelled, gaps              bool
	by                           string
	kind, code                   uint8
	ct                           ruleset.CT
	rule                         journey.NftRule
}

// maxRemembered bounds the verdicts that are kept for one state.
const maxRemembered = 4096

// likeness is the key of a journey whose packet is s.
func likeness(j journey.Journey, s Subject) (k sameToRules) {
	k = sameToRules{
		netns: netnsOf(j), dev: s.Dev, direction: j.Direction, fate: j.Fate, src: s.Now.Inner.Src, dst: s.Now.Inner.Dst, vip: s.vip(),
		service: s.port(), port: s.asked().Port(), proto: j.Packet.Inner.Protocol, flags: uint8(j.Packet.TCPFlags), tunnelled: s.Tunnelled, gaps: j.Gaps > 0,
	}
	if j.Outer != nil {
		k.outerSrc, k.outerDst, k.outerProto = j.Outer.Src, j.Outer.Dst, j.Outer.Protocol
		k.outerPort, k.outerFOU = j.Outer.DstPort, j.Outer.FOU
	}
	if d := j.Drop; d != nil {
		k.function, k.reason, k.hook = d.Function, d.Reason, d.NfHook+" "+d.Decider
		if d.Rule != nil {
			k.rule = *d.Rule
		}
	}
	if j.Reject != nil {
		k.by, k.kind, k.code = j.Reject.By, j.Reject.Type, j.Reject.Code
	}
	return k
}

// trial is the key of a repair: two repairs with the same commands, for packets that rules see alike, end alike.
type trial struct {
	like sameToRules
	ttl  uint8
	code string
	fix  string
}

// trials keep the results of repairs that were tried; nil keeps nothing.
type trials map[trial]tried

type tried struct {
	next []Next
	ok   bool
}

// of tries a repair once: it returns the kept result if the repair was tried since the state was read.
func (t trials) of(j journey.Journey, l lostPacket, n named, st *State) ([]Next, bool) {
	if t == nil {
		return l.tried(n, st)
	}
	k := trial{like: likeness(j, l.Subject), ttl: j.Packet.Inner.TTL, code: n.row.code, fix: fmt.Sprint(n.finding.fix.Commands())}
	said, known := t[k]
	if !known {
		said.next, said.ok = l.tried(n, st)
		if len(t) < maxRemembered {
			t[k] = said
		}
	}
	return said.next, said.ok
}

// explain is Explain with a cache: packets that rules see alike get the same verdict until the state is read again.
func (s *state) explain(j journey.Journey) Verdict {
	l := wasLost(j)
	if l.Hook == "" {
		return explain(j, l, s.host, s.rules, s.tried)
	}
	k := likeness(j, l.Subject)
	if s.host != nil {
		k.ct = tracking(s.host, l.hooked())
		if s.host.IPVS != nil && l.Hook == "input" {
			k.clientPort = l.clientPort() // connections, and the hash of sh and mh
		}
	}
	if v, known := s.said[k]; known {
		v.Journey = j
		return v
	}
	v := explain(j, l, s.host, s.rules, s.tried)
	if len(s.said) < maxRemembered {
		s.said[k] = v
	}
	return v
}
