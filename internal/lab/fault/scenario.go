// Package fault breaks the lab in known ways and repairs it again: each scenario is one literal, with what its
// packets end in.
package fault

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"ipiptrace/internal/lab"
)

// Scenario is one fault, or none: how to bring it about, how to repair it, what traffic meets it and
// what the client sees of it. Its name is one word, the same for the command, tests and recordings.
type Scenario struct {
	Name string
	// Summary is one sentence for a person.
	Summary string
	// Code is the cause that is to be found; empty if nothing is wrong.
	Code string
	// Notice: nothing is lost where the fault is seen, and Code is that of a notice.
	Notice bool
	// WholeMachine: the fault is not confined to the lab's namespaces.
	WholeMachine bool
	// Pinned: the fault can't come about while ipiptrace is attached, because a probe in a module keeps it loaded.
	Pinned bool
	// Needs are steps that change nothing, and fail where this kernel can't have the scenario: it is not played there.
	Needs []lab.Step
	// Inject and Undo may each be repeated.
	Inject, Undo []lab.Step
	Traffic      []lab.Traffic
	// Losses are what each kind of Traffic ends in, one a kind.
	Losses []Loss
	// At is where; empty is the real server. Watched is what is to be watched meanwhile, if it is not that alone.
	At, Watched lab.Role
	// Unforced: a forced back-end, which watches everything at once and perhaps no function, sees it differently.
	Unforced bool
	// Notices are those that may be given of a scenario without a fault.
	Notices []string
	// Counts are what the traffic raises at least once a connection or packet: that the client is unhappy does not
	// prove that it is for the reason it should be. Firewalls, tc and a wrong MAC count nothing by themselves.
	Counts []Count
}

// Healthy is the first of Scenarios: nothing is wrong.
func Healthy() Scenario {
	return Scenario{
		Name:    "healthy",
		Summary: "Nothing is wrong: every request is answered directly.",
		Traffic: expect(lab.Answered),
		Counts:  []Count{{lab.RealServer, "Udp:", "OutDatagrams"}},
	}
}

// Scenarios are all that the lab can show, healthy first, then in the order in which a packet meets the faults.
func Scenarios() []Scenario {
	return slices.Concat([]Scenario{Healthy()}, healthyTunnels(), healthyGUE(), healthyRoutes(), healthyFamilies(), healthyFilters(), healthyQueues(), healthyTaps(), healthyInner(), healthyAnswers(), healthySockets(), healthyDirectors(),
		routingFaults(), tunnelFaults(), otherTunnelFaults(), gueFaults(), filterFaults(), firewallFaults(), queueFaults(), tapFaults(), familyFaults(), natFaults(), packetFaults(), craftFaults(), innerFaults(),
		policyFaults(), programFaults(), socketFaults(), vrfFaults(), replyFaults(), lookupFaults(), directorFaults(), balanceFaults(), scheduleFaults(), localFaults(), persistenceFaults(), quietFaults(), containerFaults(), machineFaults(), answerFaults())
}

// Where is the namespace in which the packet is lost.
func (s Scenario) Where() lab.Role { return cmp.Or(s.At, lab.RealServer) }

// Watch is what is to be watched meanwhile: a namespace, or Everywhere.
func (s Scenario) Watch() lab.Role { return cmp.Or(s.Watched, s.Where()) }

// Loss is what one kind of its traffic ends in; ok is false if nothing is lost of it.
func (s Scenario) Loss(p lab.Proto) (want Loss, ok bool) {
	for _, l := range s.Losses {
		if l.Proto == p {
			return l, true
		}
	}
	return Loss{}, false
}

// Lacks is what a scenario needs and this kernel can't do; nil if the scenario may be played.
func Lacks(ctx context.Context, l *lab.Lab, s Scenario) error {
	if err := l.Apply(ctx, s.Needs); err != nil {
		return fmt.Errorf("this kernel can't have %s: %w", s.Name, err)
	}
	return nil
}

// Inject breaks the lab as the scenario says. Injecting the same scenario twice is the same as once.
func Inject(ctx context.Context, l *lab.Lab, s Scenario) error {
	if err := l.Apply(ctx, s.Inject); err != nil {
		return fmt.Errorf("inject %s: %w", s.Name, err)
	}
	return nil
}

// Undo repairs what Inject broke, also when somebody else has repaired it already.
func Undo(ctx context.Context, l *lab.Lab, s Scenario) error {
	if err := l.Apply(ctx, s.Undo); err != nil {
		return fmt.Errorf("undo %s: %w", s.Name, err)
	}
	return nil
}

// Named is the scenario with that name; ok is false if there is none.
func Named(name string) (s Scenario, ok bool) {
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, true
		}
	}
	return Scenario{}, false
}

// faulty is the number of packets or connections that meet a fault; few, because most end in silence.
const faulty = 3

// unanswered is longer than an emulated guest needs for an answer; it is so much shorter than TCP's first
// retransmission, at 1 s, that a slow guest, too, is done before.
const unanswered = 700 * time.Millisecond

// noAnswer is how long a request waits that nothing answers; what becomes of it in the kernel is decided long before.
const noAnswer = 500 * time.Millisecond

// expect is the ordinary traffic of both protocols, each connection of which ends as said.
func expect(end lab.Outcome) []lab.Traffic {
	deadline := 10 * time.Second
	if end == lab.TimedOut {
		deadline = noAnswer
	}
	return []lab.Traffic{
		{Proto: lab.TCP, Count: faulty, Request: 3000, Answer: 9000, Deadline: deadline, Want: end},
		{Proto: lab.UDP, Count: faulty, Request: 200, Answer: 200, Deadline: deadline, Want: end},
	}
}

// only leaves one protocol's traffic.
func only(p lab.Proto, all []lab.Traffic) []lab.Traffic {
	return slices.DeleteFunc(all, func(t lab.Traffic) bool { return t.Proto != p })
}
