package fault

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

func addServices() lab.Step {
	return directorStep("add services", lab.AddService)
}

func removeServices() lab.Step {
	return directorStep("remove services", func(h *ipvs.Handle, proto uint16) error {
		if s := lab.VirtualService(proto); h.IsServicePresent(s) {
			return h.DelService(s)
		}
		return nil
	})
}

// weigh gives the real server a weight.
func weigh(weight int) lab.Step {
	return directorStep(fmt.Sprintf("weight %d", weight), func(h *ipvs.Handle, proto uint16) error {
		d := lab.Destination()
		d.Weight = weight
		return h.UpdateDestination(lab.VirtualService(proto), d)
	})
}

// sendBy has IPVS send new connections to the real server by another method.
func sendBy(method uint32) lab.Step {
	return directorStep(fmt.Sprintf("method %d", method), func(h *ipvs.Handle, proto uint16) error {
		d := lab.Destination()
		d.ConnectionFlags = method
		return h.UpdateDestination(lab.VirtualService(proto), d)
	})
}

// narrow lets the real server have one connection at a time: with those that IPVS remembers it has more.
func narrow() lab.Step {
	return directorStep("an upper threshold of 1", func(h *ipvs.Handle, proto uint16) error {
		d := lab.Destination()
		d.UpperThreshold = 1
		return h.UpdateDestination(lab.VirtualService(proto), d)
	})
}

// once is one connection and one exchange, whatever becomes of them.
func once() lab.Step {
	return lab.Step{What: "client: a connection and an exchange", Do: func(ctx context.Context, l *lab.Lab) error {
		_, err := l.Traffics(ctx, []lab.Traffic{
			{Proto: lab.TCP, Count: 1, Request: 200, Answer: 200},
			{Proto: lab.UDP, Count: 1, Request: 200, Deadline: 2 * time.Second},
		})
		return err
	}}
}

// usePorts has the client use so many ports, which the next traffic will use again: it does not keep them (TIME_WAIT).
func usePorts(n int) lab.Step {
	return lab.Step{What: fmt.Sprintf("client: %d connections", n), Do: func(ctx context.Context, l *lab.Lab) error {
		return l.RepeatPorts(func() error {
			r, err := l.Traffic(ctx, lab.Traffic{Proto: lab.TCP, Count: n, Request: 200, Answer: 200, Close: lab.ServerFirst})
			return errors.Join(err, r.Saw(lab.Answered))
		})
	}}
}

// leavePorts has later connections use other ports than usePorts did, also where nobody has used those again: the director has
// them in its table, with a real server of a service that is gone, and drops what comes from them (ip_vs_in without
// expire_nodest_conn).
func leavePorts(n int) lab.Step {
	return lab.Step{What: fmt.Sprintf("client: leave %d ports", n), Do: func(_ context.Context, l *lab.Lab) error {
		l.LeavePorts(n)
		return nil
	}}
}

// silence lets time go by.
func silence(d time.Duration) lab.Step {
	return lab.Step{What: "wait " + d.String(), Do: func(ctx context.Context, _ *lab.Lab) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// removeDestination takes the real server out of both services.
func removeDestination() lab.Step { return removeDestinationOf(lab.Transports...) }

// removeDestinationOf takes it out of the services of those protocols.
func removeDestinationOf(protos ...uint16) lab.Step {
	return directorStep("remove the real server", func(h *ipvs.Handle, proto uint16) error {
		if !slices.Contains(protos, proto) {
			return nil
		}
		if err := h.DelDestination(lab.VirtualService(proto), lab.Destination()); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}

// directorStep does something for both services.
func directorStep(what string, do func(h *ipvs.Handle, proto uint16) error) lab.Step {
	return lab.Step{What: "director: " + what, Do: func(_ context.Context, l *lab.Lab) error { return l.EachService(do) }}
}
