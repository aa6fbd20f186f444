package main

import "slices"

// beyond are the scenarios whose fault is in no configuration of the machine on which the packet is lost, and why.
var beyond = []struct {
	why       string
	scenarios []string
}{
	{"the packet itself is wrong", []string{
		"bad-checksum", "bad-checksum-udp", "bad-checksum-udp-long", "bad-checksum-outer", "bad-checksum-inner", "malformed-inner", "malformed-outer",
		"malformed-option", "ipip-around-ipv6", "ipip-around-mpls", "ipip-wrong-version", "ipip-cut-off", "ecn-mismatch", "source-route", "fragment-lost", "fragment-overlap", "martian-loopback", "ttl-expired",
	}},
	{"it depends on the packets of a connection, or on how many there are", []string{
		"syn-cookie-invalid", "firewall-ct-invalid", "tcp-paws", "tcp-out-of-window", "receive-buffer-full", "ipvs-no-connection", "reply-unanswered",
	}},
	{"a program decides, and what it does is in no state", []string{"queue-verdict"}},
	{"it is in the director's state, which the real server's does not show", []string{
		"outer-not-local", "wrong-mac", "tunnel-gre", "tunnel-gue", "tunnel-gue-port", "tunnel-gue-other-port", "tunnel-gue-local", "tunnel-gue-fou", "tunnel-gue-program", "tunnel-fou", "martian-outer-vip", "ipvs-wrong-method-lost",
	}},
	{"the tunnel has gone into another namespace, and the machine that is asked about is that one", []string{"tunnel-wrong-namespace"}},
	{"the rule asks for the real server's address, which the host of its bridge does not know: that is said", []string{"bridge-firewall"}},
	{"the rules are not read: that is said", []string{"firewall-unread", "firewall-unread-output", "firewall-unread-legacy"}},
	{"/proc/net/tcp does not say whether a socket has keys, and nobody has loaded tcp_diag, which does: that is said", []string{"tcp-auth"}},
}

// toldByPeer are those that doctor names once it has what it said on the director (--peer), and some of which nothing is wrong
// then, either.
var toldByPeer = []string{
	"healthy", "healthy-fou", "healthy-gue", "healthy-gre", "healthy-bridge-filter",
	"outer-not-local", "wrong-mac", "tunnel-fou", "bridge-firewall", "tunnel-gre", "tunnel-gue", "tunnel-gue-port", "tunnel-gue-other-port", "tunnel-gue-local", "tunnel-gue-fou", "tunnel-gue-program", "martian-outer-vip", "ipvs-wrong-method-lost",
}

// later are scenarios whose fault comes into being with the traffic, or shows itself by that: without it doctor can't name
// it, with it it may.
var later = []string{"accept-queue-full", "neighbour-failed", "director-neighbour-failed", "persistence-no-neighbour", "ipvs-destination-removed"}

// beyondDoctor is why doctor can't name a scenario's fault; ok is false if it can.
func beyondDoctor(scenario string) (why string, ok bool) {
	for _, b := range beyond {
		if slices.Contains(b.scenarios, scenario) {
			return b.why, true
		}
	}
	return "", false
}

// exception are findings that are right beside a scenario's own, and why.
type exception struct {
	scenario, why string
	codes         []string
}

var also = []exception{
	{"container-tunnel-down", "the container answers ARP for the VIP towards its host", []string{"vip-arp-conflict"}},
	{"ipvs-destination-removed", "the real server that was removed was the only one", []string{"ipvs-no-destination"}},
	{"no-destination", "connections of before are still there", []string{"ipvs-destination-removed"}},
	{"local-node-silent", "connections of before are still there", []string{"ipvs-destination-removed"}},
	{"local-node-route", "connections of before are still there", []string{"ipvs-destination-removed"}},
	{"local-node-address", "connections of before are still there", []string{"ipvs-destination-removed"}},
	{"persistence-no-neighbour", "that is what is the matter with the real server", []string{"neighbour-failed"}},
	{"persistence-no-route", "that is what is the matter with the real server", []string{"ipvs-no-route"}},
	{"sh-overloaded", "the other real server is not there at all", []string{"neighbour-failed"}},
	{"persistence-stopped", "nobody listens where persistence keeps the client", []string{"no-listener"}},
	{"tunnel-wrong-namespace", "what is asked about is the namespace into which the tunnel has gone", notHere},
}

// notHere are the codes that are found where a service is not.
var notHere = []string{"tunnel-device-down", "tunnel-module-missing", "vip-missing", "no-listener", "no-return-route", "tunnel-wrong-namespace", "vip-arp-conflict"}

func alsoFound(scenario string) []string {
	for _, a := range also {
		if a.scenario == scenario {
			return a.codes
		}
	}
	return nil
}
