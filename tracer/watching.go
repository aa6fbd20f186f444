package tracer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"ipiptrace/tracer/event"
)

// attached is one program at one point of the kernel.
type attached struct {
	program *ebpf.Program
	link    link.Link
	// module is the attachment's.
	module string
	// shared: the program is one of Tracer.together; program and link are nil. Its module stays while it is attached.
	shared bool
}

// watching is a candidate and what became of it.
type watching struct {
	candidate candidate
	way       way
	attached  []attached
	err       error
}

// watch tries some ways of a candidate, best first. err is why the best one failed.
func (p *programs) watch(c candidate, ways []way) watching {
	w := watching{candidate: c}
	for _, way := range ways {
		if first := way[0]; first.mechanism == kprobeMulti && p.isMissing(first.symbol, c.probe.module) {
			w.err = errors.Join(w.err, fmt.Errorf("attach %s: %w", first.symbol, os.ErrNotExist))
			continue
		}
		attached, err := p.attachAll(way)
		if err == nil {
			w.way, w.attached, w.err = way, attached, nil
			return w
		}
		w.err = errors.Join(w.err, err)
	}
	if isAbsent(w.err) && p.isAway(c.probe) {
		w.err = errors.Join(notLoaded{c.probe.module}, w.err)
	}
	return w
}

func (p *programs) attachAll(w way) ([]attached, error) {
	var done []attached
	for _, a := range w {
		if p.isMissing(a.symbol, a.module) {
			continue
		}
		prog, l, err := p.attach(a)
		if err != nil && a.optional {
			continue
		}
		if err != nil {
			detach(done)
			return nil, err
		}
		done = append(done, attached{program: prog, link: l, module: a.module})
	}
	return done, nil
}

// isMissing reports whether a symbol's module is neither loaded nor built in: the kernel would look for it among all
// that it has.
func (p *programs) isMissing(symbol, module string) bool {
	return module != "" && !isLoaded(module) && !p.kernel.hasFunction(symbol, "")
}

// isAway reports whether the module of a place is neither loaded nor built in.
func (p *programs) isAway(place probe) bool {
	has := func(symbol string) bool { return !p.isMissing(symbol, place.module) }
	return !slices.ContainsFunc(place.symbols, has)
}

// lacks are the attachments of functions in these modules that are not watched yet.
func (w watching) lacks(modules map[string]bool) way {
	return slices.DeleteFunc(slices.Clone(w.way), func(a attachment) bool {
		return !modules[a.module] || slices.ContainsFunc(w.attached, func(now attached) bool { return now.module == a.module })
	})
}

func (w watching) row() event.Probe {
	row := event.Probe{Place: w.candidate.probe.place, Name: w.candidate.probe.place.String(), Why: w.candidate.why}
	if len(w.attached) > 0 {
		row.Mechanism, row.Symbol = w.way[0].mechanism, w.way[0].symbol
	} else if w.err != nil {
		row.Why = reason(w.err)
	}
	return row
}

// errEnded is why a place was not tried.
var errEnded = errors.New("the run was told to end before")

// isAbsent reports whether the kernel has no such function, or no such mechanism for it.
func isAbsent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported)
}

// lacksTracefs reports whether a kprobe was tried and there is no tracefs: the library has no error of its own for that.
func lacksTracefs(err error) bool {
	return err != nil && strings.Contains(err.Error(), "neither debugfs nor tracefs are mounted")
}

// reason is why a place can't be watched, in a few words.
func reason(err error) string {
	var missing notLoaded
	var late cameLate
	switch {
	case errors.Is(err, errEnded):
		return errEnded.Error()
	case errors.As(err, &missing):
		return missing.Error()
	case errors.As(err, &late):
		return late.Error()
	case lacksTracefs(err):
		return ErrNoTracefs.Error()
	case errors.Is(err, os.ErrPermission):
		return "refused by the kernel"
	case isAbsent(err):
		return "not in this kernel"
	}
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		return "rejected by the verifier"
	}
	return err.Error()
}

func (w watching) fatal() error {
	if errors.Is(w.err, unix.EPERM) {
		return fmt.Errorf("%w: %w", ErrNotPermitted, w.err)
	}
	if w.err == nil {
		w.err = errors.New(w.candidate.why)
	}
	return fmt.Errorf("%w: %s can't be watched: %w", ErrNoBackend, w.candidate.probe.place, w.err)
}

func detach(attached []attached) {
	var wg sync.WaitGroup
	for _, a := range attached {
		if a.shared {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			a.link.Close()
			a.program.Close()
		}()
	}
	wg.Wait()
}
