package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

func stopListening() Step {
	return Step{
		What: "real-server: stop listening",
		Do:   func(_ context.Context, l *Lab) error { return l.service.stop() },
	}
}

func listen() Step {
	return Step{
		What: "real-server: listen",
		Do:   func(_ context.Context, l *Lab) error { return l.service.listen() },
	}
}

// backlog is the length of a queue that is meant to overflow: one more than it says has room in it.
const backlog = 1

// fillAcceptQueue replaces the service by one that accepts nothing, and has the real server connect to itself.
func fillAcceptQueue() Step {
	return Step{
		What: "real-server: fill the accept queue",
		Do: func(_ context.Context, l *Lab) error {
			if err := l.service.listenDeaf(Port, backlog); err != nil {
				return err
			}
			return l.service.connect(Port, backlog+1)
		},
	}
}

// handshakes is the room for handshakes that a service has whose queue of them is to overflow.
const handshakes = 8

// fillSYNQueue leaves the service room for few handshakes, and begins more than that.
func fillSYNQueue() Step {
	return Step{
		What: "real-server: fill the SYN queue",
		Do: func(_ context.Context, l *Lab) error {
			err := errors.Join(l.service.stop(), l.service.listen())
			if err != nil {
				return err
			}
			err = setBacklog(l.service.tcp.(*net.TCPListener), handshakes)
			for range handshakes + 3 {
				err = errors.Join(err, l.send(Client, halfOpen(int(l.frames.Add(1)))))
			}
			return err
		},
	}
}

// fillReceiveBuffer replaces the service by one that reads no datagrams, and has the real server send it some.
func fillReceiveBuffer() Step {
	return Step{
		What: "real-server: fill the receive buffer",
		Do:   func(_ context.Context, l *Lab) error { return l.service.stuff() },
	}
}

// keepConnections has the real server hold connections to itself, on another port.
func keepConnections(n int) Step {
	return Step{
		What: fmt.Sprintf("real-server: %d connections to itself", n),
		Do: func(_ context.Context, l *Lab) error {
			return errors.Join(l.service.stop(), l.service.listen(), l.service.listenDeaf(otherPort, n), l.service.connect(otherPort, n))
		},
	}
}

// otherPort is nobody's concern.
const otherPort = 8080

// listenDeaf opens a TCP socket that nobody accepts from. One on the service's port takes the service's place.
func (s *service) listenDeaf(port, backlog int) error {
	if port == Port {
		if err := s.stop(); err != nil {
			return err
		}
	}
	return s.node.Do(func() error {
		l, err := freebind().Listen(context.Background(), "tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			return err
		}
		s.held = append(s.held, l)
		return setBacklog(l.(*net.TCPListener), backlog)
	})
}

// connect makes connections from the real server to its own address: not to the VIP, which is being watched.
func (s *service) connect(port, n int) error {
	return s.node.Do(func() error {
		for range n {
			c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(RealServerAddr, uint16(port)).String(), serviceDeadline)
			if err != nil {
				return err
			}
			s.held = append(s.held, c)
		}
		return nil
	})
}

// serveAlso has a second service, on another node, until the first one is opened or closed again.
func serveAlso(r Role, at netip.AddrPort) Step {
	return Step{
		What: fmt.Sprintf("%s: serve on %s", r, at),
		Do: func(_ context.Context, l *Lab) error {
			if err := errors.Join(l.service.stop(), l.service.listen()); err != nil {
				return err
			}
			return l.service.also(l.Node(r), at)
		},
	}
}

func (s *service) also(n *Node, at netip.AddrPort) error {
	return n.Do(func() error {
		tcp, err := net.Listen("tcp4", at.String())
		if err != nil {
			return err
		}
		udp, err := net.ListenPacket("udp4", at.String())
		if err != nil {
			return errors.Join(err, tcp.Close())
		}
		s.held = append(s.held, tcp, udp)
		s.busy.Go(func() { s.accept(tcp) })
		s.busy.Go(func() { s.echo(udp) })
		return nil
	})
}

// stuff replaces the service by a UDP socket with the smallest buffer there is, full of what nobody reads.
func (s *service) stuff() error {
	if err := s.stop(); err != nil {
		return err
	}
	return s.node.Do(func() error {
		p, err := net.ListenUDP("udp4", &net.UDPAddr{Port: Port})
		if err != nil {
			return err
		}
		s.held = append(s.held, p)
		if err := p.SetReadBuffer(1); err != nil {
			return err
		}
		c, err := net.Dial("udp4", netip.AddrPortFrom(RealServerAddr, Port).String())
		if err != nil {
			return err
		}
		defer c.Close()
		for range 16 {
			if _, err := c.Write(make([]byte, 1000)); err != nil {
				return err
			}
		}
		return nil
	})
}

// listenElsewhere replaces the service by one that is bound to another address, or to a device.
func listenElsewhere(addr netip.Addr, dev string) Step {
	return Step{
		What: fmt.Sprintf("real-server: listen on %s %s", addr, dev),
		Do: func(_ context.Context, l *Lab) error {
			s := l.service
			if err := s.stop(); err != nil {
				return err
			}
			at := netip.AddrPortFrom(addr, Port).String()
			return s.node.Do(func() error {
				config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
					return control(c, func(fd int) error { return unix.BindToDevice(fd, dev) })
				}}
				tcp, err := config.Listen(context.Background(), "tcp4", at)
				if err != nil {
					return err
				}
				s.held = append(s.held, tcp)
				udp, err := config.ListenPacket(context.Background(), "udp4", at)
				if err == nil {
					s.held = append(s.held, udp)
				}
				return err
			})
		},
	}
}
