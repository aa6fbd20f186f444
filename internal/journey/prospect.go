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

// prospects are what a sighting promises where the place alone says it. Any other place promises silence.
var prospects = map[event.Place]prospect{
	// A queueing discipline, or neighbour resolution, takes its time and then ends with an event.
	event.NetDevQueue: waiting,
	event.IPLocalOut:  waiting,
	event.IPForward:   waiting,
	// A hook that was entered, and nothing since: what it drops is freed with an event, so it is in NF_QUEUE.
	event.NfHookSlow: waiting,

	event.NetDevStartXmit: {fate: Forwarded, after: settle, seen: true},

	event.TCPRcv:           {fate: Delivered, after: socketSilence},
	event.TCPDoRcv:         {fate: Delivered, after: socketSilence},
	event.TCPChildProcess:  {fate: Delivered, after: socketSilence},
	event.TCPTimewait:      {fate: Delivered, after: socketSilence},
	event.TCPAddBacklog:    waiting,
	event.TCPProbe:         {fate: Delivered, after: provisional},
	event.InetSockSetState: {fate: Delivered, after: provisional},
	event.UDPQueueRcv:      {fate: Delivered, after: socketSilence},
	event.ICMPRcv:          {fate: Delivered, after: provisional},
}

// results are what a sighting promises where the value decides; ok is false if it promises nothing new.
var results = map[event.Place]func(*flight, event.Event) (p prospect, ok bool){
	event.NetDevXmit:  driverTook,
	event.NfHookSlow:  hookDecided,
	event.IPDefrag:    defragmented,
	event.IPVSIn:      ipvsDecided,
	event.IPVSXmit:    ipvsSends,
	event.TCPRcv:      tcpReturned,
	event.TCPDoRcv:    tcpReturned,
	event.UDPQueueRcv: udpQueued,
	event.ICMPRcv:     icmpReturned,

	event.TCPConnRequest: synDecided,
}

// valued are the places whose sightings always carry a result, whether or not they say Returned.
var valued = map[event.Place]bool{event.NetDevXmit: true, event.IPVSXmit: true}

// mute are the places that promise nothing of themselves, and nothing else than the place before them did.
var mute = map[event.Place]bool{
	event.IPVSIn: true, event.IPVSSchedule: true, event.IPVSLeave: true, event.TCPConnRequest: true,
}

// promise is the prospect after a sighting; ok is false if it doesn't change.
func (f *flight) promise(e event.Event) (p prospect, ok bool) {
	if e.Returned || valued[e.Place] {
		if result, known := results[e.Place]; known {
			return result(f, e)
		}
		if _, known := prospects[e.Place]; known {
			return prospect{}, false // the entry has promised, and the return adds nothing
		}
	}
	if mute[e.Place] {
		return prospect{}, false
	}
	if p, known := prospects[e.Place]; known {
		return p, true
	}
	return silence, true
}

func driverTook(_ *flight, e event.Event) (prospect, bool) {
	if e.Value == 0 {
		return prospect{fate: Forwarded, after: settle, seen: true}, true
	}
	return waiting, true // it stays in the queue, or is freed with an event
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
	if e.Place == event.TCPRcv && f.backlog && !f.processed {
		return waiting, true
	}
	return prospect{fate: Delivered, now: true}, true
}

// synDecided: tcp_conn_request refused the SYN, or has sent the SYN/ACK. The kernel consumes it either way.
func synDecided(_ *flight, e event.Event) (prospect, bool) {
	return prospect{fate: Dropped, now: true}, e.Value == 0
}

func udpQueued(_ *flight, e event.Event) (prospect, bool) {
	if e.Value == 0 {
		return prospect{fate: Delivered, now: true}, true
	}
	return silence, true // freed with an event, or handed to a tunnel over UDP
}

func icmpReturned(*flight, event.Event) (prospect, bool) {
	return prospect{fate: Delivered, now: true}, true
}
