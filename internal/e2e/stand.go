package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/lab"
)

// absent are the programs of pages that are not tried, and why.
var absent = map[string]string{
	"arping":       "it takes seconds, and busybox has another",
	"ausearch":     "a guest has no audit daemon",
	"ethtool":      "veth has no offloads that count",
	"firewall-cmd": "a guest has no firewalld",
	"ipiptrace":    "it watches until it is ended, and is tested elsewhere",
	"journalctl":   "a guest has no journal",
	"systemctl":    "a guest has no systemd",
	"tcpdump":      "it shows packets until it is ended",
	"traceroute":   "it takes seconds",
}

// unplayed is why the lab does not try the line; empty if it does.
func unplayed(l diagnose.Line) string {
	program, _, _ := strings.Cut(l.Command, " ")
	return cmp.Or(l.Unplayed, absent[program])
}

// places are the roles that play what pages call by name.
var places = map[string]lab.Role{
	"on the director":                         lab.Director,
	"on the real server":                      lab.RealServer,
	"on the client":                           lab.Client,
	"on the router":                           lab.Client,
	"in the network namespace of the service": lab.RealServer,
	"in the first network namespace":          everywhere,
}

// placeOf is where a line is run.
func (p page) placeOf(l diagnose.Line) lab.Role {
	if l.On == "" {
		return p.scenario.Where()
	}
	return places[l.On]
}

// stand is what a scenario has of its own.
type stand struct {
	// words are what placeholders stand for.
	words map[string]string
	// numbers are scripts that print, one a line, what a placeholder stands for.
	numbers map[string]string
	// at is where before, which makes a repair possible that the lab does not need, and after, which undoes a repair, are
	// run; empty is the real server.
	at            lab.Role
	before, after string
	// onlyTCP: the service of UDP does not have the fault.
	onlyTCP bool
}

// script runs before or after.
func (st stand) script(ctx context.Context, l *lab.Lab, text string) error {
	if text == "" {
		return nil
	}
	out, err := runAt(ctx, l, cmp.Or(st.at, lab.RealServer), text)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", text, err, out)
	}
	return nil
}

// fill puts the lab's own in the places of words in capitals. The lab has no router: all are on one network.
func (p page) fill(l *lab.Lab, command string) string {
	command = strings.ReplaceAll(command, "via GATEWAY", "dev eth0")
	return diagnose.Fill(command, func(word string) (string, bool) { return p.valueOf(l, word) })
}

// valueOf is what a placeholder stands for.
func (p page) valueOf(l *lab.Lab, word string) (string, bool) {
	if word == "NETNS" {
		return l.RealServer.Path(), true
	}
	if value, ok := stands[p.scenario.Name].words[word]; ok {
		return value, true
	}
	value, ok := common[word]
	return value, ok
}

// common are what placeholders stand for in the lab.
var common = map[string]string{
	"VIP": lab.VIP.String(), "PORT": fmt.Sprint(lab.Port), "CLIENT": lab.ClientAddr.String(),
	"DIRECTOR": lab.DirectorAddr.String(), "RIP": lab.RealServerAddr.String(),
	"FAMILY": "ip", "TABLE": "lab", "PREF": "10", "PREFIX": "32", "TUNNEL": "lvs0",
}

// handles are the numbers of the rules of nftables that have a word.
func handles(word string) map[string]string {
	return map[string]string{"HANDLE": "nft -a list table ip lab | sed -n 's/.*\\b" + word + "\\b.*# handle //p'"}
}

// numbers are those of the rules of iptables in input that have a word, last first: each deletion moves those after it.
func numbered(word string) map[string]string {
	return map[string]string{"NUMBER": "iptables -nL INPUT --line-numbers | grep " + word + " | sort -rn | sed 's/ .*//'"}
}

// input is a chain of that name.
func input(name string) map[string]string { return map[string]string{"CHAIN": name} }

// stands are what scenarios have of their own.
var stands = map[string]stand{
	"outer-not-local": {
		words: map[string]string{"WRONG-RIP": "10.0.0.12"},
		// The lab has both, the right one at rest.
		at: lab.Director, before: "ipvsadm -d -t 10.99.0.1:80 -r 10.0.0.11:80; ipvsadm -d -u 10.99.0.1:80 -r 10.0.0.11:80",
	},
	"tunnel-gue":                   {after: "ip fou del port 6080"},
	"tc-drop":                      {words: map[string]string{"PREF": "49152"}},
	"tc-egress":                    {words: map[string]string{"PREF": "49152"}},
	"firewall-input":               {words: input("input"), numbers: handles("drop")},
	"firewall-reject":              {words: input("input"), numbers: handles("reject")},
	"firewall-policy":              {words: input("input")},
	"firewall-iptables-nft":        {words: input("INPUT"), numbers: numbered("DROP")},
	"firewall-iptables-nft-reject": {words: input("INPUT"), numbers: numbered("REJECT")},
	"conntrack-full":               {words: map[string]string{"LARGER": "65536"}},
	"queue-drop":                   {words: input("input"), numbers: handles("queue")},
	"xfrm-outer":                   {numbers: map[string]string{"INDEX": "ip -s xfrm policy | sed -n 's/.* index \\([0-9]*\\) .*/\\1/p'"}},
	"cgroup-ingress": {
		words:   map[string]string{"CGROUP": "/sys/fs/cgroup/ipiptrace-lab"},
		numbers: map[string]string{"ID": "bpftool prog list | sed -n 's/^\\([0-9]*\\): cgroup_skb .*/\\1/p'"},
	},
	"martian-source":           {words: map[string]string{"SOURCE": lab.ClientAddr.String(), "DEVICE": "lo"}},
	"prohibit-vip":             {words: map[string]string{"TYPE": "prohibit", "TABLE": "77"}},
	"forward-off":              {words: map[string]string{"DESTINATION": lab.DirectorAddr.String()}},
	"redirect":                 {words: input("prerouting")},
	"redirect-legacy":          {words: input("DOCKER")},
	"vip-wrong-prefix":         {words: map[string]string{"CLIENT": "10.99.0.7", "PREFIX": "24"}},
	"no-return-route":          {after: "ip route del default dev eth0"},
	"neighbour-failed":         {words: map[string]string{"NEXT-HOP": "10.0.0.99"}, after: "ip route del 10.0.0.7 dev eth0"},
	"qdisc-drop":               {words: map[string]string{"KIND": "bfifo", "LARGER": "1000000"}},
	"sk-lookup":                {numbers: map[string]string{"ID": "bpftool link | sed -n 's/^\\([0-9]*\\): netns .*/\\1/p'"}},
	"ipvs-destination-removed": {onlyTCP: true},
	// The director does not answer for the VIP in this lab, either.
	"vip-arp-conflict":  {at: lab.Director, before: "sysctl -w net.ipv4.conf.all.arp_ignore=0"},
	"director-no-route": {at: lab.Director, after: "ip route del 10.0.0.11 dev eth0"},
}
