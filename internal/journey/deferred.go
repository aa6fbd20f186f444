package journey

import "ipiptrace/tracer/event"

// mayBeDeferred reports whether a listener may have freed the ACK that ends a handshake because it waits for
// data (TCP_DEFER_ACCEPT), or because its queue is full: no place has shown which.
func (a *Assembler) mayBeDeferred(f *flight, d *Drop) bool {
	return !a.watches(event.TCPDeferAccept) && f.isBareACK() && f.opens() && d.Function == "tcp_v4_rcv" &&
		(d.Reason == notSpecified || d.Reason == noReason)
}

// deferredOrRefused reports whether it stayed unknown which of both it was; the freeing is no loss then.
func (f *flight) deferredOrRefused() bool {
	if f.doubt != takenOrRefused || f.freed == nil {
		return false
	}
	f.freed = nil
	f.gaps++ // the place that decides was not watched
	return true
}
