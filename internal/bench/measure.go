package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// order is what the host wants to be measured.
type order struct {
	Packets, WarmUp int
	Backends        []string
	Builds          []string // names of ipiptrace in /bin
	Places          bool
}

// bench measures inside the guest.
type bench struct {
	order
	path     *path
	kernel   string
	untraced int64
	out      *json.Encoder
	sent     int // packets; it numbers them, too
}

// measure carries the order out and writes a cost a line.
func measure(o order, out io.Writer) error {
	runtime.LockOSThread()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	path, err := openPath()
	if err != nil {
		return err
	}
	b := &bench{order: o, path: path, kernel: unix.ByteSliceToString(name.Release[:]), out: json.NewEncoder(out)}
	if b.untraced, err = b.medianPacket(); err != nil {
		return err
	}
	if err := b.out.Encode(cost{Kernel: b.kernel, Case: untraced, Packets: o.Packets, Instructions: b.untraced}); err != nil {
		return err
	}
	for _, backend := range o.Backends {
		for _, build := range o.Builds {
			if err := b.backend(build, backend); err != nil {
				return fmt.Errorf("%s, %s: %w", build, backend, err)
			}
		}
	}
	return nil
}

// backend measures all cases with one back-end, unless the first shows that it can't be used.
func (b *bench) backend(build, backend string) error {
	for _, run := range []struct {
		follow  netip.Addr
		measure func(*tracer, cost) ([]cost, error)
	}{{absentVIP, b.nothing}, {otherVIP, b.bystander}, {vip, b.everything}} {
		c := cost{Kernel: b.kernel, Build: build, Backend: backend, Packets: b.Packets}
		t, err := startTracer("/bin/"+build, backend, run.follow.String())
		var no *unusableError
		if errors.As(err, &no) {
			c.Packets, c.Unusable = 0, no.Error()
			return b.out.Encode(c)
		}
		if err != nil {
			return err
		}
		c.Attached = t.attached
		before := b.sent
		costs, err := run.measure(t, c)
		if err != nil {
			return errors.Join(err, t.kill())
		}
		if err := b.report(t, costs, b.sent-before); err != nil {
			return err
		}
	}
	return nil
}

// report ends the tracer and writes the costs with what it says of its run.
func (b *bench) report(t *tracer, costs []cost, packets int) error {
	a, err := t.stop()
	if err != nil {
		return err
	}
	for _, c := range costs {
		c.Events, c.Lost = float64(a.events)/float64(packets), a.lost
		if err := b.out.Encode(c); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) nothing(t *tracer, c cost) ([]cost, error) {
	c.Case = nothing
	err := b.eachPacket(t, &c)
	return []cost{c}, err
}

// bystander has a fragment wait for the rest of its packet for 30 seconds: it is
// under way for as long.
func (b *bench) bystander(t *tracer, c cost) ([]cost, error) {
	c.Case = bystander
	b.sent++
	if err := b.path.send(newFrame(otherVIP).number(b.sent).firstFragment()); err != nil {
		return nil, err
	}
	err := b.eachPacket(t, &c)
	return []cost{c}, err
}

func (b *bench) everything(t *tracer, c cost) ([]cost, error) {
	kernel, all := c, c
	kernel.Case, all.Case = kernelHalf, inAll
	if err := t.pause(); err != nil {
		return nil, err
	}
	if err := b.eachPacket(t, &kernel); err != nil {
		return nil, err
	}
	if err := t.resume(); err != nil {
		return nil, err
	}
	err := b.untilSaid(t, &all)
	return []cost{kernel, all}, err
}

// eachPacket measures a case packet by packet, and then once more with the programs'
// own clocks, which cost something themselves.
func (b *bench) eachPacket(t *tracer, c *cost) error {
	m, err := b.medianPacket()
	if err != nil {
		return err
	}
	c.Instructions = m - b.untraced
	if b.Places {
		c.Places, err = b.shares(t)
	}
	return err
}

// medianPacket is what the median packet costs after the warm-up. Nobody else may
// run meanwhile: there is one CPU, and this thread is the most urgent.
func (b *bench) medianPacket() (int64, error) {
	each := make([]int64, b.WarmUp+b.Packets)
	err := urgently(func() (err error) {
		for i := range each {
			if each[i], err = b.carry(); err != nil {
				return err
			}
		}
		return nil
	})
	return median(each[b.WarmUp:]), err
}

// carry sends the next packet and receives it.
func (b *bench) carry() (int64, error) {
	b.sent++
	return b.path.carry(newFrame(vip).number(b.sent))
}

// saidFor is how many times the packets the case [inAll] sends: a garbage collection
// of the reader more or less must not matter.
const saidFor = 2

// untilSaid measures all packets together: the time until they are sent, of which
// the tracer has its share, and then what the tracer needs for the rest.
func (b *bench) untilSaid(t *tracer, c *cost) error {
	for range b.WarmUp {
		if _, err := b.carry(); err != nil {
			return err
		}
	}
	t.settle()
	c.Packets = saidFor * b.Packets
	start := instructions()
	for range c.Packets {
		if _, err := b.carry(); err != nil {
			return err
		}
	}
	sent := instructions() - start
	c.Instructions = (sent+int64(t.settle()))/int64(c.Packets) - b.untraced
	return nil
}

// urgently runs f with the thread before all others.
func urgently(f func() error) error {
	time.Sleep(50 * time.Millisecond) // what is pending gets done
	usual := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	urgent := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(0, &urgent, 0); err != nil {
		return err
	}
	return errors.Join(f(), unix.SchedSetAttr(0, &usual, 0))
}
