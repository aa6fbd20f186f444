package lab

import (
	"fmt"

	"github.com/moby/ipvs"
	"golang.org/x/sys/unix"
)

// Transports are the protocols of the service.
var Transports = []uint16{unix.IPPROTO_TCP, unix.IPPROTO_UDP}

// EachService does something for the service of each of Transports, in the director's namespace.
func (l *Lab) EachService(do func(h *ipvs.Handle, proto uint16) error) error {
	return l.Director.Do(func() error {
		h, err := ipvs.New("")
		if err != nil {
			return err
		}
		defer h.Close()
		for _, proto := range Transports {
			if err := do(h, proto); err != nil {
				return fmt.Errorf("service of protocol %d: %w", proto, err)
			}
		}
		return nil
	})
}

// AddService has IPVS tunnel the service to the real server; it does nothing if it is there.
func AddService(h *ipvs.Handle, proto uint16) error {
	s := VirtualService(proto)
	if h.IsServicePresent(s) {
		return nil
	}
	if err := h.NewService(s); err != nil {
		return fmt.Errorf("add: %w", err)
	}
	return h.NewDestination(s, Destination())
}

// VirtualService is the service of that protocol, as IPVS has it.
func VirtualService(proto uint16) *ipvs.Service {
	return &ipvs.Service{
		Address: VIP.AsSlice(), Port: Port, Protocol: proto,
		AddressFamily: unix.AF_INET, Netmask: 0xffffffff, SchedName: ipvs.RoundRobin,
	}
}

// Destination is the real server, as IPVS has it: by IPIP.
func Destination() *ipvs.Destination {
	return &ipvs.Destination{
		Address: RealServerAddr.AsSlice(), Port: Port, AddressFamily: unix.AF_INET,
		Weight: 1, ConnectionFlags: ipvs.ConnectionFlagTunnel,
	}
}
