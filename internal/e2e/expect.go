package main

import (
	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// loss is what is expected of a kind of a fault's traffic, as it is seen by one tier on this kernel.
type loss struct {
	fault.Loss
	// at is the namespace.
	at lab.Role
	// late are journeys that arrived, as far as ipiptrace can wait for their answers.
	late func(line) bool
	// lastSight: there a reply is seen only when it is freed, long after it was sent.
	lastSight bool
}

// expected is the loss of a kind of a scenario's traffic; ok is false if it says of none. Without a lab it is not known
// which answers were late.
func (o options) expected(l *lab.Lab, s fault.Scenario, p lab.Proto, tier string) (want loss, ok bool) {
	f, ok := s.Loss(p)
	want = loss{Loss: f, at: s.Where(), late: lateAnswer(l)}
	want.see(tier, o.reasons)
	return want, ok
}

// see leaves of it what a tier shows, on a kernel that has reasons or has none.
func (l *loss) see(tier string, reasons bool) {
	if !reasons && l.Mute != "" {
		l.Blind = l.Mute
	}
	switch {
	case tier != tracepoint:
		l.Blind = ""
	case l.Answerless:
		l.Fate, l.Reject, l.lastSight = "dropped", "", l.Reply
	case l.Blind != "":
		l.Fate, l.Functions, l.Reasons, l.Reject, l.Dev, l.Hook = l.Blind, nil, nil, "", "", ""
	}
}

// window is when its journeys begin.
func (l loss) window(traffic window) window {
	if l.lastSight && !traffic.to.IsZero() {
		traffic.to = traffic.to.Add(verdictPatience)
	}
	return traffic
}

// wire is the protocol that the traffic has on the wire.
func wire(p lab.Proto) string {
	switch p {
	case lab.Crafted:
		return string(lab.TCP)
	case lab.CraftedUDP:
		return string(lab.UDP)
	case lab.CraftedOdd:
		return ""
	}
	return string(p)
}
