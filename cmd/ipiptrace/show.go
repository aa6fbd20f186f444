package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
)

const (
	// queuedJourneys bounds what waits for a slow reader of stdout. Behind it a live run waits for maxHeld, then sheds, and
	// counts: an Inquiry hands on more than that at once.
	queuedJourneys = 4096
	// maxHeld is how long a live run may be held up, between two times that half of the queue is empty. As long the ring
	// and what is read of it have to hold what is seen meanwhile.
	maxHeld = 500 * time.Millisecond
	// stuckAfter is how long a reader may take nothing of what is written, and of that lastChance once the run was told to
	// end, until it is not waited for any more.
	stuckAfter = 500 * time.Millisecond
	lastChance = 200 * time.Millisecond
	// lookPause is between two looks at what it has taken.
	lookPause = 50 * time.Millisecond
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
	// live: a reader that is too slow is not waited for. A file has none.
	live, isFile bool
	// held is how long the run was held up since half of the queue was empty.
	held  time.Duration
	queue chan diagnose.Verdict
	done  chan struct{}
	// ctx is the run's: what ends with it may be much, and its account does not wait for that.
	ctx context.Context
	// over: the run is over, or was told to end. left is what has ended with it: it is shown behind the account, as is what
	// waits in the queue by then, from closing on. On a machine with no time to spare the account would come late.
	over    bool
	left    []diagnose.Verdict
	closing chan struct{}
	// stuck is closed when the reader takes nothing any more, and the run was told to end.
	stuck   chan struct{}
	watched sync.Once
	// began is when what is being written was begun, as time since start; 0 if nothing is.
	began atomic.Int64
	start time.Time
	// account is the last thing to be shown, if it is.
	account *journey.Account
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

// newShow is a show on stdout, which the renderer reaches through out, for a run that ends with ctx. stop is called once
// nobody can read it any more.
func newShow(ctx context.Context, stdout io.Writer, out *bufio.Writer, render renderer, live bool, stop func()) *show {
	s := &show{
		out:     out,
		render:  render,
		live:    live,
		ctx:     ctx,
		start:   time.Now(),
		queue:   make(chan diagnose.Verdict, queuedJourneys),
		done:    make(chan struct{}),
		closing: make(chan struct{}),
		stuck:   make(chan struct{}),
		stop:    stop,
		inPipe:  func() int { return 0 },
	}
	if file, ok := screen.Under(stdout).(*os.File); ok {
		onHangup(file, s.giveUp)
		info, err := file.Stat()
		s.isFile = err == nil && info.Mode().IsRegular()
		s.inPipe = func() int {
			n, _ := unix.IoctlGetInt(int(file.Fd()), unix.TIOCINQ) // what is no pipe holds nothing back
			return n
		}
	}
	return s
}

// begin shows what is added from now on.
func (s *show) begin() {
	go s.write()
	context.AfterFunc(s.ctx, s.watch)
}

// add hands on a journey; it reports false if it will not be shown.
func (s *show) add(v diagnose.Verdict) bool {
	switch {
	case s.broken.Load():
		return false
	case s.over || s.live && s.ctx.Err() != nil:
		s.left = append(s.left, v)
		return true
	case s.live && !s.isFile:
		return s.addSoon(v)
	}
	return s.addAtLast(v)
}

// addSoon hands on a journey if there is room, or comes to be while the run may be held up.
func (s *show) addSoon(v diagnose.Verdict) bool {
	if len(s.queue) <= cap(s.queue)/2 {
		s.held = 0
	}
	select {
	case s.queue <- v:
		s.added++
		return true
	default:
	}
	if s.held >= maxHeld {
		s.shed++
		return false
	}
	began := time.Now()
	defer func() { s.held += time.Since(began) }()
	select {
	case s.queue <- v:
		s.added++
		return true
	case <-s.stuck:
	case <-time.After(maxHeld - s.held):
	}
	s.shed++
	return false
}

// addAtLast hands on a journey once there is room, if there ever is.
func (s *show) addAtLast(v diagnose.Verdict) bool {
	select {
	case s.queue <- v:
		s.added++
		return true
	case <-s.stuck:
		s.shed++
		return false
	}
}

// last says that there are no more events: what ends with a run that was told to end waits for a reader that takes its
// time, but not for one that takes nothing.
func (s *show) last() {
	if s.live || s.ctx.Err() != nil {
		s.over = true
		s.watch()
	}
}

// watch looks from now on whether the reader takes nothing any more. A disk that is busy is no such reader.
func (s *show) watch() {
	if !s.isFile {
		s.watched.Do(func() { go s.look() })
	}
}

// look ends with the show, or closes stuck.
func (s *show) look() {
	still := time.Duration(0)
	if began := s.began.Load(); began != 0 {
		still = min(time.Since(s.start)-time.Duration(began), stuckAfter-lastChance)
	}
	for before := s.taken(); still < stuckAfter; still += lookPause {
		select {
		case <-time.After(lookPause):
		case <-s.done:
			return
		}
		if now := s.taken(); now != before || s.began.Load() == 0 {
			before, still = now, 0
		}
	}
	close(s.stuck)
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
	queue, told, closing := s.queue, s.ctx.Done(), s.closing
	if !s.live {
		told = nil
	}
	for {
		select {
		case <-told:
			flush()
			queue, told = nil, nil
		case <-closing:
			queue, told, closing = s.queue, nil, nil
		case v, more := <-queue:
			if !more {
				s.try(s.count)
				if s.account != nil {
					s.try(func() error { return s.render.Account(*s.account) })
				}
				flush()
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
	s.began.Store(int64(time.Since(s.start)))
	defer s.began.Store(0)
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
	close(s.closing)
	for _, v := range s.left {
		s.addAtLast(v)
	}
	s.account = account
	close(s.queue)
	select {
	case <-s.done:
	case <-s.stuck: // what is being written belongs to the writer
		return tooSlow(s.shed + s.added - int(s.shown.Load()))
	}
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
	what := "the last line was"
	if journeys > 0 {
		what = fmt.Sprintf("%d journeys were", journeys)
	}
	return remark{errors.New(what + " not shown: the reader of standard output was too slow")}
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
