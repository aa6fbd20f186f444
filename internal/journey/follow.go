package journey

import "ipiptrace/tracer/event"

// follow updates a flight with a sighting of its packet.
func (a *Assembler) follow(f *flight, e event.Event) {
	m := meaningOf(e.Place)
	if m.ends != nil {
		m.ends(a, f, e)
		return
	}
	f.last, f.rounds = max(f.last, e.Time), 0
	if m.late != nil && m.late(a, f, e) {
		f.step(e, true)
		return
	}
	f.touch(key{e.Skb, e.Seen})
	f.move(e)
	f.step(e, false)
	if f.segments > 1 && e.Packet != nil {
		f.flow.ways[f.way].sawMerged(e.Packet, f.id)
	}
	a.settleRole(f)
	a.arrivedTunnelled(f)
	f.answeredBehind()
	if m.meets == nil {
		a.unfragment(f)
	} else if m.meets(a, f, e) {
		return
	}
	if m.reach != nil {
		m.reach(f, e)
	}
	if f.director.handled() {
		a.settleRole(f)
	}
	if f.segments > 1 && f.leaving != staying {
		f.flow.ways[f.way].large = f
	}
	a.resetLeaves(f, e)
	a.replyLeaves(f)
	if p, ok := m.prospectOf(f, e); ok {
		if m.worth != nil {
			p = m.worth(a, f, e, p)
		}
		a.schedule(f, f.refused(p))
	}
}

// refused is the prospect of a packet that was answered with an RST: the segment was refused, whatever function returns.
func (f *flight) refused(p prospect) prospect {
	if p.now && p.fate == Delivered && f.reject != nil && f.reject.By == ByRST {
		return prospect{fate: Rejected, after: answerWait, now: f.reject.Sent}
	}
	return p
}

// flowChanged records what a socket does without a packet.
func (a *Assembler) flowChanged(e event.Event) {
	if e.Place == event.IPRouteOutput {
		a.unanswerable(e)
		return
	}
	a.stateChanged(e)
}

// stateChanged records a change of a socket's state; the packet that caused it may be known.
func (a *Assembler) stateChanged(e event.Event) {
	fk, _ := keyOf(e.Packet)
	a.flowOf(fk).changed(e.Netns, e.Aux, uint32(e.Value), e.Time)
	k := key{e.Skb, e.Seen}
	f := a.byKey[k]
	if f == nil || f.quoted || !f.reachedHost() {
		return
	}
	if own, _ := keyOf(&f.packet); own != fk {
		return // the state of another socket changed while the packet was handled
	}
	f.last, f.rounds = max(f.last, e.Time), 0
	f.step(e, false)
	if m := meaningOf(e.Place); m.reach != nil {
		m.reach(f, e)
	}
	if !f.backlog || f.prospect.waits {
		a.schedule(f, meaningOf(event.InetSockSetState).promise)
	}
}

// merged ends a packet that GRO has merged into another one (enum gro_result: GRO_MERGED, GRO_MERGED_FREE).
func (a *Assembler) merged(f *flight, e event.Event) bool {
	const groMergedFree = 1
	if e.Value > groMergedFree || e.Value < 0 {
		return false
	}
	if into := a.byKey[a.bySkb[e.Peer]]; e.Peer != 0 && into != nil && into != f {
		f.became = into.id
	}
	a.end(f, Consumed, bySight)
	return true
}

// role is the part of the host in which a flight ended.
//
// A request that came tunnelled is at a real server; one that IPVS handled, or that came plain and left
// tunnelled, or came to a namespace where that was seen, at a director; one that never came through a device, at its client.
// A reply is at the real server until a client gets it.
func (a *Assembler) role(f *flight) Role {
	known, _ := a.roles.get(f.netns)
	switch {
	case a.opts.Role != "" && a.opts.Role != Auto:
		return a.opts.Role
	case f.reply && known == Director && f.leaving != staying:
		return Director // the way back leads through it, with NAT always
	case f.reply && f.arrived && (f.fate == Delivered || known == Client || f.firstArrived):
		return Client
	case f.reply:
		return RealServer
	case f.cameIPIP || f.decapped:
		return RealServer
	case f.encapped || f.director.handled():
		return Director
	case f.balanced || f.director.sent():
		return RealServer
	case !f.arrived:
		return Client
	case known != "" && known != Client:
		return known
	}
	return Director
}

// settleRole remembers what a network namespace is used for.
func (a *Assembler) settleRole(f *flight) {
	role := Role("")
	switch {
	case f.netns == 0 || f.reply:
	case f.decapped:
		role = RealServer
	case f.encapped || f.director.handled():
		role = Director
	case !f.arrived && len(f.steps) == 1:
		role = Client
	}
	if role == "" {
		return
	}
	if known, ok := a.roles.get(f.netns); !ok || known == Client && role != Client {
		a.roles.put(f.netns, role)
	}
}
