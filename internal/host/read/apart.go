package read

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"time"
)

// grace is what a part may take beyond its time to say that it has none left, and for its program to be ended.
const grace = time.Second

// timed reads a part, in the time that it may take.
func (r *reader) timed(p part) error {
	if r.options.PartTime == 0 {
		return p.read(r)
	}
	return r.apart(p)
}

// apart reads a part on a thread of its own and into a state of its own: a kernel or a program that does not answer keeps that
// thread, and nobody waits for it. What has come by the end of the time is taken.
func (r *reader) apart(p part) error {
	limit := r.options.PartTime * max(1, p.slow)
	ctx, cancel := context.WithTimeout(r.ctx, limit)
	defer cancel()
	own := *r
	state := *r.s
	state.Sysctls = maps.Clone(r.s.Sysctls)
	own.s, own.ctx = &state, ctx
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: nobody else is to run in this namespace
		done <- r.ns.enter(func() error { return own.alone(p) })
	}()
	late := time.NewTimer(limit + grace)
	defer late.Stop()
	select {
	case err := <-done:
		*r.s, r.bpf = *own.s, own.bpf
		return err
	case <-late.C:
		return fmt.Errorf("nothing came in %v", limit)
	}
}

// alone reads a part with a socket of its own.
func (r *reader) alone(p part) (err error) {
	if r.rt, err = routing(); err != nil {
		return err
	}
	defer r.rt.Close()
	return p.read(r)
}
