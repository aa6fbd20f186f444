package lab

import (
	"context"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// craft sends frames on the director's wire to the real server.
func (l *Lab) craft(ctx context.Context, t Traffic) (Result, error) {
	r := Result{Ended: map[Outcome]int{}}
	for ; r.Started < t.Count && ctx.Err() == nil; r.Started++ {
		n := l.NextFrame()
		for _, frame := range []func(int) []byte{t.Frame, t.Next} {
			if frame == nil {
				continue
			}
			if err := l.Send(Director, frame(n)); err != nil {
				return r, err
			}
		}
		r.Ended[Silence]++
	}
	return r, nil
}

// NextFrame counts crafted frames, so that no two of them are of the same flow.
func (l *Lab) NextFrame() int { return int(l.frames.Add(1)) }

// Send sends one frame out of the node's eth0. A packet socket leaves it as it is: no device on the way
// is asked to compute a checksum.
func (l *Lab) Send(r Role, frame []byte) error {
	return l.Node(r).Do(func() error {
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open packet socket: %w", err)
		}
		defer unix.Close(fd)
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: eth0.Index}); err != nil {
			return fmt.Errorf("send crafted frame: %w", err)
		}
		return nil
	})
}
