package journey

import (
	"slices"

	"ipiptrace/internal/site"
	"ipiptrace/tracer/event"
)

// board finds the flight that a new sk_buff belongs to, or makes one; nil if the event is a straggler of
// a journey that is over, or says too little to begin one.
func (a *Assembler) board(e event.Event, k key) *flight {
	if old, known := a.bySkb[e.Skb]; known && (old.seen < k.seen || old != k && e.First) {
		if f := a.byKey[old]; f != nil && f.id == e.ID && e.Packet != nil && (f.reassembled || f.readInVain(e) || f.unpackedWrongly(e)) {
			a.rename(f, old, k)
			return f
		}
		a.reused(old)
	}
	if e.Packet == nil {
		return nil
	}
	if e.Netns == 0 && a.opts.Run.Filter.Netns != 0 {
		return nil // a datagram of a namespace that is not known, and of no journey that is
	}
	how, over := a.gone.get(k)
	if over && how == bySight {
		return nil
	}
	if !e.Packet.Quoted {
		f := a.continued(e)
		if f == nil {
			f = a.cutFrom(e)
		}
		if f != nil {
			f.forks(e, k)
			f.keys = append(f.keys, k)
			f.doubt = noDoubt
			a.byKey[k], a.bySkb[k.skb] = f, k
			return f
		}
	}
	f := a.begin(e, k)
	if !e.First && !over && !f.quoted && a.opts.Netns == 0 && a.opts.Run.Filter.Netns == 0 {
		f.gaps++ // its beginning was not seen
	}
	return f
}

// readInVain reports whether the reader of a socket has freed a datagram that was in its queue: its checksum, which
// is only looked at when it is copied, is wrong.
func (f *flight) readInVain(e event.Event) bool {
	return f.socket != untaken && f.packet.Inner.Protocol == protoUDP && e.Place == event.KfreeSkb && e.Drop != nil && site.Function(e.Drop.Function) == "udp_recvmsg"
}

// unpackedWrongly reports whether IP has freed what a tunnel over UDP left of the packet: it took it for another kind of
// tunnel, and the kernel half could not know it again before that.
func (f *flight) unpackedWrongly(e event.Event) bool {
	outer := e.Packet.Outer
	return f.tunnelled && e.Place == event.KfreeSkb && outer != nil && outer.Protocol == protoUDP
}

// rename notes that a flight's sk_buff is known by another identity from here on.
func (a *Assembler) rename(f *flight, old, k key) {
	a.forget(old, bySight)
	f.release(old)
	f.keys = append(f.keys, k)
	f.reassembled = false
	a.byKey[k], a.bySkb[k.skb] = f, k
}

// continued is the open flight that goes on in a new sk_buff: the same hash, and not another packet with
// the same hash (a UDP sender that leaves the IP id 0).
func (a *Assembler) continued(e event.Event) *flight {
	for _, f := range a.byID[e.ID] {
		if !f.quoted && f.freed == nil && f.socket == untaken && len(f.steps) < maxSteps && len(f.keys) < maxCopies && (!f.beenAt(e) || f.isDoubled(e)) {
			return f
		}
	}
	return nil
}

// cutFrom is the open flight of a large packet (GSO) that an sk_buff which begins on its way out is a
// segment of; nil if there is none.
func (a *Assembler) cutFrom(e event.Event) *flight {
	p := e.Packet
	if !e.First || p.Inner.Protocol != protoTCP || !p.HasPorts || e.Place != event.NetDevQueue && e.Place != event.NetDevStartXmit {
		return nil
	}
	fk, dir := keyOf(p)
	fl, known := a.flows.get(fk)
	if !known {
		return nil
	}
	f := fl.ways[dir].large
	if e.Place == event.NetDevQueue && f != nil && f.leaving != sent {
		return nil // it is in a queue, whole: what comes to one now is another packet
	}
	if f == nil || f.ended || f.freed != nil || f.netns != e.Netns || f.leaving == staying || len(f.keys) >= maxCopies || len(f.steps) >= maxSteps {
		return nil
	}
	if p.Seq-f.packet.Seq >= uint32(f.packet.Inner.Len) {
		return nil
	}
	return f
}

func (a *Assembler) begin(e event.Event, k key) *flight {
	a.flights++
	f := &flight{
		id: e.ID, packet: *e.Packet, keys: []key{k}, first: e.Time, last: e.Time,
		losses: a.losses, number: a.flights, quoted: e.Packet.Quoted, slot: -1,
		prospect: silence, deadline: e.Time + a.opts.Patience,
	}
	a.byKey[k], a.bySkb[k.skb] = f, k
	a.findable(f)
	a.agenda.add(f)
	if f.quoted {
		return f
	}
	if e.Packet.NoInner {
		f.flow = &flow{} // of none
		return f
	}
	fk, dir := keyOf(e.Packet)
	f.flow, f.way = a.flowOf(fk), dir
	f.reply = a.isReply(e.Packet)
	f.flow.saw(e.Packet, dir)
	f.flow.handshake.saw(f, a.losses)
	if f.reply {
		f.related, f.fallback = f.flow.request, f.flow.delivered
		a.replyBegins(f)
	} else {
		f.flow.request = f
	}
	return f
}

// findable lets a flight be found by its hash. Of very many with the same one only the last are: each is looked at whenever
// such a packet turns up in a new sk_buff.
func (a *Assembler) findable(f *flight) {
	same := append(a.byID[f.id], f)
	if len(same) > maxAlike {
		same = slices.Delete(same, 0, 1)
	}
	a.byID[f.id] = same
}

func (a *Assembler) flowOf(k flowKey) *flow {
	fl, known := a.flows.get(k)
	if !known {
		fl = &flow{}
		a.flows.put(k, fl)
	}
	return fl
}

// isReply reports whether a packet comes from the VIP.
func (a *Assembler) isReply(p *event.Packet) bool {
	filter := a.opts.Run.Filter
	service := func(e end) bool {
		return slices.Contains(filter.VIPs, e.addr) &&
			(!p.HasPorts || len(filter.Ports) == 0 || slices.Contains(filter.Ports, e.port))
	}
	return service(end{p.Inner.Src, p.SrcPort}) && !service(end{p.Inner.Dst, p.DstPort})
}
