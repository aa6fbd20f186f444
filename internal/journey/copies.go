package journey

import (
	"slices"
	"time"

	"ipiptrace/tracer/event"
)

// A packet may be in several sk_buffs at once. A copy that a rule (dup, TEE) or a tc action (mirred) sends somewhere else
// is no part of its way, one that a bridge floods may be all of it. The sk_buff that was copied tells them apart by what
// it does next: if it goes on here, the copy was for somebody who listens.

// fork is the moment in which a packet was copied.
type fork struct {
	// from is the sk_buff that was copied, to are the copies.
	from key
	to   []key
	// was is where the packet was.
	was position
	// prospect is what it promised.
	prospect prospect
}

// forks notes that an sk_buff which begins on its way out of a device is a copy of one that is alive and not on its
// way out. Not a copy is what IPVS or a tunnel has wrapped, and a fragment: their original has done its work.
func (f *flight) forks(e event.Event, k key) {
	p := e.Packet
	switch {
	case !e.First || !slices.Contains(leavingPlaces, e.Place) || len(f.keys) == 0 || len(f.steps) == 0:
		return
	case f.leaving > sent || e.Netns != f.netns || p.Outer != nil && !f.tunnelled || f.isFragment() || isFragment(p):
		return
	}
	if f.fork == nil {
		f.fork = &fork{from: f.current(), was: f.position, prospect: f.prospect}
	}
	f.fork.to = append(f.fork.to, k)
}

// isDoubled reports whether a segment that is sent is a copy of one that is being sent, as a rule (dup, TEE) makes it: in the
// same instant. The sender itself sends none twice as fast. Datagrams may look alike.
func (f *flight) isDoubled(e event.Event) bool {
	const sameInstant = time.Millisecond
	return e.First && e.Place == event.IPLocalOut && f.packet.Inner.Protocol == protoTCP && f.leaving == sent &&
		e.Netns == f.netns && e.Time-f.last < sameInstant
}

// isFragment reports whether a packet is part of a larger datagram, by its outer header as long as there is one.
func isFragment(p *event.Packet) bool {
	const moreOrOffset = 0x3fff
	if p.Outer != nil {
		return p.Outer.Frag&moreOrOffset != 0
	}
	return p.Inner.Frag&moreOrOffset != 0
}

// forked looks at what the sk_buff does that was copied. If it goes on here the copies are set aside, and the packet is
// where it was; if it leaves as well, or is freed as somebody else's, each may be the packet.
func (a *Assembler) forked(f *flight, e event.Event) {
	switch fork := f.fork; {
	case fork == nil || fork.from != (key{e.Skb, e.Seen}):
	case !goesOn(e, fork.was):
		if isTap(e) {
			return
		}
		f.fork = nil
	default:
		for _, k := range fork.to {
			f.release(k)
		}
		f.aside = append(f.aside, fork.to...)
		f.steps = slices.DeleteFunc(f.steps, func(s sighting) bool { return slices.Contains(f.aside, s.key) })
		f.position, f.prospect, f.fork = fork.was, fork.prospect, nil
	}
}

// goesOn reports whether a sighting shows that a packet, which was copied when it was as far on its way out, is in its
// network namespace still, or was lost there.
func goesOn(e event.Event, was position) bool {
	switch e.Place {
	case event.NetDevQueue, event.NetDevStartXmit, event.NetDevXmit, event.LeftNetns:
		return false
	case event.ConsumeSkb:
		return was.leaving == staying && !isTap(e)
	case event.KfreeSkb:
		if e.Drop == nil || isTap(e) || e.Drop.Reason == "OTHERHOST" {
			return false
		}
		hook := nfHook(*e.Drop)
		return was.leaving == sent || hook != "forward" && hook != "postrouting" && hook != "egress"
	}
	return e.Place != event.NetifReceiveSkb || e.Packet != nil && e.Packet.Outer == nil && was.tunnelled // a bridge takes up what it floods, too
}

// isAside reports whether an sk_buff is a copy that is no part of the packet's way.
func (f *flight) isAside(k key) bool { return slices.Contains(f.aside, k) }

// tapFrees notes that a tap has freed the sk_buff that a packet came in. If a clone was dropped, that was the packet.
func (a *Assembler) tapFrees(f *flight, e event.Event) {
	switch _, left := a.release(f, e); {
	case left > 0 || f.leaving != staying:
	case f.lostCopy != nil:
		a.schedule(f, droppedInClone)
	default:
		f.doubt = unfollowed
	}
}

// droppedInClone is what becomes of a packet that was dropped in a clone, while a tap had the one that it came in.
var droppedInClone = prospect{fate: Dropped, after: settle, seen: true}

// besides follows a copy up to its end, and no further.
func (a *Assembler) besides(f *flight, e event.Event) {
	if e.Place != event.KfreeSkb && e.Place != event.ConsumeSkb && e.Place != event.LeftNetns {
		return
	}
	k := key{e.Skb, e.Seen}
	a.forget(k, bySight)
	f.aside = slices.DeleteFunc(f.aside, func(x key) bool { return x == k })
}

// goesOnIn notes that a packet goes on in another sk_buff: a tap has the one that it came in.
func (a *Assembler) goesOnIn(f *flight, e event.Event) {
	k := key{e.Skb, e.Seen}
	if old, known := a.bySkb[e.Peer]; known && a.byKey[old] == f && old != k {
		a.forget(old, bySight)
		f.release(old)
	}
}
