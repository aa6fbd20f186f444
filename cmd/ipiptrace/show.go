package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
)

// queuedJourneys bounds what waits for a slow reader of stdout. Behind it a live run sheds, and counts.
const queuedJourneys = 4096

// renderer is one form of output.
type renderer interface {
	Journey(diagnose.Verdict) error
	Account(journey.Account) error
}

// show puts journeys on stdout beside the run: a reader that is slow must not hold up the ring.
type show struct {
	out    *bufio.Writer
	render renderer
	// count writes what was counted instead of shown, after a quiet second; nil if everything is shown.
	count func() error
	// sheds: drop what does not fit into the queue; else wait for room.
	sheds  bool
	queue  chan diagnose.Verdict
	done   chan struct{}
	shed   int
	err    error
	broken atomic.Bool
	// stop ends the run, for lack of a reader.
	stop func()
}

// newShow is a show on stdout, which the renderer reaches through out. stop is called once nobody can
// read it any more.
func newShow(stdout io.Writer, out *bufio.Writer, render renderer, sheds bool, stop func()) *show {
	s := &show{
		out:    out,
		render: render,
		sheds:  sheds,
		queue:  make(chan diagnose.Verdict, queuedJourneys),
		done:   make(chan struct{}),
		stop:   stop,
	}
	if file, ok := screen.Under(stdout).(*os.File); ok {
		onHangup(file, s.giveUp)
	}
	return s
}

// begin shows what is added from now on.
func (s *show) begin() { go s.write() }

// add hands on a journey; it reports false if nobody can read it.
func (s *show) add(v diagnose.Verdict) bool {
	if s.broken.Load() {
		return false
	}
	if !s.sheds {
		s.queue <- v
		return true
	}
	select {
	case s.queue <- v:
	default:
		s.shed++
	}
	return true
}

func (s *show) write() {
	defer close(s.done)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	quiet := true
	for {
		select {
		case v, more := <-s.queue:
			if !more {
				return
			}
			quiet = false
			s.try(func() error { return s.render.Journey(v) })
		case <-second.C:
			// While journeys come, the renderer counts the seconds by them.
			if quiet {
				s.try(s.count)
			}
			quiet = true
		}
		if len(s.queue) == 0 {
			s.try(s.out.Flush)
		}
	}
}

// try writes something, unless writing has failed before.
func (s *show) try(write func() error) {
	if s.err != nil || write == nil {
		return
	}
	if s.err = write(); s.err != nil {
		s.giveUp()
	}
}

func (s *show) giveUp() {
	s.broken.Store(true)
	s.stop()
}

// close shows what is left and, if there is one, the account. A reader that went away is no error.
func (s *show) close(account *journey.Account) error {
	close(s.queue)
	<-s.done
	s.try(s.count)
	if account != nil {
		s.try(func() error { return s.render.Account(*account) })
	}
	s.try(s.out.Flush)
	switch {
	case errors.Is(s.err, unix.EPIPE):
		return nil
	case s.err != nil:
		return fmt.Errorf("standard output: %w", s.err)
	case s.shed > 0:
		return remark{fmt.Errorf("%d journeys were not shown: the reader of standard output was too slow", s.shed)}
	}
	return nil
}

// onHangup calls do when the reader of a pipe goes away, long before a write would tell.
func onHangup(file *os.File, do func()) {
	info, err := file.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	go func() {
		fds := []unix.PollFd{{Fd: int32(file.Fd())}}
		for {
			n, err := unix.Poll(fds, -1)
			if n > 0 {
				do()
			}
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
}
