package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/render"
	"ipiptrace/tracer/event"
)

// audience is who sees the journeys, and how many of which.
type audience struct {
	show  *show
	only  string
	count int
	// shown are the journeys that were; sites are where they were lost, if they are counted.
	shown journey.Account
	sites journey.Sites
	stop  func()
	// take is given each journey, too; nil is nobody.
	take func(diagnose.Verdict)
}

// end takes a journey that has ended and, if it was lost, was explained.
func (a *audience) end(v diagnose.Verdict) {
	if a.enough() || a.only == "lost" && !v.Lost() {
		return
	}
	if a.show != nil && !a.show.add(v) {
		return
	}
	if a.take != nil {
		a.take(v)
	}
	a.shown.Count(v.Journey)
	a.shown.Events += v.Events
	if a.count > 0 && v.Lost() {
		a.sites.Count(v.Site())
	}
	if a.enough() {
		a.stop()
	}
}

// enough reports whether no further journey is wanted.
func (a *audience) enough() bool {
	return a.all() || a.show != nil && a.show.broken.Load()
}

// all reports whether as many journeys were shown as were asked for.
func (a *audience) all() bool { return a.count > 0 && a.shown.Journeys >= a.count }

// wanted are the events that the audience still needs: once it has enough only those that count.
func (a *audience) wanted(events event.Stream) event.Stream {
	return func(yield func(event.Event, error) bool) {
		for e, err := range events {
			if err == nil && a.enough() && (e.Kind == event.Sighting || e.Kind == event.Tick) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// account is a run's, for its audience: of the journeys that were shown, if so many were asked for.
func (a *audience) account(run journey.Account) journey.Account {
	if !a.all() {
		return run
	}
	run.Journeys, run.Arrived, run.Lost, run.Open, run.Unknown = a.shown.Journeys, a.shown.Arrived, a.shown.Lost, a.shown.Open, a.shown.Unknown
	run.Sites, run.Events = a.sites.Sorted(), a.shown.Events
	return run
}

// source is where a run's events come from.
type source struct {
	events event.Stream
	// ask has the state of network namespaces read; what was read is among the events, and at their end in rest.
	// Both are nil if there is nobody to ask.
	ask  func([]diagnose.Ask)
	rest event.Stream
	// stop ends the run.
	stop func()
}

// follow assembles a stream up to its end, or to what can't be read, and has each loss explained.
func follow(from source, assembler *journey.Assembler, inquiry *diagnose.Inquiry, a *audience) (err error) {
	tell := func(verdicts []diagnose.Verdict) {
		for _, v := range verdicts {
			a.end(v)
		}
		if asks := inquiry.Asks(); len(asks) > 0 && from.ask != nil {
			from.ask(asks)
		}
	}
	for m, failed := range assembler.Assemble(a.wanted(from.events)) {
		switch {
		case failed != nil:
			err = failed
		case m.Last:
			if a.show != nil {
				a.show.last()
			}
			tell(inquiry.End(m.Ended))
		default:
			tell(inquiry.Add(m.Event, m.Ended))
		}
	}
	if from.rest != nil {
		for e, failed := range from.rest {
			if failed != nil {
				err = cmp.Or(err, failed) // a writer that failed fails again
				break
			}
			tell(inquiry.Add(e, nil))
		}
	}
	tell(inquiry.Finish())
	return err
}

// recorded is a source each event of which is written down before it is handed on, and all of it when the
// kernel has been silent for a moment. A writer that fails ends the run: its error comes last, and what could not be
// written any more is lost.
func recorded(from source, w *event.Writer, out *bufio.Writer) source {
	var broken error
	var unwritten uint64
	write := func(e event.Event) {
		if broken == nil {
			broken = w.Write(recordable(e))
		}
		if broken == nil && e.Kind == event.Tick {
			broken = out.Flush()
		}
	}
	written := func(events event.Stream) event.Stream {
		return func(yield func(event.Event, error) bool) {
			for e, err := range events {
				if err != nil {
					yield(e, err)
					return
				}
				if write(e); broken != nil {
					from.stop()
				}
				switch {
				case broken == nil:
				case e.Kind == event.Sighting:
					unwritten++
					continue
				case e.Kind == event.End && unwritten > 0:
					if e = withLost(e, unwritten); !yield(event.Event{Kind: event.Lost, Time: e.Time, Count: unwritten}, nil) {
						return
					}
				}
				if !yield(e, nil) {
					return
				}
			}
			if broken != nil {
				yield(event.Event{}, broken)
			}
		}
	}
	from.events = written(from.events)
	if from.rest != nil {
		from.rest = written(from.rest)
	}
	return from
}

// withLost is the end of a run that lost more events than it knows.
func withLost(end event.Event, more uint64) event.Event {
	totals := *end.Totals
	totals.Lost += more
	end.Totals = &totals
	return end
}

// recordable is an event as it is written down. The state of a machine that no reader of recordings would take, as it
// might be made up, is one that was not read: what comes after it can be read still.
func recordable(e event.Event) event.Event {
	if e.Kind != event.State {
		return e
	}
	err := event.Fits(e.Host)
	if err == nil {
		_, err = host.Parse(e.Host)
	}
	if err != nil {
		e.Host, _ = json.Marshal(host.Snapshot{Netns: e.Netns, Unread: []host.Unread{{Part: host.PartAll, Why: "too much to be recorded: " + err.Error()}}}) // plain data
	}
	return e
}

// conclude ends stderr with what went wrong, if anything, and the account, and has the exit status as an error.
func conclude(w io.Writer, account journey.Account, err error) error {
	complain(w, err)
	return outcome(account, cmp.Or(err, sayAccount(w, account)))
}

// sayAccount writes the account for people, and what they have to know to understand it.
func sayAccount(w io.Writer, account journey.Account) error {
	if slices.ContainsFunc(account.Sites, nameless) {
		restrict, _ := os.ReadFile("/proc/sys/kernel/kptr_restrict")
		fmt.Fprintln(w, "ipiptrace: the kernel hides its symbols, functions are shown as addresses: "+hiddenHint(string(restrict)))
	}
	if t := account.Totals; t != nil && t.Unread > 0 {
		fmt.Fprintf(w, "ipiptrace: %d events were not read any more: the run was told to end while packets came faster than they are read\n", t.Unread)
	}
	if err := render.NewText(w, render.TextOptions{}).Account(account); err != nil {
		return fmt.Errorf("standard error: %w", err)
	}
	return nil
}

// outcome is the exit status as an error.
func outcome(account journey.Account, err error) error {
	if errors.As(err, new(remark)) && !errors.As(err, new(usageError)) {
		err = nil
	}
	if err == nil && account.Lost > 0 {
		return errLost
	}
	if err != nil {
		return commandStatus(statusOf(err))
	}
	return nil
}

// nameless reports whether a place in the kernel is known by its address only.
func nameless(s journey.Site) bool { return strings.HasPrefix(s.Function, "0x") }
