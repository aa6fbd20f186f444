package doctor

import (
	"fmt"
	"slices"
)

// steps are those of the checklist that people follow by hand, with the codes that each asks for.
var steps = []struct {
	name  string
	codes []string
}{
	{"tunnel", []string{"tunnel-module-missing", "tunnel-device-down", "tunnel-endpoint-mismatch", "tunnel-mode-mismatch", "tunnel-wrong-namespace", "outer-not-local", wrongMAC, "ip-forward-off", tunnelsCode}},
	{"firewall", []string{"firewall-drop", "firewall-reject", "queue-drop", "firewall-mixed", "xfrm-policy", "redirected", "tc-drop", "xdp-drop", "cgroup-drop", "socket-filter-drop", labelsCode}},
	{"packets", []string{watchedCode}},
	{"settings", []string{"rp-filter", "martian-source", "route-reject", "no-return-route", "reply-into-tunnel", "neighbour-failed", "qdisc-drop", "backlog-full", "vip-arp-conflict", inEffectCode}},
	{"service", []string{"vip-missing", "vip-wrong-prefix", "no-listener", "listener-wrong-address", "listener-wrong-device", "accept-queue-full", "syn-queue-full", "min-ttl", "sk-lookup-drop", "tcp-auth", vipCode, listenersCode}},
	{"conntrack", []string{"conntrack-full", trackingCode}},
	{"mtu", []string{"fragment-lost", "mtu-exceeded", pathMTUCode}},
	{"director", []string{
		"ipvs-no-service", "ipvs-no-destination", "ipvs-overloaded", "ipvs-backup", "ipvs-no-route", "ipvs-wrong-method", "ipvs-loop",
		"ipvs-defence", "ipvs-port-reuse", "ipvs-persistence", "ipvs-destination-removed", servicesCode,
	}},
	{"kernel", []string{placesCode}},
}

// The numbers of steps that describe more than they ask.
const (
	stepTunnel    = 1
	stepFirewall  = 2
	stepSettings  = 4
	stepService   = 5
	stepConntrack = 6
	stepMTU       = 7
	stepDirector  = 8
	stepKernel    = 9
)

// Asks reports whether a step may be in the report: what nobody wants to know need not be read.
func (o Options) Asks(n int) bool {
	is := func(word string) bool { return word == fmt.Sprint(n) || word == StepName(n) }
	codes := func(word string) bool { return step(word) == n }
	return !slices.ContainsFunc(o.Skip, is) && (len(o.Only) == 0 || slices.ContainsFunc(o.Only, is) || slices.ContainsFunc(o.Only, codes))
}

// step is the number of the step that asks for a code, from 1.
func step(code string) int {
	return 1 + slices.IndexFunc(steps, func(s struct {
		name  string
		codes []string
	}) bool {
		return slices.Contains(s.codes, code)
	})
}

// StepName is a step's word, as --only takes it; empty if there is no such step.
func StepName(n int) string {
	if n < 1 || n > len(steps) {
		return ""
	}
	return steps[n-1].name
}

// Codes are all that checks are called.
func Codes() (all []string) {
	for _, s := range steps {
		all = append(all, s.codes...)
	}
	return all
}

// Steps are the words of all steps, in order.
func Steps() (names []string) {
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}
