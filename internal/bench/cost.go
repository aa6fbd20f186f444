package main

import "slices"

// The cases, in the order of their cost.
const (
	// No tracer. The other cases are measured over it.
	untraced = "untraced"
	// No packet matches, and none has ever: a tracer waits.
	nothing = "nothing matches"
	// No packet that is sent matches, but one that does is under way.
	bystander = "another is followed"
	// Every packet matches and the reader is stopped: the probes and the ring alone.
	kernelHalf = "everything, kernel"
	// Every packet matches, one after the other, until the reader has said the last one.
	inAll = "everything, in all"
)

// tracedCases are the cases with a tracer.
var tracedCases = []string{nothing, bystander, kernelHalf, inAll}

// cost is what one case costs: a line of -o json.
type cost struct {
	Kernel  string `json:"kernel"`
	Build   string `json:"build,omitempty"` // which of two that are compared
	Backend string `json:"backend,omitempty"`
	Case    string `json:"case,omitempty"`
	Packets int    `json:"packets,omitempty"`

	// Instructions a packet, over those of an untraced packet. They are the median
	// packet's: the same in each run. In the case [inAll] they are the mean.
	Instructions int64 `json:"instructions"`

	// Events a packet, of the tracer's whole run, and the events lost in it.
	Events float64 `json:"events,omitempty"`
	Lost   int64   `json:"lost"`

	// Attached counts what the tracer is attached by, in the kernel's words.
	Attached map[string]int `json:"attached,omitempty"`
	// Places are the programs' shares, if asked for.
	Places []share `json:"places,omitempty"`

	// Unusable says why there is no figure.
	Unusable string `json:"unusable,omitempty"`
}

// sameCase tells whether two costs are of the same case with the same back-end.
func sameCase(a, b cost) bool {
	return a.Case == b.Case && a.Backend == b.Backend && a.Build == b.Build
}

// of returns the costs of one build.
func of(build string, costs []cost) (found []cost) {
	for _, c := range costs {
		if c.Build == build {
			found = append(found, c)
		}
	}
	return found
}

func median(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
