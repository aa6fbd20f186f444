package lab

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Outcome is how a connection or exchange ended for the client.
type Outcome string

// The outcomes. Refused is ECONNREFUSED: a reset, or an ICMP port unreachable. Silence is for crafted
// frames, which nobody answers.
const (
	Answered    Outcome = "answered"
	Refused     Outcome = "refused"
	Unreachable Outcome = "unreachable"
	TimedOut    Outcome = "timed out"
	Broken      Outcome = "broken"
	Silence     Outcome = "silence"
)

// Result counts what the client saw.
type Result struct {
	// Started is the number of connections, exchanges or frames that began; a cancelled run begins fewer.
	Started int
	// Connected is the number of TCP handshakes that were completed.
	Connected int
	Ended     map[Outcome]int
	// ICMPErrors is the number of ICMP destination unreachables that reached the client meanwhile.
	ICMPErrors int
	// FirstError is what the socket said the first time that something was not answered.
	FirstError error
}

// Plus is both results in one.
func (r Result) Plus(more Result) Result {
	sum := Result{
		Started: r.Started + more.Started, Connected: r.Connected + more.Connected, Ended: map[Outcome]int{},
		ICMPErrors: r.ICMPErrors + more.ICMPErrors, FirstError: r.FirstError,
	}
	if sum.FirstError == nil {
		sum.FirstError = more.FirstError
	}
	for _, ended := range []map[Outcome]int{r.Ended, more.Ended} {
		for o, n := range ended {
			sum.Ended[o] += n
		}
	}
	return sum
}

// Saw checks that everything that was started ended as wanted.
func (r Result) Saw(want Outcome) error {
	if r.Ended[want] == r.Started && r.Started > 0 {
		return nil
	}
	return fmt.Errorf("want %d %s, got %s", r.Started, want, r)
}

// String is one line: "100 tcp started …".
func (r Result) String() string {
	s := fmt.Sprintf("%d started, %d connected", r.Started, r.Connected)
	for _, o := range []Outcome{Answered, Refused, Unreachable, TimedOut, Broken, Silence} {
		if r.Ended[o] > 0 {
			s += fmt.Sprintf(", %d %s", r.Ended[o], o)
		}
	}
	s += fmt.Sprintf(", %d ICMP errors", r.ICMPErrors)
	if r.FirstError != nil {
		s += fmt.Sprintf(" (%v)", r.FirstError)
	}
	return s
}

// attempt is one connection or exchange.
type attempt struct {
	connected bool
	err       error
}

func (r *Result) add(a attempt) {
	r.Started++
	if a.connected {
		r.Connected++
	}
	r.Ended[outcome(a.err)]++
	if a.err != nil && r.FirstError == nil {
		r.FirstError = a.err
	}
}

func outcome(err error) Outcome {
	// Not only os.ErrDeadlineExceeded: a dialer has an error of its own, and ETIMEDOUT counts too.
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		return TimedOut
	}
	for _, o := range []struct {
		err     error
		outcome Outcome
	}{
		{nil, Answered},
		{unix.ECONNREFUSED, Refused},
		{unix.EHOSTUNREACH, Unreachable},
		{unix.ENETUNREACH, Unreachable},
		{unix.ENOPROTOOPT, Unreachable},
	} {
		if errors.Is(err, o.err) {
			return o.outcome
		}
	}
	return Broken
}
