// Package lab builds a real client – director – real server in network namespaces and sends real traffic
// through it. What breaks it is a fault's: see internal/lab/fault.
//
//	client eth0 10.0.0.7 ─┐
//	director eth0 10.0.0.2 ├─ br0 (switch)      request: client → director ═ IPIP ═► real server
//	real server eth0 10.0.0.11 ┘                reply:   real server → client, directly
//
// The VIP is on the director's lo, where IPVS takes it in TUN mode, and on the real server's tunl0.
// The namespaces have no names: they, their devices and all that was set up in them die with the process.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port is the service's port, for TCP and UDP.
const Port = 80

// The lab's addresses. They are the same in every lab: each has namespaces of its own.
var (
	VIP        = netip.MustParseAddr("10.99.0.1")
	ClientAddr = netip.MustParseAddr("10.0.0.7")
	// DirectorAddr is the source of the outer header.
	DirectorAddr = netip.MustParseAddr("10.0.0.2")
	// RealServerAddr is the destination of the outer header.
	RealServerAddr = netip.MustParseAddr("10.0.0.11")
)

// Lab is a built lab. Its methods are to be called by one goroutine at a time.
type Lab struct {
	Client, Director, RealServer, Switch *Node
	// Service is what the real server serves.
	Service *Service

	// cpus are those that the process could use before it was pinned.
	cpus unix.CPUSet
	// frames counts crafted packets: see NextFrame.
	frames atomic.Uint32
	// ports counts the client's connections and exchanges: see Lab.dialer.
	ports atomic.Uint32
	// found is what a fault of the whole machine has changed, as it was before.
	found map[string]string
}

// Build builds a lab in which everything works. It loads the kernel modules that it needs
// (MissingModuleError) and needs root (ErrNotPermitted); nothing is left behind if it returns an error.
// Until Close the process is on one CPU.
func Build(ctx context.Context) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, ErrNotPermitted
	}
	if err := loadModules(ctx, modules); err != nil {
		return nil, err
	}
	l := &Lab{found: map[string]string{}}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build() error {
	steps := []struct {
		what string
		do   func() error
	}{
		{"pin to one CPU", l.pin},
		{"make namespaces", l.makeNodes},
		{"connect namespaces", l.wire},
		{"route on the client", l.RouteClient},
		{"route on the real server", l.RouteRealServer},
		{"set up IPVS", l.direct},
		{"set up tunl0", l.BindVIP},
		{"serve", l.serve},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

func (l *Lab) makeNodes() error {
	for _, n := range []struct {
		at   **Node
		role Role
	}{{&l.Client, Client}, {&l.Director, Director}, {&l.RealServer, RealServer}, {&l.Switch, Switch}} {
		node, err := newNode(n.role)
		if err != nil {
			return err
		}
		*n.at = node
	}
	return nil
}

func (l *Lab) serve() (err error) {
	l.Service, err = startService(l.RealServer)
	return err
}

// Node is the namespace that plays the role.
func (l *Lab) Node(r Role) *Node {
	return map[Role]*Node{Client: l.Client, Director: l.Director, RealServer: l.RealServer, Switch: l.Switch}[r]
}

// Namespaces has a path for each namespace a person may want to look into; valid until Close.
// The paths work as --netns PATH and with nsenter --net=PATH.
func (l *Lab) Namespaces() map[Role]string {
	paths := map[Role]string{}
	for _, r := range []Role{Client, Director, RealServer} {
		paths[r] = l.Node(r).Path()
	}
	return paths
}

// Step is one change to a lab that is already built. Repeated it changes nothing more.
type Step struct {
	// What says what changes, for people.
	What string
	Do   func(context.Context, *Lab) error
}

// Apply does one step after the other, to the first error.
func (l *Lab) Apply(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if err := s.Do(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", s.What, err)
		}
	}
	return nil
}

// Remember keeps how the machine was before a step changed it, unless that is known already.
func (l *Lab) Remember(what, was string) {
	if _, ok := l.found[what]; !ok {
		l.found[what] = was
	}
}

// Recall is what Remember keeps, once; ok is false if nothing was changed.
func (l *Lab) Recall(what string) (was string, ok bool) {
	was, ok = l.found[what]
	delete(l.found, what)
	return was, ok
}

// Close ends the service and lets go of the namespaces, which ends them. It is safe on a half-built lab.
func (l *Lab) Close() error {
	errs := []error{l.unpin()}
	if l.Service != nil {
		errs = append(errs, l.Service.close())
	}
	for _, r := range []Role{Client, Director, RealServer, Switch} {
		if n := l.Node(r); n != nil {
			errs = append(errs, n.close())
		}
	}
	return errors.Join(errs...)
}

// Links opens rtnetlink in the node's namespace for f.
func (n *Node) Links(f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandleAt(n.handle)
	if err != nil {
		return fmt.Errorf("open rtnetlink in %s: %w", n.Role, err)
	}
	defer h.Close()
	return f(h)
}
