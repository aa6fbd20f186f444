package journey

import (
	"slices"

	"ipiptrace/tracer/event"
)

// defrag keeps the fragments of a datagram together: whole, it lives on in one of them.
func (a *Assembler) defrag(f *flight, e event.Event) (over bool) {
	switch {
	case !e.Returned:
	case e.Value == inProgress:
		a.waitsForRest(f)
	default:
		a.whole(f)
	}
	return false
}

func (a *Assembler) waitsForRest(f *flight) {
	if f.fragment == nil {
		d := f.datagram()
		if len(a.fragments[d]) >= maxParts {
			return
		}
		f.fragment = &d
		a.fragments[d] = append(a.fragments[d], f)
	}
}

// whole records that f was the last part to come: the datagram has its sk_buff and the first part's headers
// (inet_frag_reasm_prepare), so that it is the first part that goes on.
func (a *Assembler) whole(f *flight) {
	parts := slices.Clone(a.fragments[f.datagram()])
	first := f
	for _, part := range parts {
		if part.fragmentOffset() == 0 {
			first = part
		}
	}
	if f.fragmentOffset() == 0 {
		first = f
	}
	for _, part := range parts {
		if part != first && part != f {
			part.became = first.id
			a.end(part, Consumed, bySight)
		}
	}
	a.unfragment(first)
	if f != first {
		a.handOver(f, first)
	}
}

// handOver ends f, whose sk_buff has become another flight's.
func (a *Assembler) handOver(f, to *flight) {
	k := f.current()
	f.keys, f.became = slices.DeleteFunc(f.keys, func(x key) bool { return x == k }), to.id
	a.end(f, Consumed, bySight)
	to.keys = append(to.keys, k)
	to.reassembled = true
	a.byKey[k], a.bySkb[k.skb] = to, k
	a.schedule(to, silence)
}

func (a *Assembler) unfragment(f *flight) {
	if f.fragment == nil {
		return
	}
	rest := slices.DeleteFunc(a.fragments[*f.fragment], func(x *flight) bool { return x == f })
	if a.fragments[*f.fragment] = rest; len(rest) == 0 {
		delete(a.fragments, *f.fragment)
	}
	f.fragment = nil
}

// datagram is what a fragment is part of: the outer datagram as long as there is one.
func (f *flight) datagram() datagram {
	h := f.header()
	return datagram{event.Header{Src: h.Src, Dst: h.Dst, Protocol: h.Protocol, ID: h.ID}, f.netns}
}

// isFragment reports whether the packet was part of a larger datagram.
func (f *flight) isFragment() bool {
	const more = 0x2000
	return f.header().Frag&more != 0 || f.fragmentOffset() != 0
}

// fragmentOffset is where in its datagram a fragment lies, in units of 8 bytes; 0 for the first one, and for a packet that is whole.
func (f *flight) fragmentOffset() uint16 {
	const offset = 0x1fff
	return f.header().Frag & offset
}

// header is the header by which IP puts fragments together: the outer one as long as there is one.
func (f *flight) header() event.Header {
	if f.tunnelled && f.outer != nil {
		return *f.outer
	}
	return f.packet.Inner
}

// mayWaitForFragments reports whether a fragment can wait for the rest of its datagram without being seen.
func (a *Assembler) mayWaitForFragments(f *flight) bool {
	return f.isFragment() && f.arrived && f.leaving == staying && f.socket == untaken && !a.watches(event.IPDefrag)
}
