package tracer

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"

	"ipiptrace/tracer/event"
)

const (
	// chunkBytes is how much the reader copies before it hands on, unless the ring is empty earlier.
	chunkBytes = 64 << 10
	// queuedChunks bounds what waits between reader and decoder: 4 MiB. Behind it the ring fills, and the kernel counts what is lost.
	queuedChunks = 64
	// readsAtOnce are read without a look at the clock, as long as there is something to read.
	readsAtOnce = 256
	// idle is how long the ring must be silent for a tick.
	idle = 100 * time.Millisecond
	// missedEvery is how often the kernel is asked what it missed. It must be well below the patience of whoever
	// takes silence for a loss.
	missedEvery = time.Second
	// lastWords is how long a run that is to end reads what its kernel half has written by then. What is left is counted.
	lastWords = 100 * time.Millisecond
)

// chunk is a number of records, each with its length in front.
type chunk struct {
	records []byte
	// unread is the number of records that were left out since the run had to end.
	unread uint64
	// lost is the number of events lost in all when the chunk was closed.
	lost uint64
	// idle: nothing happened up to now; there are no records.
	idle bool
	now  time.Duration
	err  error
}

// count is how many records there are.
func count(records []byte) (n uint64) {
	for ; len(records) > 0; n++ {
		records = records[4+binary.LittleEndian.Uint32(records):]
	}
	return n
}

// reader carries records from the ring to the decoder.
type reader struct {
	tracer *Tracer
	chunks chan chunk
	// late is closed when there is no time left for more than counting.
	late chan struct{}
	// lost and unread are how many events were lost by now, and how many of them because they were left out.
	lost, unread uint64
	// missed is what the kernel had missed when it was asked, at asked.
	missed uint64
	asked  time.Duration
}

// end has the kernel half write no more, and the rest read: without the first the ring of a busy machine would never
// be empty.
func (r *reader) end() {
	r.tracer.halt()
	time.AfterFunc(lastWords, func() { close(r.late) })
	_ = r.tracer.ring.Flush() // else drain sees it when the ring was silent for a moment
}

func (r *reader) isLate() bool {
	select {
	case <-r.late:
		return true
	default:
		return false
	}
}

// isReadable reports whether there is time to decode a record. One with a stack waits for the kernel's symbols, which may
// still be read when the run is to end.
func (r *reader) isReadable(size uint32) bool {
	if size < eventSize+dropSize {
		return !r.isLate()
	}
	select {
	case <-r.late:
		return false
	case <-r.tracer.settled:
		return !r.isLate()
	}
}

// drain empties the ring into the queue, and does nothing else, until ctx is done and the ring empty.
func (r *reader) drain(ctx context.Context) {
	defer close(r.chunks)
	ring := r.tracer.ring
	var record ringbuf.Record
	var records []byte
	var unread uint64
	reads := 0
	flush := func() {
		if len(records) > 0 {
			r.chunks <- chunk{records: records, lost: r.tracer.counters().Lost}
			records, reads = make([]byte, 0, chunkBytes), 0 // it may have waited
		}
	}
	for {
		if record.Remaining == 0 || reads == 0 { // else there is something to read at once
			ring.SetDeadline(time.Now().Add(idle))
			reads = readsAtOnce
		}
		reads--
		err := ring.ReadInto(&record)
		switch {
		case err == nil && r.isLate():
			unread++
		case err == nil:
			records = binary.LittleEndian.AppendUint32(records, uint32(len(record.RawSample)))
			records = append(records, record.RawSample...)
			if record.Remaining == 0 || len(records) >= chunkBytes {
				flush()
			}
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ringbuf.ErrFlushed):
			flush()
			r.chunks <- chunk{idle: true, unread: unread, lost: r.tracer.counters().Lost, now: Now()}
			if ctx.Err() != nil {
				return
			}
		default:
			flush()
			if !errors.Is(err, ringbuf.ErrClosed) {
				r.chunks <- chunk{err: err}
			}
			return
		}
	}
}

// deliver decodes what drain has read. If yield has had enough, stop ends drain and the rest is discarded.
func (r *reader) deliver(yield func(event.Event, error) bool, stop func()) {
	more := true
	for c := range r.chunks {
		if more && !r.deliverChunk(c, yield) {
			more = false
			stop()
		}
	}
	if more && r.deliverWatch(Now(), yield) {
		totals := r.tracer.totals()
		totals.Lost, totals.Unread = totals.Lost+r.unread, r.unread
		yield(event.Event{Kind: event.End, Time: Now(), Totals: &totals}, nil)
	}
}

func (r *reader) deliverChunk(c chunk, yield func(event.Event, error) bool) bool {
	if c.err != nil {
		return yield(event.Event{}, c.err)
	}
	for rest := c.records; len(rest) > 0; {
		size := binary.LittleEndian.Uint32(rest)
		if !r.isReadable(size) {
			c.unread += count(rest)
			c.now = Now()
			break
		}
		e, err := r.tracer.decoder.decode(rest[4 : 4+size])
		if !yield(e, err) {
			return false
		}
		c.now, rest = e.Time, rest[4+size:]
	}
	r.unread += c.unread
	c.lost += r.unread
	if !r.deliverWatch(c.now, yield) {
		return false
	}
	if c.lost > r.lost {
		lost := c.lost - r.lost
		r.lost = c.lost
		if !yield(event.Event{Kind: event.Lost, Time: c.now, Count: lost}, nil) {
			return false
		}
	}
	if r.missedMore(c.now) && !yield(event.Event{Kind: event.Lost, Time: c.now}, nil) {
		return false
	}
	if c.idle {
		return yield(event.Event{Kind: event.Tick, Time: c.now}, nil)
	}
	return true
}

// deliverWatch says what is watched from now on, if that has changed.
func (r *reader) deliverWatch(now time.Duration, yield func(event.Event, error) bool) bool {
	if !r.tracer.hasChanged() {
		return true
	}
	return yield(event.Event{Kind: event.Watch, Time: now, Probes: r.tracer.rows()}, nil)
}

// missedMore asks the kernel now and then whether it has missed probes since it was last asked.
func (r *reader) missedMore(now time.Duration) bool {
	if now-r.asked < missedEvery {
		return false
	}
	r.asked = now
	missed := r.tracer.missed()
	if missed == nil || *missed == r.missed {
		return false
	}
	r.missed = *missed
	return true
}

// counters are what the kernel half counts, read from shared memory: no system call.
func (t *Tracer) counters() ipiptraceCounts {
	var c ipiptraceCounts
	if v := t.programs.maps.Variables["counters"]; v != nil {
		_ = v.Get(&c)
	}
	return c
}

func (t *Tracer) totals() event.Totals {
	c := t.counters()
	totals := event.Totals{Lost: c.Lost, Untracked: c.Untracked, IPIP: c.Ipip, NotIPv4: c.NotIpv4, Missed: t.missed()}
	if c.Matched == 0 {
		totals.Inner = t.others()
	}
	return totals
}

// missed is how often the kernel did not run a program because it was already running on that CPU, or
// could not run a kprobe; nil if a program is attached in a way for which the kernel does not count.
func (t *Tracer) missed() *uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.past
	m.add(t.missedAt(t.together))
	for _, w := range t.watching {
		m.add(t.missedAt(w.attached))
	}
	if m.uncounted {
		return nil
	}
	return &m.count
}

// misses are how often the kernel did not run programs.
type misses struct {
	count uint64
	// uncounted: one is attached in a way for which the kernel does not count.
	uncounted bool
}

func (m *misses) add(n misses) {
	m.count += n.count
	m.uncounted = m.uncounted || n.uncounted
}

func (t *Tracer) missedAt(all []attached) (m misses) {
	for _, a := range all {
		if a.shared {
			continue
		}
		n, ok := t.missedBy(a)
		m.add(misses{n, !ok})
	}
	return m
}

func (t *Tracer) missedBy(a attached) (n uint64, ok bool) {
	stats, err := a.program.Stats()
	if err != nil {
		return 0, false
	}
	if a.program.Type() != ebpf.Kprobe {
		return stats.RecursionMisses, true
	}
	if !t.countsKprobes {
		return 0, false
	}
	info, err := a.link.Info()
	if err != nil {
		return 0, false
	}
	if multi := info.KprobeMulti(); multi != nil {
		return stats.RecursionMisses + multi.Missed, true
	}
	if perf := info.PerfEvent(); perf != nil && perf.Kprobe() != nil {
		return stats.RecursionMisses + perf.Kprobe().Missed, true
	}
	return 0, false
}

// others are the destinations of packets that arrived and did not match, the most frequent first.
func (t *Tracer) others() []event.Destination {
	var (
		all   []event.Destination
		key   ipiptraceDestination
		count uint64
	)
	for entries := t.programs.maps.Maps["others"].Iterate(); entries.Next(&key, &count); {
		var addr [4]byte
		binary.NativeEndian.PutUint32(addr[:], key.Addr)
		all = append(all, event.Destination{
			Addr:      netip.AddrFrom4(addr),
			Port:      key.Port<<8 | key.Port>>8,
			Protocol:  key.Protocol,
			Tunnelled: key.Tunnelled != 0,
			Count:     count,
		})
	}
	slices.SortStableFunc(all, func(a, b event.Destination) int { return int(int64(b.Count) - int64(a.Count)) })
	return all[:min(len(all), 10)]
}
