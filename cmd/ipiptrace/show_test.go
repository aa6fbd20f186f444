package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
)

// counter writes a line a journey.
type counter struct{ w io.Writer }

func (c counter) Journey(diagnose.Verdict) error {
	_, err := io.WriteString(c.w, "journey\n")
	return err
}

func (c counter) Account(journey.Account) error {
	_, err := io.WriteString(c.w, "account\n")
	return err
}

// gate is a reader of stdout that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	got  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.got.Write(p)
}

func TestSlowReaderOfLiveRunIsNotWaitedFor(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	out := bufio.NewWriterSize(g, 16)
	s := newShow(t.Context(), g, out, counter{out}, true, func() {})
	s.begin()
	taken := 0
	for range queuedJourneys + 1000 {
		if s.add(diagnose.Verdict{}) {
			taken++
		}
	}
	close(g.open)
	err := s.close(&journey.Account{})
	if err == nil || !strings.Contains(err.Error(), "were not shown") {
		t.Errorf("what was shed is not said: %v", err)
	}
	shown := strings.Count(g.got.String(), "journey\n")
	if shown+s.shed != queuedJourneys+1000 || s.shed == 0 || shown < queuedJourneys || shown != taken {
		t.Errorf("%d shown, %d shed", shown, s.shed)
	}
	if !strings.HasSuffix(g.got.String(), "\naccount\n") {
		t.Error("the account is not the last line")
	}
}

// late renders once the queue is full.
type late struct {
	counter
	show *show
	once sync.Once
}

func (l *late) Journey(v diagnose.Verdict) error {
	l.once.Do(func() {
		for len(l.show.queue) < queuedJourneys {
			runtime.Gosched()
		}
	})
	return l.counter.Journey(v)
}

// TestABurstIsShownWhole hands on as much at once as an Inquiry may, in a live run.
func TestABurstIsShownWhole(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "shown"))
	check(t, err)
	defer file.Close()
	for what, stdout := range map[string]io.Writer{"a file": file, "a reader that keeps reading": io.Discard} {
		out := bufio.NewWriter(stdout)
		render := &late{counter: counter{out}}
		render.show = newShow(t.Context(), stdout, out, render, true, func() {})
		render.show.begin()
		for range 3 * queuedJourneys {
			render.show.add(diagnose.Verdict{})
		}
		if err := render.show.close(nil); err != nil || render.show.added != 3*queuedJourneys {
			t.Errorf("%s: %d of %d are shown: %v", what, render.show.added, 3*queuedJourneys, err)
		}
	}
	if data, err := os.ReadFile(file.Name()); err != nil || bytes.Count(data, []byte("journey\n")) != 3*queuedJourneys {
		t.Errorf("%d bytes in the file, %v", len(data), err)
	}
}

// TestASignalEndsAReplayThatNobodyReads has less left than a pipe holds: it is the last line that nobody takes.
func TestASignalEndsAReplayThatNobodyReads(t *testing.T) {
	for journeys, want := range map[int]string{0: "the last line was not shown", 3: "3 journeys were not shown"} {
		g := &gate{open: make(chan struct{})}
		out := bufio.NewWriterSize(g, 16)
		ctx, signal := context.WithCancel(t.Context())
		s := newShow(ctx, g, out, counter{out}, false, func() {})
		s.begin()
		for range journeys {
			s.add(diagnose.Verdict{})
		}
		signal()
		if err := s.close(&journey.Account{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		close(g.open)
	}
}

// broken is a stdout that fails.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestReaderThatWentAwayEndsTheRunWithoutAnError(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails error
		want  bool
	}{
		{"a pipe that nobody reads is no error", unix.EPIPE, false},
		{"a full disk is one", unix.ENOSPC, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			stopped := make(chan struct{}, 10)
			out := bufio.NewWriter(broken{c.fails})
			s := newShow(t.Context(), broken{}, out, counter{out}, false, func() { stopped <- struct{}{} })
			s.begin()
			s.add(diagnose.Verdict{})
			<-stopped
			if s.add(diagnose.Verdict{}) {
				t.Error("journeys are taken that nobody can read")
			}
			if err := s.close(nil); (err != nil) != c.want {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestWhatEndsWithTheRunWaitsForTheReader(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	out := bufio.NewWriterSize(g, 16)
	s := newShow(t.Context(), g, out, counter{out}, true, func() {})
	s.begin()
	s.last()
	go close(g.open)
	for range 2*queuedJourneys + 1000 {
		s.add(diagnose.Verdict{})
	}
	if err := s.close(nil); err != nil {
		t.Error(err)
	}
	if shown := strings.Count(g.got.String(), "journey\n"); shown != 2*queuedJourneys+1000 {
		t.Errorf("%d shown", shown)
	}
}

func TestReaderThatTakesNothingIsNotWaitedFor(t *testing.T) {
	const added = 3 * queuedJourneys
	g := &gate{open: make(chan struct{})}
	defer close(g.open)
	out := bufio.NewWriterSize(g, 16)
	s := newShow(t.Context(), g, out, counter{out}, true, func() {})
	s.begin()
	s.last()
	for range added {
		s.add(diagnose.Verdict{})
	}
	err := s.close(&journey.Account{})
	if want := fmt.Sprintf("%d journeys were not shown", added); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestReaderThatTakesLittleIsProgress: of a pipe that may be far less than is written at a time.
func TestReaderThatTakesLittleIsProgress(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	if _, err := writer.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	s := newShow(t.Context(), writer, bufio.NewWriter(writer), counter{writer}, true, func() {})
	before := s.taken()
	if _, err := reader.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if after := s.taken(); after <= before {
		t.Errorf("taken %d before, %d after a byte was read", before, after)
	}
}

// TestAccountDoesNotWaitForTheReader shows journeys to somebody who reads them only once the account was said.
func TestAccountDoesNotWaitForTheReader(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	out := bufio.NewWriterSize(g, 16)
	said := &opener{open: g.open}
	tell := &telling{}
	tell.format = oneOf("text", "json")
	s := newShow(t.Context(), g, out, counter{out}, true, func() {})
	s.begin()
	s.last()
	s.add(diagnose.Verdict{})
	if err := tell.end(said, s, journey.Account{Journeys: 1}, nil); err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.said.String(), "journeys 1 "); n != 1 || g.got.String() != "journey\n" {
		t.Errorf("%d accounts, shown %q", n, g.got.String())
	}
}

// opener is a stderr that opens a gate with its first line.
type opener struct {
	said bytes.Buffer
	open chan struct{}
	once sync.Once
}

func (o *opener) Write(p []byte) (int, error) {
	o.once.Do(func() { close(o.open) })
	return o.said.Write(p)
}
