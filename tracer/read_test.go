package tracer

import (
	"context"
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"ipiptrace/tracer/event"
)

// TestWhatIsLeftAtTheDeadlineIsCounted hands two chunks to a reader whose run is to end, one in time and one too late.
func TestWhatIsLeftAtTheDeadlineIsCounted(t *testing.T) {
	records := func(n int) (b []byte) {
		for range n {
			b = append(binary.LittleEndian.AppendUint32(b, 3), 1, 2, 3) // too short to be decoded
		}
		return b
	}
	r := reader{tracer: &Tracer{settled: make(chan struct{})}, late: make(chan struct{})}
	decoded, lost, last := 0, uint64(0), event.Event{}
	deliver := func(c chunk) {
		r.deliverChunk(c, func(e event.Event, err error) bool {
			last = e
			switch {
			case err != nil:
				decoded++
			case e.Kind == event.Lost:
				lost += e.Count
			}
			return true
		})
	}
	deliver(chunk{records: records(5), lost: 2, now: Now()})
	if decoded != 5 || lost != 2 || r.unread != 0 {
		t.Errorf("in time: %d decoded, %d lost, %d unread; want 5, 2, 0", decoded, lost, r.unread)
	}
	time.AfterFunc(10*time.Millisecond, func() { close(r.late) })
	stack := append(binary.LittleEndian.AppendUint32(nil, eventSize+dropSize), make([]byte, eventSize+dropSize)...)
	deliver(chunk{records: stack, lost: 2}) // it waits for symbols that don't come
	if decoded != 5 || r.unread != 1 {
		t.Errorf("without symbols: %d decoded, %d unread; want 5, 1", decoded, r.unread)
	}
	deliver(chunk{records: records(7), lost: 3})
	deliver(chunk{idle: true, unread: 10, lost: 4, now: Now()})
	if decoded != 5 || lost != 4+1+7+10 || r.unread != 1+7+10 {
		t.Errorf("too late: %d decoded, %d lost, %d unread; want 5, 22, 18", decoded, lost, r.unread)
	}
	if last.Kind != event.Tick {
		t.Errorf("what was lost is said after the time that has gone by: %+v is the last", last)
	}
}

// TestRunThatIsToldToEndTriesNoMorePlaces begins to attach when the run was told to end.
func TestRunThatIsToldToEndTriesNoMorePlaces(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var tr Tracer // one that tried anything would need its programs
	candidates := []candidate{{probe: probe{place: event.KfreeSkb, required: true}}, {probe: probe{place: event.IPRcv}}}
	if err := tr.attach(ctx, candidates, Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Errorf("what is required is missing, but nobody wants it any more: %v", err)
	}
	for _, row := range tr.rows() {
		if row.Attached() || row.Why != errEnded.Error() {
			t.Errorf("%s: %q, want %q", row.Name, row.Why, errEnded)
		}
	}
	if len(tr.rows()) != len(candidates) {
		t.Errorf("%d places are said, not %d", len(tr.rows()), len(candidates))
	}
}
