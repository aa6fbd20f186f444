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

const (
	// queuedJourneys bounds what waits for a slow reader of stdout. Behind it a live run sheds, and counts.
	queuedJourneys = 4096
	// stuckAfter is how long a reader may take nothing, once the run is over, until it is not waited for any more.
	stuckAfter = 500 * time.Millisecond
	// flushBytes is what is written at a time, give or take a journey.
	flushBytes = 16 << 10
)

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
	sheds bool
	queue chan diagnose.Verdict
	done  chan struct{}
	// over: the run is over. left is what has ended with it.
	over bool
	left []diagnose.Verdict
	// stuck is closed when the reader takes nothing any more.
	stuck chan struct{}
	// added went into the queue, shed did not, shown are written.
	added, shed int
	shown       atomic.Int64
	err         error
	broken      atomic.Bool
	// stop ends the run, for lack of a reader.
	stop func()
	// inPipe is how many bytes wait in stdout's pipe.
	inPipe func() int
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
		stuck:  make(chan struct{}),
		stop:   stop,
		inPipe: func() int { return 0 },
	}
	if file, ok := screen.Under(stdout).(*os.File); ok {
		onHangup(file, s.giveUp)
		s.inPipe = func() int {
			n, _ := unix.IoctlGetInt(int(file.Fd()), unix.TIOCINQ) // what is no pipe holds nothing back
			return n
		}
	}
	return s
}

// begin shows what is added from now on.
func (s *show) begin() { go s.write() }

// add hands on a journey; it reports false if it will not be shown.
func (s *show) add(v diagnose.Verdict) bool {
	if s.broken.Load() {
		return false
	}
	if s.over {
		s.left = append(s.left, v)
		return true
	}
	if s.sheds {
		select {
		case s.queue <- v:
			s.added++
			return true
		default:
			s.shed++
			return false
		}
	}
	select {
	case s.queue <- v:
		s.added++
		return true
	case <-s.stuck:
		s.shed++
		return false
	}
}

// last says that the run is over: what ends with it waits for a reader that takes its time, but not for one that takes
// nothing.
func (s *show) last() {
	if s.sheds {
		s.over = true
		s.watch()
	}
}

// watch looks from now on whether the reader takes nothing any more. It may be called once.
func (s *show) watch() {
	go func() {
		for before, now := int64(-1), s.taken(); now != before; before, now = now, s.taken() {
			select {
			case <-time.After(stuckAfter):
			case <-s.done:
				return
			}
		}
		close(s.stuck)
	}()
}

// taken grows whenever the reader takes something: of a pipe it may be less than what we write at a time.
func (s *show) taken() int64 {
	return s.shown.Load()<<32 - int64(s.inPipe())
}

func (s *show) write() {
	defer close(s.done)
	rendered := 0
	flush := func() {
		s.try(s.out.Flush)
		s.shown.Store(int64(rendered))
	}
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
			if rendered++; s.out.Buffered() >= flushBytes {
				flush()
			}
		case <-second.C:
			// While journeys come, the renderer counts the seconds by them.
			if quiet {
				s.try(s.count)
			}
			quiet = true
		}
		if len(s.queue) == 0 {
			flush()
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
	for _, v := range s.left {
		select {
		case s.queue <- v:
			s.added++
		case <-s.stuck:
			s.shed++
		}
	}
	close(s.queue)
	select {
	case <-s.done:
	case <-s.stuck: // what is being written belongs to the writer
		return tooSlow(s.shed + s.added - int(s.shown.Load()))
	}
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
		return tooSlow(s.shed)
	}
	return nil
}

func tooSlow(journeys int) error {
	return remark{fmt.Errorf("%d journeys were not shown: the reader of standard output was too slow", journeys)}
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
