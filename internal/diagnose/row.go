package diagnose

import (
	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/ruleset"
)

// stage orders the causes as a packet meets them.
type stage uint8

const (
	link       stage = iota + 1 // the frame, XDP, tc
	outer                       // the outer header, its filters and its route
	tunnel                      // decapsulation
	routing                     // the inner header's route
	filter                      // filters of any header
	transport                   // socket
	replying                    // the way back
	forwarding                  // the director's work
)

// sight is how far a journey shows a cause.
type sight uint8

const (
	// absent: the journey can't have ended so by this cause.
	absent sight = iota
	// possible: the journey ended where this cause, among others, ends one: the state decides.
	possible
	// shown: the kernel was seen doing what only this cause makes it do.
	shown
)

// question is what a row is asked.
type question struct {
	journey.Journey
	// host is the state where the journey was lost; nil if it was not read.
	host *host.Snapshot
	// ruleset are the rules of that state; valid with it.
	ruleset *ruleset.Ruleset
	// rules evaluates netfilter's rules for the packet, once for all rows. It is only asked with a snapshot.
	rules func() (ruleset.Packet, ruleset.Outcome)
}

// finding is what the state, or the journey alone, says about a cause.
type finding struct {
	summary  string
	evidence []string
	fix      command.Fix
	// rule and candidates are set by the filters' rows.
	rule       *ruleset.Rule
	candidates []ruleset.Rule
	// doubtful: the state is not enough to be sure, whatever was seen.
	doubtful bool
}

// row is one cause. Nil functions say nothing.
type row struct {
	code  string
	stage stage
	// needs are the parts of the state that state reads; what of them is unread lowers the certainty.
	needs []host.Part
	// seen is how far the journey shows the cause.
	seen func(question) sight
	// state is what the host's state says; nil if the cause is not in it. It is only asked with a snapshot.
	state func(question) *finding
	// bare is said if the journey shows the cause, and the state does not or was not read.
	bare func(question) finding
}
