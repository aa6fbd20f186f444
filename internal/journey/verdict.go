package journey

import (
	"slices"
	"time"

	"ipiptrace/internal/site"
	"ipiptrace/tracer/event"
)

// freed decides what a kfree_skb is: a drop, unless the packet had done its work or lives on in another sk_buff.
func (a *Assembler) freed(f *flight, e event.Event) {
	var d event.Drop
	if e.Drop != nil {
		d = *e.Drop
	}
	unseen := len(f.steps) == 0
	switch {
	case isTap(e) && !unseen:
		a.tapFrees(f, e)
		return
	case d.Reason == consumedReason:
		a.consumed(f, e)
		return
	}
	f.last = max(f.last, e.Time)
	f.move(e)
	a.settleRole(f)
	if unseen && !diesUnseen(f, d) {
		a.release(f, e)
		a.retire(f, bySight) // its journey was before the run, or is over
		return
	}
	drop := &Drop{Drop: d, Dev: f.dev, Netns: f.netns, Tunnelled: f.tunnelled, Decider: event.Refusal(e.Aux).Function()}
	drop.NfHook, drop.Bridged = hookOf(d)
	drop.Function = site.Function(d.Function)
	if drop.NfHook != "" {
		drop.Rule = f.ruleFor(e)
	}
	if f.director.drops() && drop.Function == "nf_hook_slow" {
		drop.Decider = event.IPVSIn.String()
	}
	row, ordinary := ordinaryFree(f, d)
	current, left := a.release(f, e)
	if a.answeredByReset(f, e) {
		f.reject = &Reject{By: ByRST, Sent: true}
	}
	if r, due := a.answerDue(f, drop); due && f.reject == nil && !ordinary && left == 0 {
		f.reject = &r
	}
	switch {
	case ordinary && current && (f.reject == nil || row.answered):
		f.duplicate = row.duplicate
		a.schedule(f, prospect{fate: row.fate, now: true})
	case f.reject != nil:
		f.freed = drop
		f.pardon = pardonFor(f, drop)
		a.schedule(f, prospect{fate: Rejected, after: answerWait, seen: true, now: (f.reject.Sent || f.toldItself) && f.pardon == nil})
	case ordinary || left > 0 && d.Reason == "OTHERHOST":
		// What a bridge floods is for one of its ports.
	case left > 0:
		f.lostCopy = drop
		if current && !e.First {
			a.schedule(f, prospect{fate: Dropped, after: copyWait, seen: true})
		}
	case a.mayBeTimeWait(f, d):
		f.gaps++
		a.schedule(f, prospect{fate: Unknown, now: true})
	default:
		f.freed = drop
		f.pardon = pardonFor(f, drop)
		if f.doubt = noDoubt; a.mayBeDeferred(f, drop) {
			f.doubt = takenOrRefused
		}
		a.schedule(f, prospect{fate: Dropped, after: f.verdictWait(), seen: true, now: f.pardon == nil && a.seesAnswers(f)})
	}
}

// mayBeTimeWait reports whether tcp_v4_rcv may have freed what TIME_WAIT had handled: no place would have
// shown it, and the socket's last state was before the run.
func (a *Assembler) mayBeTimeWait(f *flight, d event.Drop) bool {
	return f.packet.Inner.Protocol == protoTCP && !f.isSYN() && site.Function(d.Function) == "tcp_v4_rcv" &&
		(d.Reason == notSpecified || d.Reason == noReason) && !f.flow.begun && !a.watches(event.TCPTimewait)
}

// givesUp are the functions that free the fragments of a datagram that will never be whole.
var givesUp = []string{"inet_frag_rbtree_purge", "inet_frag_destroy"}

// consumed decides what a consume_skb is: the packet has done its work, or goes on in another sk_buff.
func (a *Assembler) consumed(f *flight, e event.Event) {
	if e.Drop != nil && slices.Contains(givesUp, site.Function(e.Drop.Function)) {
		a.freed(f, e)
		return
	}
	if isTap(e) && len(f.steps) > 0 {
		a.tapFrees(f, e)
		return
	}
	f.last = max(f.last, e.Time)
	current, left := a.release(f, e)
	if len(f.steps) == 0 {
		a.retire(f, bySight) // seen for the first time when it was done with: its journey was before the run
		return
	}
	if !current || e.First && left > 0 {
		return
	}
	switch {
	case f.reject != nil && f.reject.By == ByRST:
		a.schedule(f, prospect{fate: Rejected, after: answerWait, seen: true, now: f.reject.Sent})
	case f.isSYN() && f.reachedHost() && !a.watches(event.TCPConnRequest) && !f.synAnswered():
		// The kernel consumes the SYN that a listener refuses, too. The SYN/ACK may wait for its neighbour.
		f.doubt = takenOrRefused
		a.schedule(f, prospect{fate: Vanished, after: lookAgain})
	case f.socket != untaken:
		end, waits := a.awaitsReply(f)
		if !waits {
			end = prospect{fate: Delivered, now: true}
		}
		a.schedule(f, end)
	case f.rewritten():
		a.schedule(f, handedOn)
	case f.lostCopy != nil && f.leaving == staying:
		a.schedule(f, droppedInClone)
	case f.director.sent() && f.leaving == staying:
		a.schedule(f, silence) // the copy that IPVS has made goes on
	case f.leaving == driven:
		a.schedule(f, prospect{fate: Forwarded, after: settle, seen: true})
	case f.leaving != staying:
		a.schedule(f, prospect{fate: Consumed, after: settle, seen: true}) // cut into segments or fragments
	case f.reachedHost() && !a.watchesDecider(f):
		a.schedule(f, prospect{fate: Delivered, after: a.copyTakes(f), seen: true})
	case f.reachedHost() || f.isFragment():
		a.schedule(f, prospect{fate: Consumed, after: a.copyTakes(f), seen: true})
	default:
		a.schedule(f, silence)
	}
}

// copyTakes is how long a copy of a packet that the host has consumed may take to be seen. That of IPVS, where it can't
// be watched at a director, may wait for its neighbour.
func (a *Assembler) copyTakes(f *flight) time.Duration {
	if f.reachedHost() && !f.reply && !f.cameIPIP && !f.decapped && !a.watches(event.IPVSIn) {
		return a.opts.Patience
	}
	return settle
}

// release retires the sk_buff of an event. It says whether the flight was seen in it last, or lives in no
// other, and how many are left.
func (a *Assembler) release(f *flight, e event.Event) (current bool, left int) {
	k := key{e.Skb, e.Seen}
	current = f.current() == k
	a.forget(k, bySight)
	left = f.release(k)
	return current || left == 0, left
}

// reused ends the packet whose sk_buff's address belongs to another one now: its own end was silent.
func (a *Assembler) reused(old key) {
	f := a.byKey[old]
	if f == nil {
		return
	}
	a.forget(old, bySight)
	if f.release(old) > 0 || f.awaiting {
		return
	}
	a.end(f, a.freedSilently(f), bySight)
}

// freedSilently is the fate of a packet whose memory is used for another one: what it had reached decides.
func (a *Assembler) freedSilently(f *flight) Fate {
	if a.sure(f) {
		return f.prospect.fate
	}
	if fate, ok := a.evidence(f); ok {
		return fate
	}
	switch {
	case f.lostCopy != nil:
		return Dropped
	case f.socket != untaken:
		return Delivered
	case f.leaving == driven:
		return Forwarded
	case f.reachedHost() && a.blind(f) && f.packet.Inner.Protocol == protoTCP && !f.isSYN():
		return Delivered // the fast path frees what it has processed without an event
	case f.arrived && f.leaving == staying && f.mayCarryData():
		return Consumed // GRO frees what it has merged without an event
	}
	f.gaps++
	return Unknown
}

// overdue decides a flight whose silence has lasted as long as its prospect allows.
func (a *Assembler) overdue(f *flight) {
	gaps := a.gaps(f)
	switch {
	case f.quoted:
		a.end(f, Forwarded, bySilence)
	case f.pardoned() || a.joinedBacklog(f):
		a.end(f, Delivered, bySilence)
	case f.deferredOrRefused():
		a.end(f, Unknown, bySilence)
	case f.prospect.waits && gaps == 0:
		f.rounds++
		a.schedule(f, f.prospect)
	case f.prospect.fate == Vanished && gaps == 0 && a.mayWaitForFragments(f):
		a.schedule(f, waiting)
	case a.sure(f):
		a.end(f, f.prospect.fate, bySilence)
	default:
		a.silent(f, gaps)
	}
}

// gaps is how often something was not seen while a flight was on its way.
func (a *Assembler) gaps(f *flight) int { return f.gaps + a.losses - f.losses }

// sure reports whether a flight's prospect is its fate: the end was seen, or silence means it and nothing
// but silence was seen.
func (a *Assembler) sure(f *flight) bool {
	p := f.prospect
	return !p.waits && p.fate != Vanished && (p.seen || a.gaps(f) == 0)
}

// silent decides over a packet of which nothing more was seen.
func (a *Assembler) silent(f *flight, gaps int) {
	if fate, ok := a.evidence(f); ok {
		a.end(f, fate, bySilence)
		return
	}
	if rest := f.last + a.opts.Patience - a.now; rest > 0 {
		f.deadline = a.now + min(rest, lookAgain)
		a.agenda.moved(f)
		return
	}
	switch {
	case f.lostCopy != nil:
		a.end(f, Dropped, bySilence)
	case gaps > 0:
		a.end(f, Unknown, bySilence)
	case f.doubt != noDoubt || a.blind(f) || a.mayBeMerged(f):
		f.gaps++ // the place that decides was not watched
		a.end(f, Unknown, bySilence)
	default:
		a.end(f, Vanished, bySilence)
	}
}

// unfinished is the fate of a flight at the end of the events.
func (a *Assembler) unfinished(f *flight) Fate {
	if f.pardoned() {
		return Delivered
	}
	if f.deferredOrRefused() {
		return Unknown
	}
	if a.sure(f) {
		return f.prospect.fate
	}
	if a.joinedBacklog(f) {
		return Delivered
	}
	if fate, ok := a.evidence(f); ok {
		return fate
	}
	if f.doubt != noDoubt {
		f.gaps++
	}
	if a.gaps(f) > 0 {
		return Unknown
	}
	return Open
}

// joinedBacklog reports whether a packet in a socket's backlog has become part of the one before it
// (tcp_add_backlog coalesces, and frees the later one silently): the backlog is worked off in order, and
// the socket has worked on a packet of the flow since.
func (a *Assembler) joinedBacklog(f *flight) bool {
	if !f.backlog || f.socket >= processed || !f.prospect.waits {
		return false
	}
	processed := f.flow.ways[f.way].processed
	return processed > f.last && a.now-processed >= provisional
}

// deciders are the places at which a socket takes a packet, by protocol.
var deciders = map[uint8]event.Place{
	protoTCP:  event.TCPRcv,
	protoUDP:  event.UDPQueueRcv,
	protoICMP: event.ICMPRcv,
}

// blind reports whether the packet can be processed from here on without being seen. A SYN is not: the
// kernel frees it with an event in any case.
func (a *Assembler) blind(f *flight) bool {
	return f.reachedHost() && !f.isSYN() && !a.watchesDecider(f)
}

func (a *Assembler) watchesDecider(f *flight) bool {
	decider, ok := deciders[f.packet.Inner.Protocol]
	return ok && a.watches(decider)
}

// mayBeMerged reports whether GRO can have merged the packet without being seen.
func (a *Assembler) mayBeMerged(f *flight) bool {
	return !a.watches(event.GroMerged) && f.arrived && f.leaving == staying && f.socket == untaken && f.mayCarryData()
}

// evidence is what other packets of the flow prove about one that is silent; it is never a loss.
func (a *Assembler) evidence(f *flight) (Fate, bool) {
	if f.packet.Inner.Protocol != protoTCP || !f.packet.HasPorts || !f.arrived || f.leaving != staying {
		return "", false
	}
	if f.doubt == takenOrRefused || f.doubt == unfollowed && f.isSYN() {
		return Delivered, f.synAnswered()
	}
	w := f.flow.ways[f.way]
	if id := w.mergedInto(f.id, f.packet.Seq); id != 0 && f.mayCarryData() {
		f.became = id
		return Consumed, true
	}
	acked := w.ackedBeyond(f.packet.Seq)
	switch {
	case a.blind(f) && (acked || w.processed > f.last):
		return Delivered, true
	case acked && a.mayBeMerged(f):
		return Consumed, true
	case a.silentACK(f) && w.processed > 0:
		return Delivered, true
	}
	return "", false
}

// silentACK reports whether a packet is a bare ACK of which the kernel would have told if it had been
// dropped: one that names its drops' reasons frees by kfree_skb what TCP does not like, and silently what
// it has processed (tcp_rcv_established).
func (a *Assembler) silentACK(f *flight) bool {
	return f.isBareACK() && a.blind(f) && a.opts.Run.Reasons && a.now-f.last >= socketSilence
}
