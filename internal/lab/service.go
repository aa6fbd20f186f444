package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A request begins with its header; the rest of it, and the whole answer, is payload of no meaning.
// Over UDP a request is one datagram and so is the answer.
type header struct {
	// Request is the request's length in bytes, header included; Answer that of the answer.
	Request, Answer uint32
	// ServerFirst: the server closes the connection first.
	ServerFirst bool
	_           [3]byte
}

const headerLen = 12

// ServiceDeadline bounds every connection: a client that vanished must not hold the server.
const ServiceDeadline = 30 * time.Second

// Service is the application on the real server. It is there or it is not: Listen, Stop.
type Service struct {
	node *Node
	tcp  net.Listener
	udp  net.PacketConn
	// held are sockets that a fault needs in place of those, or beside them.
	held []io.Closer
	busy sync.WaitGroup
	// open are the connections that it serves, answered when it last answered a datagram, by the client's port.
	open, answered sync.Map
}

func startService(n *Node) (*Service, error) {
	s := &Service{node: n}
	return s, s.Listen()
}

// Listen opens both sockets in the node's namespace, in place of a fault's if they are not open yet.
// The UDP socket is bound to the VIP, because an answer must come from it; Freebind lets it
// start while the VIP is missing.
func (s *Service) Listen() error {
	if s.tcp != nil {
		return nil
	}
	if err := s.Stop(); err != nil {
		return err
	}
	err := s.node.Do(func() (err error) {
		s.tcp, err = Freebind().Listen(context.Background(), "tcp4", fmt.Sprintf("0.0.0.0:%d", Port))
		if err != nil {
			return err
		}
		return onceFree(func() (err error) {
			s.udp, err = Freebind().ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(VIP, Port).String())
			return err
		})
	})
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), s.Stop())
	}
	// The goroutines keep the sockets that were opened for them: Stop may come before they begin.
	tcp, udp := s.tcp, s.udp
	s.busy.Go(func() { s.accept(tcp) })
	s.busy.Go(func() { s.echo(udp) })
	return nil
}

// onceFree listens again while the port is in use: a thread that polls a socket keeps it open for a moment after it
// was closed, if the kernel preempts it there.
func onceFree(listen func() error) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if err := listen(); !errors.Is(err, unix.EADDRINUSE) || time.Since(began) > time.Second {
			return err
		}
	}
}

// Freebind makes sockets that may be bound to an address that is not there. They are TCP's, not Multipath TCP's,
// which take few options.
func Freebind() *net.ListenConfig {
	config := &net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return Control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1) })
	}}
	config.SetMultipathTCP(false)
	return config
}

// Control does something to a socket.
func Control(c syscall.RawConn, do func(fd int) error) error {
	var err error
	if broken := c.Control(func(fd uintptr) { err = do(int(fd)) }); broken != nil {
		return broken
	}
	return err
}

// DeferAccept has the service wait that long for data before it takes a connection; 0: not at all.
func (l *Lab) DeferAccept(d time.Duration) error {
	c, err := l.Service.tcp.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	return Control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(d.Seconds()))
	})
}

// Stop closes all sockets; connections that are open end by themselves, but a fault's.
func (s *Service) Stop() error {
	var errs []error
	if s.tcp != nil {
		errs = append(errs, s.tcp.Close())
	}
	if s.udp != nil {
		errs = append(errs, s.udp.Close())
	}
	for _, h := range s.held {
		errs = append(errs, h.Close())
	}
	s.tcp, s.udp, s.held = nil, nil, nil
	return errors.Join(errs...)
}

// Restart closes all sockets, a fault's too, and opens the service's own.
func (s *Service) Restart() error { return errors.Join(s.Stop(), s.Listen()) }

// Hold keeps sockets, or whatever else a fault needs, open until the service starts or stops.
func (s *Service) Hold(all ...io.Closer) { s.held = append(s.held, all...) }

// Also answers on two more sockets until the service starts or stops.
func (s *Service) Also(tcp net.Listener, udp net.PacketConn) {
	s.Hold(tcp, udp)
	s.busy.Go(func() { s.accept(tcp) })
	s.busy.Go(func() { s.echo(udp) })
}

// Sockets are the two that Listen has opened.
func (s *Service) Sockets() (*net.TCPListener, *net.UDPConn) {
	return s.tcp.(*net.TCPListener), s.udp.(*net.UDPConn)
}

// Connections are those that it serves just now.
func (s *Service) Connections() (all []*net.TCPConn) {
	s.open.Range(func(c, _ any) bool {
		all = append(all, c.(*net.TCPConn))
		return true
	})
	return all
}

func (s *Service) close() error {
	err := s.Stop()
	s.busy.Wait()
	return err
}

func (s *Service) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		s.busy.Go(func() {
			s.open.Store(c, nil)
			answer(c.(*net.TCPConn))
			s.open.Delete(c)
		})
	}
}

// answer serves one connection. Who closes first is the client's wish; either way both sides read to
// the end of the other's stream, so that the connection ends with FINs and not with a reset.
func answer(c *net.TCPConn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(ServiceDeadline))
	var h header
	if binary.Read(c, binary.BigEndian, &h) != nil {
		return
	}
	if _, err := io.CopyN(io.Discard, c, int64(h.Request)-headerLen); err != nil {
		return
	}
	if _, err := c.Write(make([]byte, h.Answer)); err != nil {
		return
	}
	if h.ServerFirst {
		c.CloseWrite()
	}
	io.Copy(io.Discard, c)
}

// echo answers datagrams with themselves, and notes by when it had.
func (s *Service) echo(p net.PacketConn) {
	b := make([]byte, 64<<10)
	for {
		n, from, err := p.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.WriteTo(b[:n], from)
			s.answered.Store(from.(*net.UDPAddr).Port, time.Now())
		}
	}
}

// Answered is when the service last answered a datagram from a port of the client, or tried to; ok is false if it never did.
func (l *Lab) Answered(port int) (at time.Time, ok bool) {
	last, ok := l.Service.answered.Load(port)
	if ok {
		at = last.(time.Time)
	}
	return at, ok
}
