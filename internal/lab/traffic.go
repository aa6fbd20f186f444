package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Proto is what kind of traffic the client makes.
type Proto string

// The kinds of traffic. Crafted frames come from the director, IPIP already, with TCP, UDP or no IPv4 packet inside, and
// nobody waits for an answer.
const (
	TCP        Proto = "tcp"
	UDP        Proto = "udp"
	Crafted    Proto = "crafted"
	CraftedUDP Proto = "crafted-udp"
	CraftedOdd Proto = "crafted-odd"
)

// Close says which side of a TCP connection closes first.
type Close int

// Alternate lets the sides take turns.
const (
	Alternate Close = iota
	ClientFirst
	ServerFirst
)

// Traffic is a bounded amount of traffic from the client to the service.
type Traffic struct {
	Proto Proto
	// Count is the number of TCP connections, UDP exchanges or crafted frames.
	Count int
	// Request and Answer are payload lengths in bytes; a UDP answer is as long as its request.
	Request, Answer int
	// Idle is how long a TCP client says nothing once it is connected.
	Idle  time.Duration
	Close Close
	// Abort: a TCP client that gives up resets its connection.
	Abort bool
	// Deadline bounds each handshake, what follows it, and the wait for a datagram's answer; zero is 10 s.
	Deadline time.Duration
	// Parallel is how many run at a time; zero is 4.
	Parallel int
	// Midway is done once, when all TCP connections stand and none has sent anything; Parallel has to be Count.
	Midway Step
	// Frame makes the nth crafted Ethernet frame, Next one that follows it, if there is one.
	Frame, Next func(n int) []byte
	// Want is how each of them ends in the scenario.
	Want Outcome
	// halfway waits for all connections, and for Midway.
	halfway func() error
}

// Traffic sends t and waits for its end. That the service does not answer is a Result; an error means
// that the client could not even try.
func (l *Lab) Traffic(ctx context.Context, t Traffic) (Result, error) {
	before, err := l.icmpErrors()
	if err != nil {
		return Result{}, err
	}
	send := l.exchanges
	if t.Frame != nil {
		send = l.craft
	}
	r, err := send(ctx, t)
	if err != nil {
		return r, err
	}
	after, err := l.icmpErrors()
	r.ICMPErrors = after - before
	return r, err
}

// Traffics sends all kinds at once. Errors are joined; there is a Result for each, also with an error.
// The numbers of ICMP errors are those of all.
func (l *Lab) Traffics(ctx context.Context, all []Traffic) ([]Result, error) {
	var wg sync.WaitGroup
	results, errs := make([]Result, len(all)), make([]error, len(all))
	for i, t := range all {
		wg.Go(func() { results[i], errs[i] = l.Traffic(ctx, t) })
	}
	wg.Wait()
	return results, errors.Join(errs...)
}

// exchanges runs the connections on a few threads inside the client's namespace.
func (l *Lab) exchanges(ctx context.Context, t Traffic) (Result, error) {
	if t.Deadline == 0 {
		t.Deadline = 10 * time.Second
	}
	if t.Parallel == 0 {
		t.Parallel = 4
	}
	t.halfway = l.meeting(ctx, t)
	attempt := map[Proto]func(context.Context, net.Dialer, Traffic, int) attempt{TCP: connection, UDP: exchange}[t.Proto]
	var (
		mu   sync.Mutex
		r    = Result{Ended: map[Outcome]int{}}
		next atomic.Int64
		errs = make([]error, t.Parallel)
		wg   sync.WaitGroup
	)
	for i := range errs {
		wg.Go(func() {
			errs[i] = l.Client.Do(func() error {
				for n := int(next.Add(1)); n <= t.Count && ctx.Err() == nil; n = int(next.Add(1)) {
					a := attempt(ctx, l.dialer(t), t, n)
					mu.Lock()
					r.add(a)
					mu.Unlock()
				}
				return nil
			})
		})
	}
	wg.Wait()
	return r, errors.Join(errs...)
}

// meeting is where each connection waits, once it stands or has failed, until Midway is done.
func (l *Lab) meeting(ctx context.Context, t Traffic) func() error {
	if t.Midway.Do == nil {
		return func() error { return nil }
	}
	var there sync.WaitGroup
	there.Add(t.Count)
	midway := sync.OnceValue(func() error { return t.Midway.Do(ctx, l) })
	return func() error {
		there.Done()
		there.Wait()
		return midway()
	}
}

// dialer has the next source port. The kernel's choice may be one of a minute ago, for which the director
// still knows a real server, whatever a fault has done to the service meanwhile.
func (l *Lab) dialer(t Traffic) net.Dialer {
	const first, count = 30000, 35000
	port := first + int(l.ports.Add(1))%count
	if t.Proto == UDP {
		return net.Dialer{LocalAddr: &net.UDPAddr{Port: port}}
	}
	return net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
}

// RepeatPorts runs f; what comes after it uses f's source ports again.
func (l *Lab) RepeatPorts(f func() error) error {
	before := l.ports.Load()
	defer l.ports.Store(before)
	return f()
}

// LeavePorts has what comes use none of the next n source ports.
func (l *Lab) LeavePorts(n int) { l.ports.Add(uint32(n)) }

// address is where the client connects to.
func address() string { return netip.AddrPortFrom(VIP, Port).String() }

// connection is one TCP connection: handshake, request, answer, close by both.
func connection(ctx context.Context, d net.Dialer, t Traffic, n int) attempt {
	c, err := handshake(ctx, d, t)
	met := t.halfway()
	if err != nil {
		return attempt{err: err}
	}
	defer c.Close()
	if met != nil {
		return attempt{connected: true, err: met}
	}
	c.SetDeadline(time.Now().Add(t.Deadline))
	time.Sleep(t.Idle)
	serverFirst := t.Close == ServerFirst || t.Close == Alternate && n%2 == 0
	err = converse(c.(*net.TCPConn), t, serverFirst)
	if err != nil && t.Abort {
		c.(*net.TCPConn).SetLinger(0)
	}
	return attempt{connected: true, err: err}
}

// handshake bounds the time from when the socket is there: on a slow machine no SYN may have been sent by a deadline that
// is set before.
func handshake(ctx context.Context, d net.Dialer, t Traffic) (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.Control = func(string, string, syscall.RawConn) error {
		time.AfterFunc(t.Deadline, func() { cancel(context.DeadlineExceeded) })
		return nil
	}
	c, err := d.DialContext(ctx, "tcp4", address())
	if err != nil && context.Cause(ctx) == context.DeadlineExceeded {
		err = &net.OpError{Op: "dial", Net: "tcp4", Source: d.LocalAddr, Err: os.ErrDeadlineExceeded}
	}
	return c, err
}

func converse(c *net.TCPConn, t Traffic, serverFirst bool) error {
	request := max(t.Request, headerLen)
	h := header{Request: uint32(request), Answer: uint32(t.Answer), ServerFirst: serverFirst}
	b := bytes.NewBuffer(make([]byte, 0, request))
	binary.Write(b, binary.BigEndian, h)
	b.Write(make([]byte, request-headerLen))
	if _, err := c.Write(b.Bytes()); err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, c, int64(t.Answer)); err != nil {
		return err
	}
	if !serverFirst {
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

// exchange is one UDP datagram and its echo, from a port of its own.
func exchange(ctx context.Context, d net.Dialer, t Traffic, n int) attempt {
	c, err := d.DialContext(ctx, "udp4", address())
	if err != nil {
		return attempt{err: err}
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, t.Request)); err != nil {
		return attempt{err: err}
	}
	// Only now: on a slow machine nothing may have been sent by then.
	c.SetReadDeadline(time.Now().Add(t.Deadline))
	got, err := c.Read(make([]byte, t.Request+1))
	if err == nil && got != t.Request {
		err = fmt.Errorf("answer %d has %d bytes instead of %d", n, got, t.Request)
	}
	return attempt{err: err}
}
