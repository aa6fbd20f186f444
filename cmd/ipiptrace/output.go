package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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

// newShow begins to show journeys on stdout. A live run sheds what a reader is too slow for; stop ends it.
func (t *telling) newShow(stdout io.Writer, sheds bool, netns func(uint32) string, stop func()) *show {
	out := bufio.NewWriterSize(stdout, 64<<10)
	if t.format.word == "json" {
		asJSON := render.NewJSON(out)
		asJSON.Stack = t.stack
		return newShow(stdout, out, asJSON, sheds, stop)
	}
	l := lookOf(stdout)
	text := render.NewText(out, render.TextOptions{
		Color: l.colour, Width: l.width, Terminal: l.terminal, Stack: t.stack, Netns: netns,
	})
	s := newShow(stdout, out, text, sheds, stop)
	if l.terminal {
		s.count = text.Flush
	}
	return s
}

// audience is the one that the flags ask for; stop is called once it has enough.
func (t *telling) audience(s *show, stop func()) *audience {
	return &audience{show: s, only: t.only.word, count: int(t.count), sites: journey.Sites{}, stop: stop}
}

// closeShow ends stdout, with JSON by the account.
func (t *telling) closeShow(s *show, account journey.Account) error {
	if t.format.word == "json" {
		return s.close(&account)
	}
	return s.close(nil)
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
