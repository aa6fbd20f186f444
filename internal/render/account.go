package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// Account writes the account: one line, then the losses by where they happened, and, if no packet of the service was seen,
// what was seen instead. The error is the writer's.
func (t *Text) Account(a journey.Account) error {
	p := t.page()
	t.repeated(p, t.seen.all())
	p.Linef("%s", accountLine(a))
	for _, s := range a.Sites {
		at := site(s.Reason, s.Function, "")
		fate := string(s.Fate)
		switch s.Fate {
		case journey.Vanished:
			at = "after " + s.Function
		case journey.Delivered:
			fate, at = "reply lost", "after "+s.Function
		}
		p.Printf("%5d  ", s.Count)
		if s.Code != "" {
			p.Printf("%s: ", s.Code)
		}
		p.Printf("%s %s", fate, at)
		if s.Dev != "" {
			p.Printf(" on %s", s.Dev)
		}
		p.Linef("")
	}
	if a.Journeys == 0 && a.Totals != nil {
		instead(p, a)
	}
	return t.write(p)
}

// accountLine is the first line of the account; its form is part of the contract.
func accountLine(a journey.Account) string {
	missed := ": unknown"
	if a.Missed != nil {
		missed = " " + strconv.FormatUint(*a.Missed, 10)
	}
	parts := []string{
		fmt.Sprintf("journeys %d (%d arrived, %d lost, %d open, %d unknown)", a.Journeys, a.Arrived, a.Lost, a.Open, a.Unknown),
		fmt.Sprintf("events %d", a.Events),
		fmt.Sprintf("lost events %d", a.LostEvents),
		"missed" + missed,
	}
	if a.Untracked > 0 {
		parts = append(parts, fmt.Sprintf("untracked %d", a.Untracked))
	}
	if a.Totals != nil && a.Totals.NotIPv4 > 0 {
		parts = append(parts, fmt.Sprintf("IPIP without an IPv4 packet %d", a.Totals.NotIPv4))
	}
	return strings.Join(append(parts, probesLine(a.Probes)), " · ")
}

// probesLine names each reason once, with the places that are not watched for it.
func probesLine(probes []event.Probe) string {
	attached := 0
	var reasons []string
	places := map[string][]string{}
	for _, p := range probes {
		if p.Attached() {
			attached++
			continue
		}
		if places[p.Why] == nil {
			reasons = append(reasons, p.Why)
		}
		places[p.Why] = append(places[p.Why], p.Name)
	}
	line := fmt.Sprintf("probes %d/%d attached", attached, len(probes))
	var skipped []string
	for _, why := range reasons {
		list := strings.Join(places[why], ", ")
		if why != "" {
			list += " (" + why + ")"
		}
		skipped = append(skipped, list)
	}
	if len(skipped) > 0 {
		line += ", skipped: " + strings.Join(skipped, ", ")
	}
	return line
}

// instead says what was seen instead of the service's packets.
func instead(p *screen.Page, a journey.Account) {
	ipip := "no IPIP packet"
	if a.Totals.IPIP > 0 {
		ipip = fmt.Sprintf("IPIP packets %d", a.Totals.IPIP)
	}
	if a.Filter.Netns != 0 { // the kernel half counts before it looks where a packet is
		ipip += ", in all network namespaces"
	}
	p.Linef("no packet for this service was seen; instead: %s", ipip)
	list := func(title string, of func(event.Destination) bool) {
		var words []string
		for _, d := range a.Totals.Destinations() {
			if of(d) {
				words = append(words, destination(d))
			}
		}
		if len(words) > 0 {
			p.Linef("%s%s: %s", indent, title, strings.Join(words, ", "))
		}
	}
	vip := func(d event.Destination) bool { return slices.Contains(a.Filter.VIPs, d.Addr) }
	list("same VIP, other port", vip)
	list("inner destinations", func(d event.Destination) bool { return d.Tunnelled && !vip(d) })
	list("other destinations", func(d event.Destination) bool { return !d.Tunnelled && !vip(d) })
}

func destination(d event.Destination) string {
	s := d.Addr.String()
	if d.Port != 0 {
		s += ":" + strconv.Itoa(int(d.Port))
	}
	name := protocol(d.Protocol)
	if _, known := protocols[d.Protocol]; !known {
		name = "protocol " + name
	}
	s += fmt.Sprintf(" %s ×%d", name, d.Count)
	if !d.Tunnelled {
		s += " (not in IPIP)"
	}
	return s
}
