package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/render"
	"ipiptrace/tracer/event"
)

// audience is who sees the journeys, and how many of which.
type audience struct {
	show  *show
	only  string
	count int
	shown int
	stop  func()
}

// end takes a journey that has ended.
func (a *audience) end(j journey.Journey) {
	if a.enough() || a.only == "lost" && !j.Lost() {
		return
	}
	if a.show != nil && !a.show.add(j) {
		return
	}
	a.shown++
	if a.enough() {
		a.stop()
	}
}

// enough reports whether no further journey is wanted.
func (a *audience) enough() bool {
	return a.count > 0 && a.shown >= a.count || a.show != nil && a.show.broken.Load()
}

// follow assembles a stream up to its end, or to what can't be read. Once the audience has enough, only
// what was counted is read.
func follow(events event.Stream, assembler *journey.Assembler, a *audience) (err error) {
	var e event.Event
	for e, err = range events {
		if err != nil {
			break
		}
		if a.enough() && (e.Kind == event.Sighting || e.Kind == event.Tick) {
			continue
		}
		for _, j := range assembler.Add(e) {
			a.end(j)
		}
	}
	for _, j := range assembler.Finish() {
		a.end(j)
	}
	return err
}

// recorded writes each event of a stream down before it is handed on, and all of it when the kernel has
// been silent for a moment. An error of the writer ends the stream.
func recorded(events event.Stream, w *event.Writer, out *bufio.Writer) event.Stream {
	return func(yield func(event.Event, error) bool) {
		for e, err := range events {
			if err == nil {
				err = w.Write(e)
			}
			if err == nil && e.Kind == event.Tick {
				err = out.Flush()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// conclude ends stderr with what went wrong, if anything, and the account, and has the exit status as an error.
func conclude(w io.Writer, account journey.Account, err error) error {
	complain(w, err)
	if slices.ContainsFunc(account.Sites, nameless) {
		fmt.Fprintln(w, "ipiptrace: the kernel hides its symbols, functions are shown as addresses: run it as root (sudo), or with CAP_SYSLOG")
	}
	if failed := render.NewText(w, render.TextOptions{}).Account(account); failed != nil && err == nil {
		err = fmt.Errorf("standard error: %w", failed)
	}
	if errors.As(err, new(remark)) {
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
