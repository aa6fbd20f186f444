package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

// transports are the protocols of the service.
var transports = []uint16{unix.IPPROTO_TCP, unix.IPPROTO_UDP}

func addServices() Step {
	return directorStep("add services", addService)
}

func removeServices() Step {
	return directorStep("remove services", func(h *ipvs.Handle, proto uint16) error {
		if s := virtualService(proto); h.IsServicePresent(s) {
			return h.DelService(s)
		}
		return nil
	})
}

// weigh gives the real server a weight.
func weigh(weight int) Step {
	return directorStep(fmt.Sprintf("weight %d", weight), func(h *ipvs.Handle, proto uint16) error {
		d := destination()
		d.Weight = weight
		return h.UpdateDestination(virtualService(proto), d)
	})
}

// sendBy has IPVS send new connections to the real server by another method.
func sendBy(method uint32) Step {
	return directorStep(fmt.Sprintf("method %d", method), func(h *ipvs.Handle, proto uint16) error {
		d := destination()
		d.ConnectionFlags = method
		return h.UpdateDestination(virtualService(proto), d)
	})
}

// narrow lets the real server have one connection at a time: with those that IPVS remembers it has more.
func narrow() Step {
	return directorStep("an upper threshold of 1", func(h *ipvs.Handle, proto uint16) error {
		d := destination()
		d.UpperThreshold = 1
		return h.UpdateDestination(virtualService(proto), d)
	})
}

// once is one connection and one exchange, whatever becomes of them.
func once() Step {
	return Step{What: "client: a connection and an exchange", Do: func(ctx context.Context, l *Lab) error {
		_, err := l.Traffics(ctx, []Traffic{
			{Proto: TCP, Count: 1, Request: 200, Answer: 200},
			{Proto: UDP, Count: 1, Request: 200, Deadline: 2 * time.Second},
		})
		return err
	}}
}

// usePorts has the client use so many ports, which the next traffic will use again: it does not keep them (TIME_WAIT).
func usePorts(n int) Step {
	return Step{What: fmt.Sprintf("client: %d connections", n), Do: func(ctx context.Context, l *Lab) error {
		before := l.ports.Load()
		r, err := l.Traffic(ctx, Traffic{Proto: TCP, Count: n, Request: 200, Answer: 200, Close: ServerFirst})
		l.ports.Store(before)
		return errors.Join(err, r.Saw(Answered))
	}}
}

// silence lets time go by.
func silence(d time.Duration) Step {
	return Step{What: "wait " + d.String(), Do: func(ctx context.Context, _ *Lab) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// removeDestination takes the real server out of both services.
func removeDestination() Step { return removeDestinationOf(transports...) }

// removeDestinationOf takes it out of the services of those protocols.
func removeDestinationOf(protos ...uint16) Step {
	return directorStep("remove the real server", func(h *ipvs.Handle, proto uint16) error {
		if !slices.Contains(protos, proto) {
			return nil
		}
		if err := h.DelDestination(virtualService(proto), destination()); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// directorStep does something for both services.
func directorStep(what string, do func(h *ipvs.Handle, proto uint16) error) Step {
	return Step{What: "director: " + what, Do: func(_ context.Context, l *Lab) error { return l.eachService(do) }}
}

func (l *Lab) eachService(do func(h *ipvs.Handle, proto uint16) error) error {
	return l.Director.Do(func() error {
		h, err := ipvs.New("")
		if err != nil {
			return err
		}
		defer h.Close()
		for _, proto := range transports {
			if err := do(h, proto); err != nil {
				return fmt.Errorf("service of protocol %d: %w", proto, err)
			}
		}
		return nil
	})
}

// addService has IPVS tunnel the service to the real server; it does nothing if it is there.
func addService(h *ipvs.Handle, proto uint16) error {
	s := virtualService(proto)
	if h.IsServicePresent(s) {
		return nil
	}
	if err := h.NewService(s); err != nil {
		return fmt.Errorf("add: %w", err)
	}
	return h.NewDestination(s, destination())
}

func virtualService(proto uint16) *ipvs.Service {
	return &ipvs.Service{
		Address: VIP.AsSlice(), Port: Port, Protocol: proto,
		AddressFamily: unix.AF_INET, Netmask: 0xffffffff, SchedName: ipvs.RoundRobin,
	}
}

func destination() *ipvs.Destination {
	return &ipvs.Destination{
		Address: RealServerAddr.AsSlice(), Port: Port, AddressFamily: unix.AF_INET,
		Weight: 1, ConnectionFlags: ipvs.ConnectionFlagTunnel,
	}
}
