package journey

import "ipiptrace/tracer/event"

// meaning is what a sighting at a place says of a packet: where it is now, what it did to others, and what becomes of it if
// nothing more is seen. A place without a row is a step on its way, and promises silence: vanished, after the patience.
type meaning struct {
	// ends says what has become of the sk_buff, or of the rule that is asked. It is no step, and nothing else of the row holds.
	ends func(*Assembler, *flight, event.Event)
	// late reports whether the function returns when the packet has gone on: then it is a step, and says nothing more.
	late func(*Assembler, *flight, event.Event) bool
	// meets is what the packet does with others there. If it reports true, nothing more is to be said.
	meets func(*Assembler, *flight, event.Event) (over bool)
	// reach is how far the packet has come.
	reach func(*flight, event.Event)
	// promise is the prospect of the sighting; none: silence. mute: it promises nothing, and what the place before it did holds.
	promise prospect
	mute    bool
	// result is the prospect of what the function returned; ok is false if that changes nothing. nil: the return adds
	// nothing to the promise, or, where there is none, is a step like others. valued: every sighting has a result,
	// whether or not it says Returned.
	result func(*flight, event.Event) (p prospect, ok bool)
	valued bool
	// worth is what the prospect is worth in this run, where not every place is watched, and what it leaves behind.
	worth func(*Assembler, *flight, event.Event, prospect) prospect
	// words name the values that the function returns, from 0.
	words []string
}

// meanings are the rows, in the order in which a packet can meet the places.
var meanings = [...]meaning{
	// A queueing discipline takes its time and then ends with an event.
	event.NetDevQueue:     {reach: leaves(queued), promise: waiting},
	event.NetDevStartXmit: {reach: leaves(driven), promise: prospect{fate: Forwarded, after: settle, seen: true}},
	event.NetDevXmit:      {late: driverReturnsLate, reach: driverReturned, result: driverTook, valued: true},
	event.GroMerged:       {meets: (*Assembler).merged},
	event.Cloned:          {ends: (*Assembler).goesOnIn},

	// Neighbour resolution takes its time, too.
	event.IPForward:  {reach: leaves(sent), promise: waiting},
	event.IPLocalOut: {reach: leaves(sent), promise: waiting},
	event.IPDefrag:   {meets: (*Assembler).defrag, result: defragmented},

	// A hook that was entered, and nothing since: what it drops is freed with an event, so it is in NF_QUEUE.
	event.NfHookSlow: {late: hookReturnsLate, reach: hookReturned, promise: waiting, result: hookDecided, worth: hookDrops},
	event.NftRule:    {ends: (*Assembler).ruledBy},
	event.NftResult:  {ends: (*Assembler).ruledBy},

	event.IPVSIn: {
		late: ipvsReturnsLate, reach: (*flight).directed, mute: true, result: ipvsDecided, worth: ipvsDrops,
		words: []string{ipvsDropped: "drop", ipvsPassed: "accept", ipvsTook: "stolen"},
	},
	event.IPVSSchedule: {mute: true, words: []string{"no-destination", "destination"}},
	event.IPVSXmit:     {reach: (*flight).balancedBy, result: ipvsSends, valued: true},
	event.IPVSLeave:    {reach: givenUp, mute: true},

	event.TCPRcv:          {reach: handled(inProtocol), promise: soonDelivered, result: tcpReturned},
	event.TCPAddBacklog:   {reach: waitsForUser, promise: waiting},
	event.TCPDoRcv:        {reach: handled(processed), promise: soonDelivered, result: tcpReturned},
	event.TCPChildProcess: {reach: handled(byChild), promise: soonDelivered},
	event.TCPTimewait:     {reach: handled(processed), promise: soonDelivered},
	event.TCPDeferAccept:  {reach: handled(deferred)},
	event.TCPConnRequest:  {mute: true, result: synDecided, worth: (*Assembler).refusesSYN, words: []string{"refused", "answered"}},
	// A tracepoint at the beginning of the processing is followed by a drop soon, if at all.
	event.TCPProbe:         {reach: handled(processed), promise: prospect{fate: Delivered, after: provisional}},
	event.InetSockSetState: {reach: handled(processed), promise: prospect{fate: Delivered, after: provisional}},
	event.UDPRcv:           {reach: handled(inProtocol), worth: (*Assembler).lastOfUDP},
	event.UDPQueueRcv:      {reach: handled(inProtocol), promise: soonDelivered, result: udpQueued, worth: (*Assembler).udpTaken},
	event.ICMPRcv:          {reach: handled(inProtocol), promise: prospect{fate: Delivered, after: provisional}, result: icmpReturned},

	event.SendReset: {meets: (*Assembler).answerChosen},
	event.ICMPSend:  {meets: (*Assembler).answerChosen},

	event.KfreeSkb:   {ends: (*Assembler).freed},
	event.ConsumeSkb: {ends: (*Assembler).consumed},
	event.LeftNetns:  {ends: (*Assembler).leave},
}

// soonDelivered: a function of a socket that was entered has freed the packet by then, or has it.
var soonDelivered = prospect{fate: Delivered, after: socketSilence}

// meaningOf is a place's row.
func meaningOf(p event.Place) meaning {
	if int(p) < len(meanings) {
		return meanings[p]
	}
	return meaning{}
}

// prospectOf is the prospect after a sighting; ok is false if it doesn't change.
func (m meaning) prospectOf(f *flight, e event.Event) (p prospect, ok bool) {
	promises := m.promise != prospect{}
	switch {
	case (e.Returned || m.valued) && m.result != nil:
		return m.result(f, e)
	case e.Returned && promises || m.mute:
		return prospect{}, false
	case promises:
		return m.promise, true
	}
	return silence, true
}

func leaves(how leaving) func(*flight, event.Event) {
	return func(f *flight, _ event.Event) { f.leaving = how }
}

// handled is a step in what a socket's protocol does with a packet. Only a tunnel over UDP takes it back (udpQueued).
func handled(how handling) func(*flight, event.Event) {
	return func(f *flight, _ event.Event) { f.socket = max(f.socket, how) }
}

func waitsForUser(f *flight, _ event.Event) {
	f.socket, f.backlog = max(f.socket, inProtocol), true
}
