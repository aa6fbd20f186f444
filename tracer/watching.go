package tracer

import (
	"errors"
	"fmt"
	"os"
	"slices"
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
}

// watching is a candidate and what became of it.
type watching struct {
	candidate candidate
	way       way
	attached  []attached
	err       error
}

// watch tries a candidate's ways, best first. err is why the best one failed.
func (p *programs) watch(c candidate) watching {
	w := watching{candidate: c}
	for _, way := range c.ways {
		attached, err := p.attachAll(way)
		if err == nil {
			w.way, w.attached, w.err = way, attached, nil
			return w
		}
		w.err = errors.Join(w.err, err)
	}
	if module := c.probe.module; isAbsent(w.err) && module != "" && !isLoaded(module) {
		w.err = errors.Join(notLoaded{module}, w.err)
	}
	return w
}

func (p *programs) attachAll(w way) ([]attached, error) {
	var done []attached
	for _, a := range w {
		if p.isMissing(a) {
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
		done = append(done, attached{prog, l, a.module})
	}
	return done, nil
}

// isMissing reports whether an attachment's module is neither loaded nor built in: the kernel would look for the
// symbol among all that it has.
func (p *programs) isMissing(a attachment) bool {
	return a.module != "" && !isLoaded(a.module) && !p.kernel.hasFunction(a.symbol)
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

// isAbsent reports whether the kernel has no such function, or no such mechanism for it.
func isAbsent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported)
}

// reason is why a place can't be watched, in a few words.
func reason(err error) string {
	var missing notLoaded
	switch {
	case errors.As(err, &missing):
		return missing.Error()
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
		wg.Add(1)
		go func() {
			defer wg.Done()
			a.link.Close()
			a.program.Close()
		}()
	}
	wg.Wait()
}
