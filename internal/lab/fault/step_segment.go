package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// intrude sends a segment into each of n connections that the service has, as a host would that shares the client's
// address and port; spoil makes it one that the connection does not take.
func intrude(n int, what string, spoil func(*segment)) lab.Step {
	return lab.Step{
		What: "director: a segment of each connection " + what,
		Do: func(ctx context.Context, l *lab.Lab) error {
			connections, err := connections(ctx, l, n)
			if err != nil {
				return err
			}
			for _, c := range connections {
				s, err := expects(c)
				if err != nil {
					return err
				}
				spoil(&s)
				if err := l.Send(lab.Director, tunnelledSegment(l.NextFrame(), s)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// connections waits until the service has n, and no other.
func connections(ctx context.Context, l *lab.Lab, n int) ([]*net.TCPConn, error) {
	for began := time.Now(); time.Since(began) < lab.ServiceDeadline && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		if all := l.Service.Connections(); len(all) == n {
			return all, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("the service does not have %d connections", n), ctx.Err())
}

// expects is the segment that a connection expects next. Only a socket under repair tells (tcp(7), TCP_REPAIR).
func expects(c *net.TCPConn) (s segment, err error) {
	const on, offSilently, received, sent = 1, -1, 1, 2
	raw, err := c.SyscallConn()
	if err != nil {
		return s, err
	}
	s.port, s.timestamp = uint16(c.RemoteAddr().(*net.TCPAddr).Port), uptime()
	err = lab.Control(raw, func(fd int) error {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, on); err != nil {
			return fmt.Errorf("TCP_REPAIR: %w", err)
		}
		defer func() {
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, offSilently)
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // which repairing has taken away
		}()
		for _, q := range []struct {
			queue int
			next  *uint32
		}{{received, &s.seq}, {sent, &s.ack}} {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, q.queue); err != nil {
				return fmt.Errorf("TCP_REPAIR_QUEUE: %w", err)
			}
			next, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
			if err != nil {
				return fmt.Errorf("TCP_QUEUE_SEQ: %w", err)
			}
			*q.next = uint32(next)
		}
		return nil
	})
	return s, err
}

// uptime is what a host's timestamps are that count the milliseconds since it started (net.ipv4.tcp_timestamps=2).
func uptime() uint32 {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return 0
	}
	return uint32(time.Duration(now.Nano()).Milliseconds())
}

// aMinuteOld is a timestamp of a minute ago.
func aMinuteOld(s *segment) { s.timestamp -= uint32(time.Minute.Milliseconds()) }

// farAhead is further on than any window reaches.
func farAhead(s *segment) { s.seq += 1 << 29 }
