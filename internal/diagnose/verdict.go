// Package diagnose says what a lost journey means: the cause in the machine's state, how certain it is, and the
// commands that repair it. It is pure: a journey and a snapshot in, a verdict out.
//
// Causes are rows. Of each a row knows how it is seen in a journey, how it is seen in the state, and its repair.
// Both seen: observed; one of them: inferred. Of two faults the one that the packet meets first is named.
package diagnose

import (
	"ipiptrace/internal/command"
	"ipiptrace/internal/journey"
)

// Certainty says how well a cause is founded. The strings are part of the JSON contract.
type Certainty string

// The certainties.
const (
	// Observed: the kernel was seen doing it, and the state that explains it was read.
	Observed Certainty = "observed"
	// Inferred: one of the two.
	Inferred Certainty = "inferred"
	// NotKnown: neither; the code is "unknown".
	NotKnown Certainty = "unknown"
)

// Cause is why a journey was lost.
type Cause struct {
	Code      string    `json:"code"`
	Certainty Certainty `json:"certainty"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Evidence is what was read, in the words of the tool that shows it: "net.ipv4.conf.all.rp_filter = 1".
	Evidence []string `json:"evidence"`
	// Fix are commands for a root shell in the packet's network namespace; empty if no command can repair it, or the right
	// one is not known: then the summary says why.
	Fix []command.Command `json:"fix"`
	// Next is what would lose the packet once this is repaired, in the order in which it would be met; Fix has what
	// repairs that, too.
	Next []Next `json:"next,omitempty"`
	// Untried: Fix could not be modelled. Otherwise it was applied to a copy of the state, and every check was asked again.
	Untried bool `json:"untried,omitempty"`
	// Unread are the parts of the state that would have mattered and could not be read.
	Unread []string `json:"unread,omitempty"`
}

// Verdict is a journey and, if it was lost, why.
type Verdict struct {
	journey.Journey
	// Cause is nil if the journey was not lost, or nobody was asked.
	Cause *Cause
	// Rule is the netfilter rule that decided, Candidates those that may have, if more than one.
	Rule       *Rule
	Candidates []Rule
}

// Rule names a netfilter rule, or a chain's policy, as a person finds it.
type Rule struct {
	// Backend is "nft", "iptables-nft" or "iptables-legacy".
	Backend string `json:"backend"`
	Family  string `json:"family"`
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	// Handle is nft's, Number a legacy rule's position in its chain from 1.
	Handle uint64 `json:"handle,omitempty"`
	Number int    `json:"number,omitempty"`
	Text   string `json:"text,omitempty"`
	// Policy is the chain's, where no rule but it decided.
	Policy string `json:"policy,omitempty"`
}
