package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/render"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// look is what a stream can show.
type look struct {
	colour, terminal bool
	width            int
}

// lookOf asks a stream what it can show; NO_COLOR (no-color.org) is respected.
func lookOf(w io.Writer) look {
	file, ok := screen.Under(w).(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return look{}
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		width = 0
	}
	return look{colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", terminal: true, width: width}
}

// printed writes what a command has to say, all at once. A reader that went away is no error.
func printed(stdout io.Writer, write func(io.Writer) error) error {
	out := bufio.NewWriter(stdout)
	err := write(out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil && !errors.Is(err, unix.EPIPE) {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// newShow is a show of a run that ends with ctx, in the form that was asked for; stop ends the run.
func (t *telling) newShow(ctx context.Context, stdout io.Writer, live bool, netns func(uint32) string, stop func()) *show {
	out := bufio.NewWriterSize(stdout, 64<<10)
	if t.format.word == "json" {
		asJSON := render.NewJSON(out)
		asJSON.Stack = t.stack
		return newShow(ctx, stdout, out, asJSON, live, stop)
	}
	l := lookOf(stdout)
	text := render.NewText(out, render.TextOptions{
		Color: l.colour, Width: l.width, Terminal: l.terminal, Stack: t.stack, Netns: netns,
	})
	s := newShow(ctx, stdout, out, text, live, stop)
	if l.terminal {
		s.count = text.Flush
	}
	return s
}

// audience is the one that the flags ask for; stop is called once it has enough.
func (t *telling) audience(s *show, stop func()) *audience {
	return &audience{show: s, only: t.only.word, count: int(t.count), sites: journey.Sites{}, stop: stop}
}

// accountWait is how long the account waits for the last journeys to be shown.
const accountWait = 20 * time.Millisecond

// end shows what is left, with JSON ended by the account, and says the account on stderr. A run that was told to end says
// it before what takes long to be shown.
func (t *telling) end(stderr io.Writer, show *show, account journey.Account, err error) error {
	say := sync.OnceValue(func() error { return sayAccount(stderr, account) })
	unsaid := func() bool { return true }
	if show.over {
		unsaid = time.AfterFunc(accountWait, func() { _ = say() }).Stop
	}
	last := &account
	if t.format.word != "json" {
		last = nil
	}
	err = cmp.Or(err, show.close(last))
	if unsaid() {
		return conclude(stderr, account, err)
	}
	failed := say()
	complain(stderr, err)
	return outcome(account, cmp.Or(err, failed))
}

// watching says at the start what is followed, and where.
func watching(r event.Run) string {
	attached := 0
	for _, p := range r.Probes {
		if p.Attached() {
			attached++
		}
	}
	what := join(r.Filter.VIPs)
	if len(r.Filter.Ports) > 0 {
		what += " port " + join(r.Filter.Ports)
	}
	return fmt.Sprintf("watching %s at %d of %d places; Ctrl-C ends", strings.ReplaceAll(what, ",", ", "), attached, len(r.Probes))
}

// tells are the places that alone tell of a kind of loss, or of what its cause is known by.
var tells = []struct {
	place event.Place
	what  string
}{
	{event.TCPDrop, "what TCP drops"},
	{event.NftRule, "the very rule of nftables that drops (rules are evaluated instead)"},
	{event.TCPConnRequest, "SYNs that a listener refuses"},
	{event.IPRouteOutput, "answers that find no route"},
}

// untold says which losses can't be told of, since their places can't be watched; empty if all can. What is in a module
// that is not loaded does not happen.
func untold(probes []event.Probe) string {
	var what []string
	for _, t := range tells {
		if slices.ContainsFunc(probes, func(p event.Probe) bool {
			return p.Place == t.place && !p.Attached() && !strings.HasSuffix(p.Why, " is not loaded")
		}) {
			what = append(what, t.what)
		}
	}
	if len(what) == 0 {
		return ""
	}
	return "not seen, since their places can't be watched (ipiptrace probes says why): " + strings.Join(what, ", ")
}
