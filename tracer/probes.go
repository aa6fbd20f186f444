package tracer

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"ipiptrace/tracer/event"
)

// nothing is a filter that no packet passes: a reserved address (RFC 1112), in a namespace that does not exist.
func nothing() event.Filter {
	return event.Filter{VIPs: []netip.Addr{netip.AddrFrom4([4]byte{240, 0, 0, 1})}, Netns: 1}
}

// Probes tries every place of this kernel with a back-end, as [Options] names it: each is loaded, attached
// and detached again. A row says how the place can be watched, or why it can't.
//
// It needs the privileges of [Open] and has its errors, and that of ctx. Nothing stays attached, no packet is followed.
func Probes(ctx context.Context, backend string, log *slog.Logger) ([]event.Probe, error) {
	t, err := Open(ctx, Options{Filter: nothing(), Backend: backend, Full: true, RingBytes: 64 << 10, Log: log})
	if err != nil {
		return nil, err
	}
	rows := t.Run().Probes
	return rows, errors.Join(ctx.Err(), t.Close())
}
