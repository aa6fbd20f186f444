package journey

import "ipiptrace/tracer/event"

// endings are the sightings that say that an sk_buff is no more, or no more the packet's: they are no steps.
var endings = map[event.Place]func(*Assembler, *flight, event.Event){
	event.KfreeSkb:   (*Assembler).freed,
	event.ConsumeSkb: (*Assembler).consumed,
	event.LeftNetns:  (*Assembler).leave,
	event.Cloned:     (*Assembler).goesOnIn,
}

// follow takes a sighting of a packet that is on its way.
func (a *Assembler) follow(f *flight, e event.Event) {
	if ending, ok := endings[e.Place]; ok {
		ending(a, f, e)
		return
	}
	f.last, f.rounds = max(f.last, e.Time), 0
	if e.Place == event.NftRule || e.Place == event.NftResult {
		f.ruledBy(e)
		return
	}
	if a.late(f, e) {
		f.step(e, true)
		return
	}
	f.touch(key{e.Skb, e.Seen})
	f.move(e)
	f.step(e, false)
	if f.segments > 1 && e.Packet != nil {
		f.flow.ways[f.way].sawMerged(e.Packet, f.id)
	}
	a.place(f)
	a.arrivedTunnelled(f)
	switch e.Place {
	case event.SendReset, event.ICMPSend:
		a.answerChosen(f, e)
		return
	case event.GroMerged:
		if a.merged(f, e) {
			return
		}
	case event.IPDefrag:
		if e.Returned {
			a.defrag(f, e)
		}
	default:
		a.unfragment(f)
	}
	f.reach(e)
	if f.director.handled {
		a.place(f)
	}
	if f.segments > 1 && f.leaving != staying {
		f.flow.ways[f.way].large = f
	}
	a.resetLeaves(f, e)
	a.replyLeaves(f)
	if p, ok := f.promise(e); ok {
		a.schedule(f, a.adjust(f, e, p))
	}
}

// late reports whether a function returns that has nothing more to say of a packet: meanwhile it was seen
// on its way out, or in another namespace.
func (a *Assembler) late(f *flight, e event.Event) bool {
	switch {
	case f.lateReturn(e):
		return true
	case e.Place == event.NetDevXmit:
		// A tunnel's driver returns when the device below has the packet in its queue already.
		return f.leaving != driven && !(f.leaving == queued && !a.watches(event.NetDevStartXmit))
	case e.Place == event.NfHookSlow:
		return e.Returned && e.Value == 0 && (f.leaving > sent || e.Netns != 0 && e.Netns != f.netns)
	}
	return false
}

// reached is how far the places bring a packet.
var reached = map[event.Place]func(*flight){
	event.IPLocalOut:       func(f *flight) { f.leaving = sent },
	event.IPForward:        func(f *flight) { f.leaving = sent },
	event.NetDevQueue:      func(f *flight) { f.leaving = queued },
	event.NetDevStartXmit:  func(f *flight) { f.leaving = driven },
	event.NetDevXmit:       func(f *flight) { f.leaving = driven },
	event.TCPRcv:           func(f *flight) { f.socket = true },
	event.TCPAddBacklog:    func(f *flight) { f.socket, f.backlog = true, true },
	event.TCPDoRcv:         func(f *flight) { f.socket, f.processed = true, true },
	event.TCPChildProcess:  func(f *flight) { f.socket, f.processed, f.child = true, true, true },
	event.TCPDeferAccept:   func(f *flight) { f.socket, f.deferred = true, true },
	event.TCPTimewait:      func(f *flight) { f.socket, f.processed = true, true },
	event.TCPProbe:         func(f *flight) { f.socket, f.processed = true, true },
	event.InetSockSetState: func(f *flight) { f.socket, f.processed = true, true },
	event.UDPRcv:           func(f *flight) { f.socket = true },
	event.UDPQueueRcv:      func(f *flight) { f.socket = true },
	event.ICMPRcv:          func(f *flight) { f.socket = true },
}

func (f *flight) reach(e event.Event) {
	if r, ok := reached[e.Place]; ok {
		r(f)
	}
	if e.Place == event.NetDevXmit && e.Value != 0 {
		f.leaving = queued // the driver has no room: back to the queue
	}
	f.direct(e)
}

// adjust is what a promise is worth with what this run watches.
func (a *Assembler) adjust(f *flight, e event.Event, p prospect) prospect {
	if e.Place == event.UDPRcv && !a.watches(event.UDPQueueRcv) {
		return prospect{fate: Delivered, after: socketSilence}
	}
	if e.Place == event.UDPQueueRcv && p.now {
		if waits, ok := a.awaitsReply(f); ok {
			return waits
		}
		if !a.watches(event.IPRouteOutput) {
			p = prospect{fate: Delivered, after: settle, seen: true} // its reader may find that it is damaged
		}
	}
	switch {
	case e.Place == event.NfHookSlow && p.fate == Dropped:
		f.lostCopy = f.dropIn(e.Place, hookName(e.Aux))
		f.lostCopy.Rule = f.ruleFor(e)
	case e.Place == event.IPVSIn && p.fate == Dropped:
		f.lostCopy = f.dropIn(event.NfHookSlow, "") // who called it frees what it drops
	case e.Place == event.NfHookSlow && f.rewritten() && p.waits:
		return handedOn
	case e.Place == event.TCPConnRequest && p.fate == Dropped:
		if f.raced(e.Time) {
			f.duplicate = true
			return prospect{fate: Delivered, now: true}
		}
		f.freed = f.dropIn(e.Place, "")
	}
	// An RST says that the segment was refused, whatever function returns.
	if p.now && p.fate == Delivered && f.reject != nil && f.reject.By == ByRST {
		return prospect{fate: Rejected, after: answerWait, now: f.reject.Sent}
	}
	return p
}

// flowChanged takes what a socket does without a packet.
func (a *Assembler) flowChanged(e event.Event) {
	if e.Place == event.IPRouteOutput {
		a.unanswerable(e)
		return
	}
	a.stateChanged(e)
}

// stateChanged takes a change of a socket's state; the packet that caused it may be known.
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
	f.reach(e)
	if !f.backlog || f.prospect.waits {
		a.schedule(f, prospects[event.InetSockSetState])
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
	case f.encapped || f.director.handled:
		return Director
	case f.balanced || f.director.sent:
		return RealServer
	case !f.arrived:
		return Client
	case known != "" && known != Client:
		return known
	}
	return Director
}

// place remembers what a network namespace is used for.
func (a *Assembler) place(f *flight) {
	role := Role("")
	switch {
	case f.netns == 0 || f.reply:
	case f.decapped:
		role = RealServer
	case f.encapped || f.director.handled:
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
