package diagnose

import (
	"net/netip"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
)

// sameToRules is what makes two packets the same to a firewall but for the client's port, which rules look at least:
// to evaluate ten thousand rules for each packet of a flood would hold up the run.
type sameToRules struct {
	netns                        uint32
	function, reason, hook, dev  string
	direction                    journey.Direction
	fate                         journey.Fate
	src, dst, outerSrc, outerDst netip.Addr
	service, port                uint16
	proto, flags                 uint8
	tunnelled, gaps              bool
	by                           string
	kind, code                   uint8
	ct                           ruleset.CT
	rule                         journey.NftRule
}

// maxRemembered bounds what is remembered of one state.
const maxRemembered = 4096

// rememberable has the key of a journey that netfilter ended; ok is false for any other.
func rememberable(j journey.Journey) (k sameToRules, ok bool) {
	if j.Drop == nil || j.Drop.NfHook == "" {
		return k, false
	}
	s := wasLost(j).Subject
	k = sameToRules{
		netns: placeOf(j), function: j.Drop.Function, reason: j.Drop.Reason, hook: j.Drop.NfHook + " " + j.Drop.Decider, dev: j.Drop.Dev,
		direction: j.Direction, fate: j.Fate, src: s.Now.Inner.Src, dst: s.Now.Inner.Dst,
		service: s.port(), port: s.asked().Port(), proto: j.Packet.Inner.Protocol, flags: uint8(j.Packet.TCPFlags), tunnelled: s.Tunnelled, gaps: j.Gaps > 0,
	}
	if j.Outer != nil {
		k.outerSrc, k.outerDst = j.Outer.Src, j.Outer.Dst
	}
	if j.Drop.Rule != nil {
		k.rule = *j.Drop.Rule
	}
	if j.Reject != nil {
		k.by, k.kind, k.code = j.Reject.By, j.Reject.Type, j.Reject.Code
	}
	return k, true
}

// explain is Explain, but for what it said of the like since the state was read.
func (s *state) explain(j journey.Journey) Verdict {
	k, ok := rememberable(j)
	if !ok {
		return explain(j, s.host, s.rules)
	}
	if s.host != nil {
		k.ct = tracking(s.host, wasLost(j).hooked())
	}
	if v, known := s.said[k]; known {
		v.Journey = j
		return v
	}
	v := explain(j, s.host, s.rules)
	if len(s.said) < maxRemembered {
		s.said[k] = v
	}
	return v
}
