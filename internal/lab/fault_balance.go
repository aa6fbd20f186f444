package lab

import (
	"time"

	"golang.org/x/sys/unix"
)

// balanceFaults are those of IPVS itself.
func balanceFaults() []Scenario {
	return []Scenario{
		{
			Name:    "ipvs-overloaded",
			Summary: "The only real server has as many connections as its upper threshold allows.",
			Code:    "ipvs-overloaded",
			Inject:  []Step{almostFull(), once()}, // IPVS looks at the threshold when a connection comes
			Undo:    []Step{weigh(1)},             // without a threshold
			Traffic: expect(Refused),
		},
		{
			Name:    "ipvs-backup",
			Summary: "The director is another one's backup, and leaves packets alone until it takes over.",
			Code:    "ipvs-backup",
			Inject: []Step{
				unless("Daemon has already run", run(Director, "ipvsadm", "--start-daemon", "backup", "--mcast-interface", "eth0")),
				sysctl(Director, "net/ipv4/vs/backup_only", "1"),
			},
			Undo: []Step{
				sysctl(Director, "net/ipv4/vs/backup_only", "0"),
				unless("Daemon has not", unless("No such process", run(Director, "ipvsadm", "--stop-daemon", "backup"))),
			},
			Traffic: expect(Refused),
		},
		{
			Name:    "ipvs-destination-removed",
			Summary: "The real server was removed from the service while connections to it were open.",
			Code:    "ipvs-destination-removed",
			Undo:    []Step{stopListening(), removeServices(), addServices(), listen()},
			Traffic: []Traffic{{Proto: TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200, Deadline: unanswered, Midway: removeDestinationOf(unix.IPPROTO_TCP), Want: TimedOut}},
		},
		{
			Name:    "ipvs-no-connection",
			Summary: "The director forgets a connection that was silent for a second, which is less than its client needs.",
			Code:    "ipvs-no-connection",
			Inject:  []Step{run(Director, "ipvsadm", "--set", "1", "1", "1")},
			Undo: []Step{
				stopListening(),
				run(Director, "ipvsadm", "--set", "900", "120", "300"), sysctl(Director, "net/ipv4/vs/sloppy_tcp", "0"),
				removeServices(), addServices(), listen(),
			},
			Traffic: []Traffic{{Proto: TCP, Count: faulty, Parallel: faulty, Request: 200, Answer: 200, Midway: silence(forgotten), Want: Broken}},
		},
	}
}

// forgotten is longer than a connection of one second's timeout lives: the kernel's timers are not exact.
const forgotten = 2500 * time.Millisecond
