package journey

import (
	"slices"

	"ipiptrace/tracer/event"
)

// board finds the flight that a new sk_buff belongs to, or makes one; nil if the event is a straggler of
// a journey that is over, or says too little to begin one.
func (a *Assembler) board(e event.Event, k key) *flight {
	if old, known := a.bySkb[e.Skb]; known && (old.seen < k.seen || old != k && e.First) {
		a.reused(old)
	}
	if e.Packet == nil {
		return nil
	}
	how, over := a.gone.get(k)
	if over && how == bySight {
		return nil
	}
	if !e.Packet.Quoted {
		if f := a.continued(e); f != nil {
			f.keys = append(f.keys, k)
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

// continued is the open flight that goes on in a new sk_buff: the same hash, and not another packet with
// the same hash (a UDP sender that leaves the IP id 0).
func (a *Assembler) continued(e event.Event) *flight {
	for _, f := range a.byID[e.ID] {
		if !f.quoted && f.freed == nil && !f.socket && len(f.steps) < maxSteps && len(f.keys) < maxCopies && !f.beenAt(e) {
			return f
		}
	}
	return nil
}

func (a *Assembler) begin(e event.Event, k key) *flight {
	a.flights++
	f := &flight{
		id: e.ID, packet: *e.Packet, keys: []key{k}, first: e.Time, last: e.Time,
		losses: a.losses, number: a.flights, quoted: e.Packet.Quoted, slot: -1,
		prospect: silence, deadline: e.Time + a.opts.Patience,
	}
	a.byKey[k], a.bySkb[k.skb] = f, k
	a.byID[f.id] = append(a.byID[f.id], f)
	a.agenda.add(f)
	if f.quoted {
		return f
	}
	fk, dir := keyOf(e.Packet)
	f.flow, f.way = a.flowOf(fk), dir
	f.reply = a.isReply(e.Packet)
	f.flow.saw(e.Packet, dir)
	if f.reply {
		f.related, f.fallback = f.flow.request, f.flow.delivered
	} else {
		f.flow.request = f
	}
	return f
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
