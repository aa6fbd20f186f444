package fault

import (
	"context"
	"net/netip"
	"strings"

	"ipiptrace/internal/lab"
)

// Real servers that are not there: IPVS is not to ask them, or nobody answers.
const (
	absent      = "10.0.0.12"
	absentToo   = "10.0.0.14"
	realServer  = "10.0.0.11:80 -i"
	directorOwn = "10.0.0.2:80"
)

// refusedByIPVS is what IPVS finds no real server for.
func refusedByIPVS() []Loss {
	return both(Loss{Fate: "rejected", Functions: netfilter, Reasons: netfilterDrop, Dev: "eth0", Hook: "input", Reject: "icmp 3/3"})
}

// scheduleFaults are those of schedulers that ask one real server for each client. The client's bucket of sh is the
// 115th of 256: of three real servers that have one bucket each in turn, the first one's; of two, too.
func scheduleFaults() []Scenario {
	afresh := []lab.Step{removeServices(), addServices()}
	at := func(name, code, summary string, inject []lab.Step) Scenario {
		return Scenario{
			Name: name, Code: code, Summary: summary, Inject: inject, Undo: afresh, Traffic: expect(lab.Refused), Losses: refusedByIPVS(), At: lab.Director,
		}
	}
	return []Scenario{
		at("sh-at-rest", "ipvs-no-destination", "The director hashes the client to a real server of weight 0 (sh), and asks no other.",
			balance("sh", absent+":80 -i -w 0", realServer, absentToo+":80 -i -w 0")),
		at("dh-at-rest", "ipvs-no-destination", "The director hashes the VIP to a real server of weight 0 (dh), and asks no other.",
			balance("dh", realServer+" -w 0", absent+":80 -i")),
		at("mh-at-rest", "ipvs-no-destination", "The director hashes most clients to a real server that has the weight 0 by now (mh).",
			append(balance("mh", absent+":80 -i -w 100", realServer), toBoth("-e", "-r "+absent+":80 -i -w 0")...)),
		at("sh-overloaded", "ipvs-overloaded", "The director hashes the client to a real server that has as many connections as it may have (sh).",
			append(balance("sh", absent+":80 -i -x 1", realServer, absentToo+":80 -i -x 1"), inVain())),
		{
			Name:    "healthy-sh-another-at-rest",
			Summary: "The director hashes the client to its real server (sh); another one's weight is 0.",
			Inject:  balance("sh", absent+":80 -i -w 0", realServer), Undo: afresh,
			Traffic: expect(lab.Answered), At: lab.Director,
		},
	}
}

// localFaults are those of a director that is its own real server.
func localFaults() []Scenario {
	at := func(name, code, summary string, inject []lab.Step, undo ...lab.Step) Scenario {
		return Scenario{
			Name: name, Code: code, Summary: summary, Inject: inject, Undo: append(undo, removeServices(), addServices()),
			Traffic: expect(lab.Refused), Losses: unheard("eth0"), At: lab.Director,
		}
	}
	elsewhere := netip.AddrPortFrom(lab.DirectorAddr, lab.Port)
	return []Scenario{
		at("local-node-silent", "no-listener", "The director is its own real server, and nobody listens there.", balance("rr", directorOwn+" -i")),
		at("local-node-route", "no-listener", "The director is its own real server, by direct routing, and nobody listens there.", balance("rr", directorOwn+" -g")),
		at("local-node-address", "listener-wrong-address", "The director is its own real server, and what listens there does so on another address.",
			append(balance("rr", directorOwn+" -i"), serveAlso(lab.Director, elsewhere)), stopListening(), listen()),
	}
}

// persistenceFaults keep the client at a real server of weight 0 that is out of reach.
func persistenceFaults() []Scenario {
	leave := func(kept string, before ...lab.Step) []lab.Step {
		steps := append(before, sysctl(lab.Director, "net/ipv4/vs/expire_quiescent_template", "0"))
		steps = append(steps, balance("rr -p 300", kept)...)
		steps = append(steps, inVain())
		steps = append(steps, toBoth("-a", "-r "+realServer)...)
		return append(steps, toBoth("-e", "-r "+kept+" -w 0")...)
	}
	undo := func(steps ...lab.Step) []lab.Step {
		return append(steps, sysctl(lab.Director, "net/ipv4/vs/expire_quiescent_template", "0"), removeServices(), addServices())
	}
	silent := netip.MustParseAddr(absent)
	return []Scenario{
		{
			Name: "persistence-no-route", Code: "ipvs-persistence",
			Summary: "Persistence keeps the client at a real server of weight 0, to which the director has no route any more.",
			Inject:  leave(absent+":80 -i", run(lab.Director, "ip", "route", "replace", "unreachable", absent)),
			Undo:    undo(unless("No such process", run(lab.Director, "ip", "route", "del", "unreachable", absent))),
			Traffic: expectExpired(),
			Losses:  both(Loss{Fate: "rejected", Functions: ipvsTransmit, Reasons: unnamed, Dev: "eth0", Reject: "icmp 3/1"}),
			At:      lab.Director,
		},
		{
			Name: "persistence-no-neighbour", Code: "ipvs-persistence",
			Summary: "Persistence keeps the client at a real server of weight 0 that is switched off.",
			Inject:  leave(absent+":80 -i", bySilentGateway(lab.Director, silent)...),
			Undo:    undo(notBySilentGateway(lab.Director, silent)...),
			Traffic: expect(lab.TimedOut),
			Losses:  both(Loss{Fate: "rejected", Functions: neighbour, Reasons: []string{"NEIGH_FAILED"}, Dev: "eth0", Reject: "icmp 3/1 not sent", Answerless: true}),
			At:      lab.Director,
		},
		{
			Name: "persistence-stopped", Code: "ipvs-persistence",
			Summary: "Persistence keeps the client at a real server of weight 0, the director itself, whose service is stopped.",
			Inject:  leave(directorOwn + " -i"),
			Undo:    undo(),
			Traffic: expect(lab.Refused),
			Losses:  unheard("eth0"),
			At:      lab.Director,
		},
		{
			Name:    "healthy-persistence-at-rest",
			Summary: "Persistence keeps the client at a real server of weight 0, which serves it; others go elsewhere.",
			Inject: append(append(balance("rr -p 300", realServer), once()),
				append(toBoth("-a", "-r "+absent+":80 -i"), toBoth("-e", "-r "+realServer+" -w 0")...)...),
			Undo:    undo(),
			Traffic: expect(lab.Answered), At: lab.Director,
		},
	}
}

// balance replaces both services: with a scheduler, and real servers in that order, as ipvsadm is told of them.
func balance(scheduler string, servers ...string) []lab.Step {
	steps := append([]lab.Step{removeServices()}, toBoth("-A", "-s "+scheduler)...)
	for _, s := range servers {
		steps = append(steps, toBoth("-a", "-r "+s)...)
	}
	return steps
}

// toBoth has ipvsadm do something to both services; nothing, if that has been done.
func toBoth(what, words string) (steps []lab.Step) {
	for _, flag := range []string{"-t", "-u"} {
		argv := append([]string{"ipvsadm", what, flag, lab.VIP.String() + ":80"}, strings.Fields(words)...)
		steps = append(steps, unless("exists", run(lab.Director, argv...)))
	}
	return steps
}

// inVain is one connection and one exchange that nobody answers: IPVS remembers them, and their client.
func inVain() lab.Step {
	return lab.Step{What: "client: a connection and an exchange in vain", Do: func(ctx context.Context, l *lab.Lab) error {
		_, err := l.Traffics(ctx, []lab.Traffic{
			{Proto: lab.TCP, Count: 1, Parallel: 1, Request: 200, Deadline: noAnswer},
			{Proto: lab.UDP, Count: 1, Parallel: 1, Request: 200, Deadline: noAnswer},
		})
		return err
	}}
}
