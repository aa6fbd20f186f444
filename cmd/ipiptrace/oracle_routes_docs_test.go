package main

import (
	"fmt"
	"strings"
	"testing"
)

// routesBlock is what one run of the oracle of routes has counted in a guest.
type routesBlock struct {
	Kernel                                                     string
	Configurations, Packets, Answers, Undecided, Disagreements int
	// Kinds are how often each thing became of a packet.
	Kinds map[string]int
}

// TestDocsSayHowRoutesWereCompared holds the README's figures against those that `make test-routes` has counted.
func TestDocsSayHowRoutesWereCompared(t *testing.T) {
	var where []string
	all := routesBlock{Kinds: map[string]int{}}
	for _, kernel := range oracleKernels {
		of := 0
		for _, b := range measured[routesBlock](t, "../../internal/host/read/testdata/oracle/"+kernel+".jsonl") {
			of += b.Configurations
			all.Configurations, all.Packets, all.Answers = all.Configurations+b.Configurations, all.Packets+b.Packets, all.Answers+b.Answers
			all.Undecided, all.Disagreements = all.Undecided+b.Undecided, all.Disagreements+b.Disagreements
			all.Kernel = series(b.Kernel)
			for kind, n := range b.Kinds {
				all.Kinds[kind] += n
			}
		}
		if of > 0 {
			where = append(where, fmt.Sprintf("%s on Linux %s", grouped(of), all.Kernel))
		}
	}
	if len(where) == 0 {
		section(t, "../README.md", "oracle-routes", "") // it was not run since the model was changed
		return
	}
	var kinds []string
	for _, kind := range []string{"delivered", "forwarded", "reverse-path filter", "martian", "delivered out of a tunnel"} {
		kinds = append(kinds, fmt.Sprintf("%s %s", grouped(all.Kinds[kind]), kind))
	}
	section(t, "../README.md", "oracle-routes", item(fmt.Sprintf("**So is what it says of routing**: %s generated configurations of devices, VRFs, addresses, "+
		"routes, rules, marks and settings (%s), with %s packets, plain and in tunnels. Of %s answers, on what becomes of a packet and by which device its "+
		"answer leaves, it leaves %.1f %% undecided, and says so; the others are what the kernel then did (among them %s), with %s disagreements.",
		grouped(all.Configurations), strings.Join(where, ", "), grouped(all.Packets), grouped(all.Answers+all.Undecided+all.Disagreements),
		100*float64(all.Undecided)/float64(max(1, all.Answers+all.Undecided)), strings.Join(kinds, ", "), grouped(all.Disagreements))))
}
