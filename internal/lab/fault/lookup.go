package fault

import (
	"slices"

	"ipiptrace/internal/lab"
)

// What routing faults of this file mark packets with, the table for them, and a device without carrier.
const (
	routeMark  = "7"
	markTable  = "100"
	spare      = "spare0"
	spareOther = "spare1"
)

// lookupFaults are routes that are found, or not, by more than addresses: by a mark, a VRF, a socket's owner, a carrier;
// and scenarios that only look so.
func lookupFaults() []Scenario {
	return []Scenario{
		{
			Name:    "rp-filter-mark",
			Summary: "A rule has marked packets' way back by tunl0, and marks do not count for the reverse-path filter.",
			Code:    "rp-filter",
			Inject:  byMark("0"),
			Undo:    notByMark(),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "dropped", Functions: atSource, Reasons: []string{"IP_RPFILTER"}, Dev: "tunl0"}),
			Counts:  []Count{{lab.RealServer, "TcpExt:", "IPReversePathFilter"}},
		},
		{
			Name:    "healthy-valid-mark",
			Summary: "As rp-filter-mark, but that src_valid_mark lets marks count: nothing is wrong.",
			Inject:  byMark("1"),
			Undo:    notByMark(),
			Traffic: expect(lab.Answered),
		},
		{
			Name:    "mark-return",
			Summary: "A rule marks what is tunnelled, listeners answer with that mark (tcp_fwmark_accept), and a routing rule prohibits what has it.",
			Code:    "no-return-route",
			Inject:  prohibitMark("iifname eth0 ip protocol 4"),
			Undo:    notProhibitMark(),
			Traffic: only(lab.TCP, expect(lab.TimedOut)),
			Losses:  []Loss{refusedSYN()},
		},
		{
			Name:    "healthy-mark-others",
			Summary: "As mark-return, but that what another director tunnels is marked: nothing is wrong.",
			Inject:  prohibitMark("iifname eth0 ip saddr 192.0.2.2 ip protocol 4"),
			Undo:    notProhibitMark(),
			Traffic: expect(lab.Answered),
		},
		{
			Name:    "rule-return-owner",
			Summary: "A routing rule prohibits what sockets of root send to the client.",
			Code:    "no-return-route",
			Inject:  []lab.Step{ownersRule("0-0", "prohibit")},
			Undo:    []lab.Step{noOwnersRule()},
			Traffic: expect(lab.TimedOut),
			Losses:  unanswerable(),
		},
		{
			Name:    "healthy-rule-owner",
			Summary: "A routing rule prohibits what sockets of another user than the service's send: nothing is wrong.",
			Inject:  []lab.Step{ownersRule("4000000-4000001", "prohibit")},
			Undo:    []lab.Step{noOwnersRule()},
			Traffic: expect(lab.Answered),
		},
		{
			Name:    "vrf-no-return",
			Summary: "tunl0 belongs to a VRF, in which the service answers, and its table has no route to the client.",
			Code:    "no-return-route",
			Inject:  answersInVRF(run(lab.RealServer, "ip", "route", "del", "10.0.0.0/24", "dev", "eth0", "table", vrfTable)),
			Undo:    answersNowhere(),
			Traffic: only(lab.TCP, expect(lab.TimedOut)),
			Losses:  []Loss{refusedSYN()},
		},
		{
			Name:    "healthy-vrf-return",
			Summary: "tunl0 belongs to a VRF, whose table has a route to the client: nothing is wrong.",
			Inject:  answersInVRF(),
			Undo:    answersNowhere(),
			Traffic: only(lab.TCP, expect(lab.Answered)),
		},
		{
			Name:    "no-carrier-return",
			Summary: "The only route to the client is by a device without carrier, and those are not used.",
			Code:    "no-return-route",
			Inject: []lab.Step{
				unless("File exists", run(lab.RealServer, "ip", "link", "add", spare, "type", "veth", "peer", "name", spareOther)),
				linkUp(lab.RealServer, spare),
				sysctl(lab.RealServer, "net/ipv4/conf/"+spare+"/ignore_routes_with_linkdown", "1"), // 5.10 knows no "all" for it
				run(lab.RealServer, "ip", "route", "replace", lab.ClientAddr.String(), "dev", spare),
				unless("No such process", run(lab.RealServer, "ip", "route", "del", "10.0.0.0/24", "dev", "eth0")),
			},
			Undo:    []lab.Step{routeRealServer(), linkGone(lab.RealServer, spare)},
			Traffic: expect(lab.TimedOut),
			Losses:  unanswerable(),
		},
	}
}

// byMark marks what is tunnelled, and has a rule for that mark lead to the client by tunl0; the mark counts for the
// reverse-path filter, or not.
func byMark(counts string) []lab.Step {
	return []lab.Step{
		nftIn(lab.RealServer, "ip", "chain early { type filter hook prerouting priority -150; iifname eth0 ip protocol 4 meta mark set "+routeMark+"; }"),
		run(lab.RealServer, "ip", "route", "replace", lab.ClientAddr.String(), "dev", "tunl0", "table", markTable),
		unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "10", "fwmark", routeMark, "lookup", markTable)),
		sysctl(lab.RealServer, "net/ipv4/conf/tunl0/src_valid_mark", counts),
		sysctl(lab.RealServer, "net/ipv4/conf/tunl0/rp_filter", "1"),
	}
}

func notByMark() []lab.Step {
	return append(rpFilterOff(),
		sysctl(lab.RealServer, "net/ipv4/conf/tunl0/src_valid_mark", "0"),
		unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10")),
		unless("does not exist", unless("No such process", run(lab.RealServer, "ip", "route", "del", lab.ClientAddr.String(), "dev", "tunl0", "table", markTable))),
		nftGone(lab.RealServer, "ip"),
	)
}

// prohibitMark marks some packets, has listeners answer with the mark, and prohibits such answers.
func prohibitMark(which string) []lab.Step {
	return []lab.Step{
		nftIn(lab.RealServer, "ip", "chain early { type filter hook prerouting priority -150; "+which+" meta mark set "+routeMark+"; }"),
		unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "10", "fwmark", routeMark, "prohibit")),
		sysctl(lab.RealServer, "net/ipv4/tcp_fwmark_accept", "1"),
	}
}

func notProhibitMark() []lab.Step {
	return []lab.Step{
		sysctl(lab.RealServer, "net/ipv4/tcp_fwmark_accept", "0"),
		unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10")),
		nftGone(lab.RealServer, "ip"),
	}
}

// ownersRule is a rule for what sockets of some users send to the client.
func ownersRule(users, action string) lab.Step {
	return unless("File exists", run(lab.RealServer, "ip", "rule", "add", "pref", "10", "to", lab.ClientAddr.String(), "uidrange", users, action))
}

func noOwnersRule() lab.Step {
	return unless("No such file", run(lab.RealServer, "ip", "rule", "del", "pref", "10"))
}

// answersInVRF puts tunl0 into a VRF in which the service answers, whose table refuses what it has no route for.
func answersInVRF(routes ...lab.Step) []lab.Step {
	return slices.Concat(intoVRF(), []lab.Step{
		sysctl(lab.RealServer, "net/ipv4/tcp_l3mdev_accept", "1"), sysctl(lab.RealServer, "net/ipv4/udp_l3mdev_accept", "1"),
		run(lab.RealServer, "ip", "route", "replace", "unreachable", "default", "metric", "8192", "table", vrfTable),
	}, routes)
}

func answersNowhere() []lab.Step {
	return append([]lab.Step{
		unless("does not exist", unless("No such process", run(lab.RealServer, "ip", "route", "del", "unreachable", "default", "metric", "8192", "table", vrfTable))),
	}, outOfVRF()...)
}
