package journey

import (
	"time"

	"ipiptrace/tracer/event"
)

// How long a silence is meaningful before Options.Patience, in the time of the events.
const (
	// settle: a packet that was handed to a driver, or freed as done with, is seen again by then if it
	// goes on in this kernel.
	settle = 200 * time.Millisecond
	// provisional: a tracepoint at the beginning of the processing is followed by a drop by then, if at all.
	provisional = 100 * time.Millisecond
	// socketSilence: a socket's function that was entered has freed the packet by then, or has it.
	socketSilence = time.Second
	// answerWait: an answer that was chosen leaves by then, or is kept back.
	answerWait = 300 * time.Millisecond
	// replyWait: the answer to a datagram has found a way by then, or was not tried yet. A busy service takes its time.
	replyWait = 2 * time.Second
	// copyWait: one of a packet's sk_buffs was dropped, the others show by then that they go on.
	copyWait = time.Second
	// lookAgain: how often evidence is looked for that other packets of the flow give.
	lookAgain = 300 * time.Millisecond
)

// A packet that waits is looked at again after each silence. After patientRounds of them each one is twice as long as the
// one before: time that leaps, as it may in a recording, then costs what was seen, not what passes.
const (
	patientRounds = 8
	longestWait   = event.MaxTime / 4
)

// prospect is what becomes of a packet if nothing more is seen of it.
type prospect struct {
	fate Fate
	// after is the silence that it takes; 0 with waits or now, and for Options.Patience.
	after time.Duration
	// waits: the packet waits in a queue; silence means nothing.
	waits bool
	// seen: this was the end, unless the packet goes on in another sk_buff. Without it the end is inferred.
	seen bool
	// now: this was the end, at once.
	now bool
}

var (
	silence = prospect{fate: Vanished}
	waiting = prospect{fate: Open, waits: true}
)

// driverReturnsLate: a tunnel's driver returns when the device below has the packet in its queue already.
func driverReturnsLate(a *Assembler, f *flight, _ event.Event) bool {
	return f.leaving != driven && !(f.leaving == queued && !a.watches(event.NetDevStartXmit))
}

// driverReturned: the driver has the packet, or no room for it, and it is back in the queue.
func driverReturned(f *flight, e event.Event) {
	f.leaving = driven
	if e.Value != 0 {
		f.leaving = queued
	}
}

func driverTook(_ *flight, e event.Event) (prospect, bool) {
	if e.Value == 0 {
		return prospect{fate: Forwarded, after: settle, seen: true}, true
	}
	return waiting, true // it stays in the queue, or is freed with an event
}

// hookReturnsLate reports whether a hook returns that has stolen the packet: meanwhile it was seen on its way out, in
// another namespace, or where IPVS sends it.
func hookReturnsLate(_ *Assembler, f *flight, e event.Event) bool {
	if !e.Returned || e.Value != 0 {
		return false
	}
	if f.given != (key{}) && f.given == (key{e.Skb, e.Seen}) {
		f.given = key{} // one call each: the next one that returns so is another hook
		return true
	}
	return f.leaving > sent || e.Netns != 0 && e.Netns != f.netns
}

// hookReturned: what a method of IPVS has, and input lets pass, is for this host itself.
func hookReturned(f *flight, e event.Event) {
	if e.Returned && e.Value > 0 && hookName(e.Aux) == "input" && f.director.sent() && !f.rewritten() {
		f.servedHere()
	}
}

// hookDrops keeps by which hook, and which of its rules, the packet will be freed. What IPVS has rewritten may not be known
// again from there on.
func hookDrops(_ *Assembler, f *flight, e event.Event, p prospect) prospect {
	switch {
	case p.fate == Dropped:
		f.lostCopy = f.dropIn(e.Place, hookName(e.Aux))
		f.lostCopy.Rule = f.ruleFor(e)
	case f.rewritten() && p.waits:
		return handedOn
	}
	return p
}

func hookDecided(f *flight, e event.Event) (prospect, bool) {
	switch hook := hookName(e.Aux); {
	case e.Value == 0:
		return waiting, true // NF_QUEUE; what IPVS steals is seen at once where it sends it
	case e.Value < 0:
		return prospect{fate: Dropped, after: answerWait, seen: true}, true
	case hook == "output" || hook == "postrouting" || hook == "forward":
		return waiting, true // for the neighbour
	}
	return silence, true
}

// inProgress is -EINPROGRESS: the datagram is not whole.
const inProgress = -115

func defragmented(_ *flight, e event.Event) (prospect, bool) {
	if e.Value == inProgress {
		return waiting, true
	}
	return silence, true
}

func tcpReturned(f *flight, e event.Event) (prospect, bool) {
	if e.Place == event.TCPRcv && f.backlog && f.socket < processed {
		return waiting, true
	}
	return prospect{fate: Delivered, now: true}, true
}

// synDecided: tcp_conn_request refused the SYN, or has sent the SYN/ACK. The kernel consumes it either way.
func synDecided(_ *flight, e event.Event) (prospect, bool) {
	return prospect{fate: Dropped, now: true}, e.Value == 0
}

// refusesSYN keeps where a SYN was refused. Not one of which another copy was answered in the same instant.
func (a *Assembler) refusesSYN(f *flight, e event.Event, p prospect) prospect {
	switch {
	case p.fate != Dropped:
	case f.raced(e.Time):
		f.duplicate = true
		return prospect{fate: Delivered, now: true}
	default:
		f.freed = f.dropIn(e.Place, "")
	}
	return p
}

// lastOfUDP: where nothing shows that a datagram is queued, the protocol's entry is the last that is seen of it.
func (a *Assembler) lastOfUDP(_ *flight, _ event.Event, p prospect) prospect {
	if !a.watches(event.UDPQueueRcv) {
		return soonDelivered
	}
	return p
}

// udpTaken: a datagram that is queued may have an answer that finds no way, or a reader that finds it damaged.
func (a *Assembler) udpTaken(f *flight, _ event.Event, p prospect) prospect {
	if !p.now {
		return p
	}
	if waits, ok := a.awaitsReply(f); ok {
		return waits
	}
	if !a.watches(event.IPRouteOutput) {
		return prospect{fate: Delivered, after: settle, seen: true}
	}
	return p
}

func udpQueued(f *flight, e event.Event) (prospect, bool) {
	if e.Value == 0 {
		return prospect{fate: Delivered, now: true}, true
	}
	if e.Value > 0 {
		f.socket = untaken // a tunnel over UDP has it unpacked: the value is the protocol of what was inside
	}
	return silence, true // or freed with an event
}

func icmpReturned(*flight, event.Event) (prospect, bool) {
	return prospect{fate: Delivered, now: true}, true
}
