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
	state.Sysctls = map[string]string{}
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
		maps.Copy(r.s.Sysctls, state.Sysctls)
		state.Sysctls = r.s.Sysctls
		*r.s, r.bpf = state, own.bpf
		return err
	case <-late.C:
		return fmt.Errorf("nothing came in %v", limit)
	}
}

// beside reads parts that programs render while others are read: for most of their time nobody here has to do anything. take waits
// for them, and takes what they have read.
func (r *reader) beside(parts []part) (take func()) {
	own, state := *r, *r.s
	state.Sysctls, state.Unread = map[string]string{}, nil
	own.s = &state
	done := make(chan struct{})
	go func() {
		defer close(done)
		own.read(parts)
	}()
	return func() {
		<-done
		r.s.Nft, r.s.NftOutline, r.s.IPTables, r.s.Hooks = state.Nft, state.NftOutline, state.IPTables, state.Hooks
		r.s.Unread = append(r.s.Unread, state.Unread...)
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
