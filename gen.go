// Package ipiptrace is the root of the repository, and its map. What happens flows one way:
//
//	bpf/               the kernel half: the places in the kernel where a packet is seen
//	tracer/            loads it, attaches it, and turns what it writes into events
//	tracer/event/      the vocabulary: one sighting of one packet at one place, and its recording
//	internal/journey/  events become journeys, one a packet; each has a fate
//	internal/host/     the machine's state as plain data; internal/host/read reads it and changes nothing
//	internal/ruleset/  which netfilter rule decides over a packet
//	internal/command/  the only maker of the commands that are printed: no name becomes more than a name
//	internal/diagnose/ a lost journey and the state become a cause, how certain it is, and the fix
//	internal/doctor/   the same checks over packets as they would be: what would lose a service's packets
//	internal/render/   journeys and causes as text and as JSON
//	internal/screen/   keeps text of others from being more than text, on a terminal and in JSON
//	cmd/ipiptrace/     flags, wiring, exit statuses: the only place that knows all of the above
//
// and beside it, for demo and tests:
//
//	internal/lab/      client, director and real server in network namespaces, traffic; lab/fault: what breaks them
//	internal/e2e/      the test in the guest: ipiptrace sees what the lab does
//	internal/ipv4/     writes the headers of what they put onto a wire
//	internal/vm/       boots a Debian kernel
//	internal/setup/    finds the Go that builds all this; tries the README on a bare Debian
//
// Start with README.md; `make help` lists what can be made.
package ipiptrace

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64 -go-package tracer -output-dir tracer -output-stem ipiptrace -cflags "-O2 -g -Wall -Werror" ipiptrace bpf/ipiptrace.c
