package doctor

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// trackingCode is the word in the table for what is known of connection tracking.
const trackingCode = "tracking"

// nearlyFull is the share of the table, in per cent, from which it is said to be so.
const nearlyFull = 90

// tracking says whether connections are tracked, how full the table is, what of it is the services', and which settings and
// rules change what becomes of them.
func (r *Report) tracking(s *host.Snapshot) {
	r.say(stepConntrack, trackingCode)
	for _, u := range s.Unread {
		if u.Part == host.PartConntrack || u.Part == host.PartAll {
			r.open(trackingCode, u.Why)
		}
	}
	c := s.Conntrack
	if c == nil {
		if s.Knows(host.PartConntrack) {
			r.say(stepConntrack, trackingCode, "connections are not tracked here")
		}
		return
	}
	r.say(stepConntrack, trackingCode, tableLine(c))
	for _, vip := range r.VIPs {
		if c.Count > 0 {
			r.say(stepConntrack, trackingCode, entriesOf(c, vip))
		}
	}
	r.say(stepConntrack, trackingCode, countsOf(c)...)
	r.say(stepConntrack, trackingCode, trackingSettings(s)...)
	if c.Max == 0 || c.Count >= c.Max || c.Count*100 < c.Max*nearlyFull {
		return
	}
	for _, vip := range r.VIPs {
		r.add(vip, []diagnose.Finding{fullSoon(c)}, []diagnose.Check{{Code: "conntrack-full", Answer: diagnose.Fault}})
	}
}

func tableLine(c *host.Conntrack) string {
	if c.Max == 0 {
		return fmt.Sprintf("%d connections are tracked here, and there is no limit", c.Count)
	}
	return fmt.Sprintf("%d connections are tracked here, at most %d (%d%%)", c.Count, c.Max, c.Count*100/c.Max)
}

// entriesOf counts the entries of an address by their states.
func entriesOf(c *host.Conntrack, vip netip.Addr) string {
	states, unreplied, n := map[string]int{}, 0, 0
	for _, x := range c.Conns {
		if x.To.Addr() != vip && x.From.Addr() != vip && x.Back.Addr() != vip {
			continue
		}
		n++
		states[cmp.Or(x.State, "other protocols")]++
		if !x.Replied {
			unreplied++
		}
	}
	line := fmt.Sprintf("%s has %d of them", vip, n)
	if c.MoreConns > 0 {
		line = fmt.Sprintf("%s has %d of the first %d of them that were read", vip, n, len(c.Conns))
	}
	var words []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		words = append(words, fmt.Sprintf("%d %s", states[state], state))
	}
	if unreplied > 0 {
		words = append(words, fmt.Sprintf("%d without an answer", unreplied))
	}
	if len(words) > 0 {
		line += ": " + strings.Join(words, ", ")
	}
	return line
}

// countsOf are the counters that are not 0.
func countsOf(c *host.Conntrack) []string {
	var words []string
	for _, x := range []struct {
		name string
		n    uint64
	}{{"drop", c.Drop}, {"early_drop", c.EarlyDrop}, {"insert_failed", c.InsertFailed}, {"invalid", c.Invalid}} {
		if x.n > 0 {
			words = append(words, fmt.Sprintf("%s %d", x.name, x.n))
		}
	}
	if len(words) == 0 {
		return nil
	}
	return []string{"/proc/net/stat/nf_conntrack: " + strings.Join(words, ", ")}
}

// trackingSettings are those that change what a packet is to connection tracking.
func trackingSettings(s *host.Snapshot) (lines []string) {
	value := func(name string) (int, bool) { return s.Sysctl("net/netfilter/nf_conntrack_" + name) }
	if loose, ok := value("tcp_loose"); ok && loose == 0 {
		lines = append(lines, "nf_conntrack_tcp_loose = 0: packets of connections that are not in the table (older than it, or taken over from another machine) are invalid")
	}
	if liberal, ok := value("tcp_be_liberal"); ok && liberal != 0 {
		lines = append(lines, "nf_conntrack_tcp_be_liberal = 1: segments outside of the window are not invalid")
	}
	if helper, ok := value("helper"); ok && helper != 0 {
		lines = append(lines, "nf_conntrack_helper = 1: helpers take connections by their ports, without a rule")
	}
	if rulesHave(s, []string{`"ct helper"`}, "--helper") {
		lines = append(lines, "rules give connections to helpers")
	}
	if rulesHave(s, []string{`"key":"zone"`, `"key": "zone"`}, "--zone", "--zone-orig", "--zone-reply") {
		lines = append(lines, "rules put connections into zones: a request and its answer are one connection only in the same zone")
	}
	return lines
}

// rulesHave reports whether a rule of nftables has one of some pieces of JSON, or one of iptables an argument.
func rulesHave(s *host.Snapshot, nft []string, iptables ...string) bool {
	has := func(e json.RawMessage) bool {
		return slices.ContainsFunc(nft, func(piece string) bool { return bytes.Contains(e, []byte(piece)) })
	}
	return s.AnyRule(
		func(_ host.NftTable, r host.NftRule) bool { return slices.ContainsFunc(r.Exprs, has) },
		func(r host.IPTablesRule) bool {
			return slices.ContainsFunc(r.Args, func(arg string) bool { return slices.Contains(iptables, arg) })
		},
	)
}

// fullSoon is the finding that the table has hardly any room left.
func fullSoon(c *host.Conntrack) diagnose.Finding {
	return diagnose.Finding{Severity: diagnose.AtRisk, Cause: diagnose.Cause{
		Code: "conntrack-full", Certainty: diagnose.Inferred,
		Summary: fmt.Sprintf("the table of tracked connections is nearly full: %d of %d; once it is, packets of new connections are dropped", c.Count, c.Max),
		Evidence: []string{
			fmt.Sprintf("net.netfilter.nf_conntrack_count = %d", c.Count), fmt.Sprintf("net.netfilter.nf_conntrack_max = %d", c.Max),
		},
		Fix: command.Of("nsenter -t 1 -n sysctl -w net.netfilter.nf_conntrack_max=%", command.Number(2*c.Max)).Commands(),
	}}
}
