package diagnose

import (
	"fmt"
	"net/netip"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// ipvsadm replaces a whole service (-E) or a whole real server (-e): it resets what the command does not name. So a command
// names everything that must stay.

// serviceName names a service as an option of ipvsadm: `-t ADDRESS:PORT`, `-u …`, `-f MARK`.
func serviceName(v host.Service) command.Part {
	if v.Mark != 0 {
		return command.Say("-f").And(command.Number(v.Mark))
	}
	return serviceFlag[v.Proto].And(command.Endpoint(v.Addr))
}

// called names a service as ipvsadm -Ln does, without its protocol.
func called(v *host.Service) string {
	if v.Mark != 0 {
		return fmt.Sprintf("FWM %d", v.Mark)
	}
	return v.Addr.String()
}

// protocol is that of a service for an address.
func protocol(v *host.Service) string {
	return map[uint8]string{protoTCP: "tcp", protoUDP: "udp"}[v.Proto]
}

// serviceFlag is by protocol; methodName is how ipvsadm -Ln names methods.
var (
	serviceFlag = map[uint8]command.Part{protoTCP: command.Say("-t"), protoUDP: command.Say("-u")}
	methodName  = map[string]string{"masq": "Masq", "tunnel": "Tunnel", "route": "Route", "local": "Local", "bypass": "Bypass"}
)

// methodFlags are the options of a real server's method, with how its tunnel encapsulates.
func methodFlags(d host.Destination) command.Part {
	switch d.Method {
	case "masq":
		return command.Say("-m")
	case "route", "local", "bypass":
		return command.Say("-g")
	case "tunnel":
		return command.Say("-i").And(tunnelFlags(d))
	}
	return command.OneOf("the method", d.Method)
}

// tunnelFlags are none for IPIP, which is ipvsadm's default.
func tunnelFlags(d host.Destination) command.Part {
	sums, known := map[uint16]command.Part{0: command.Say(""), 1: command.Say("--tun-csum"), 2: command.Say("--tun-remcsum")}[d.TunFlags]
	switch {
	case d.TunType == "", d.TunType == "ipip":
		return command.Say("")
	case d.TunType == "gue" && known:
		return command.Say("--tun-type gue --tun-port").And(command.Number(d.TunPort), sums)
	case d.TunType == "gre" && known:
		return command.Say("--tun-type gre").And(sums)
	}
	return command.OneOf("how the tunnel encapsulates", d.TunType)
}

// thresholds are the options for a real server's thresholds; none if it has none.
func thresholds(d host.Destination) command.Part {
	p := command.Say("")
	if d.Upper != 0 {
		p = p.And(command.Say("-x"), command.Number(d.Upper))
	}
	if d.Lower != 0 {
		p = p.And(command.Say("-y"), command.Number(d.Lower))
	}
	return p
}

// weigh is `ipvsadm -e` that gives a real server a weight, and what it does to the service.
func weigh(v host.Service, d host.Destination, weight int32) (command.Fix, func(*State)) {
	fix := command.Of("ipvsadm -e % -r % % -w % %", serviceName(v), command.Endpoint(d.Addr), methodFlags(d), command.Number(weight), thresholds(d))
	return fix, changeDestination(v, d, func(d *host.Destination) { d.Weight = weight })
}

// retunnel is `ipvsadm -e` that gives a real server the method of tunnels.
func retunnel(v host.Service, d host.Destination) (command.Fix, func(*State)) {
	fix := command.Of("ipvsadm -e % -r % -i -w % %", serviceName(v), command.Endpoint(d.Addr), command.Number(d.Weight), thresholds(d))
	return fix, changeDestination(v, d, func(d *host.Destination) { d.Method, d.TunType, d.TunPort, d.TunFlags = "tunnel", "ipip", 0, 0 })
}

// relieve is `ipvsadm -e` that takes a real server's thresholds away.
func relieve(v host.Service, d host.Destination) (command.Fix, func(*State)) {
	fix := command.Of("ipvsadm -e % -r % % -w % -x 0", serviceName(v), command.Endpoint(d.Addr), methodFlags(d), command.Number(d.Weight))
	return fix, changeDestination(v, d, func(d *host.Destination) { d.Upper, d.Lower = 0, 0 })
}

// lift gives a real server that is full room for more: its thresholds go, or, where the weight is the limit, it doubles.
func lift(v host.Service, d host.Destination) (command.Fix, func(*State)) {
	if full(d) {
		return relieve(v, d)
	}
	return weigh(v, d, int32(min(2*max(int64(d.Weight), int64(d.Active)), 1<<30)))
}

// fallBack is `ipvsadm -E` that lets a scheduler that hashes take another real server.
func fallBack(v host.Service) (command.Fix, func(*State)) {
	flags := map[string][2]command.Part{
		"sh": {command.Say("sh-fallback"), command.Say("sh-fallback,sh-port")},
		"mh": {command.Say("mh-fallback"), command.Say("mh-fallback,mh-port")},
	}[v.Scheduler]
	ported := 0
	if v.Flags&host.ServicePort != 0 {
		ported = 1
	}
	rest := command.Say("")
	if v.Flags&host.ServicePersistent != 0 {
		rest = rest.And(command.Say("-p"), command.Number(v.Timeout))
		if v.Netmask.IsValid() && v.Netmask != oneClient {
			rest = rest.And(command.Say("-M"), command.Address(v.Netmask))
		}
		if v.Engine != "" {
			rest = rest.And(command.Say("--pe"), command.OneOf("the persistence engine", v.Engine, "sip"))
		}
	}
	if v.Flags&host.ServiceOnePacket != 0 {
		rest = rest.And(command.Say("-o"))
	}
	fix := command.Of("ipvsadm -E % -s % -b % %", serviceName(v), command.OneOf("the scheduler", v.Scheduler, "sh", "mh"), flags[ported], rest)
	return fix, changeService(v, func(v *host.Service) { v.Flags |= host.ServiceFallback })
}

// oneClient is the netmask with which persistence takes each address for a client of its own.
var oneClient = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// changeDestination is `ipvsadm -e` of one real server.
func changeDestination(of host.Service, which host.Destination, change func(*host.Destination)) func(*State) {
	return changeService(of, func(v *host.Service) {
		for i := range v.Destinations {
			if v.Destinations[i].Addr == which.Addr {
				change(&v.Destinations[i])
			}
		}
	})
}
