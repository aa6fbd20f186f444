package lab

// directorFaults are those that the packet meets on the director.
func directorFaults() []Scenario {
	expired := expect(Unreachable)
	expired[1].Deadline, expired[1].Want = unanswered, TimedOut // UDP does not tell the application of an expired TTL
	return []Scenario{
		{
			Name:    "no-service",
			Summary: "IPVS has no service for the VIP: the director answers itself, and nobody listens there.",
			Code:    "ipvs-no-service",
			Inject:  []Step{removeServices()},
			Undo:    []Step{addServices()},
			Traffic: expect(Refused),
		},
		{
			Name:    "weight-zero",
			Summary: "The only real server has weight 0: the director refuses new connections.",
			Code:    "ipvs-no-destination",
			Inject:  []Step{weigh(0)},
			Undo:    []Step{weigh(1)},
			Traffic: expect(Refused),
		},
		{
			Name:    "no-destination",
			Summary: "The services have no real server.",
			Code:    "ipvs-no-destination",
			Inject:  []Step{removeDestination()},
			Undo:    []Step{removeServices(), addServices()},
			Traffic: expect(Refused),
		},
		{
			Name:    "director-no-route",
			Summary: "The director's route to the real server is of the type unreachable.",
			Code:    "ipvs-no-route",
			Inject: []Step{
				run(Director, "ip", "route", "replace", "unreachable", RealServerAddr.String()),
				removeServices(), addServices(), // IPVS remembers routes
			},
			Undo: []Step{
				unless("No such process", run(Director, "ip", "route", "del", "unreachable", RealServerAddr.String())),
				removeServices(), addServices(),
			},
			Traffic: expired,
		},
		{
			Name:    "ttl-expired",
			Summary: "The packet arrives at the director with its last hop.",
			Code:    "ttl-expired",
			Inject:  []Step{sysctl(Client, "net/ipv4/ip_default_ttl", "1")},
			Undo:    []Step{sysctl(Client, "net/ipv4/ip_default_ttl", "64")},
			Traffic: expired,
		},
	}
}
