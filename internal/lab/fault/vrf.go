package fault

import "ipiptrace/internal/lab"

// vrf is a device that makes its slaves a routing domain of their own, with that table.
const (
	vrf      = "vrf0"
	vrfTable = "10"
)

// vrfFaults are those of a real server whose tunnel belongs to a VRF.
func vrfFaults() []Scenario {
	return []Scenario{
		{
			Name:    "listener-outside-vrf",
			Summary: "tunl0 belongs to a VRF, and the service does not.",
			Code:    "listener-wrong-device",
			Inject:  intoVRF(),
			Undo:    outOfVRF(),
			Traffic: expect(lab.Refused),
			Losses:  unheard("tunl0"),
		},
	}
}

// intoVRF makes tunl0 part of a VRF whose table has the way to the client.
func intoVRF() []lab.Step {
	return []lab.Step{
		unless("File exists", run(lab.RealServer, "ip", "link", "add", vrf, "type", "vrf", "table", vrfTable)),
		linkUp(lab.RealServer, vrf),
		unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "1000", "l3mdev")), // the first VRF makes it, later ones don't
		run(lab.RealServer, "ip", "link", "set", "tunl0", "master", vrf),
		run(lab.RealServer, "ip", "route", "replace", "10.0.0.0/24", "dev", "eth0", "table", vrfTable),
	}
}

// outOfVRF undoes that, and what lets a service outside the VRF have its packets.
func outOfVRF() []lab.Step {
	return []lab.Step{
		sysctl(lab.RealServer, "net/ipv4/tcp_l3mdev_accept", "0"),
		sysctl(lab.RealServer, "net/ipv4/udp_l3mdev_accept", "0"),
		run(lab.RealServer, "ip", "link", "set", "tunl0", "nomaster"),
		unless("does not exist", unless("No such process", run(lab.RealServer, "ip", "route", "del", "10.0.0.0/24", "dev", "eth0", "table", vrfTable))),
		linkGone(lab.RealServer, vrf),
		unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "1000", "l3mdev")),
		giveAddr(lab.RealServer, "tunl0", lab.VIP),
	}
}
