package render

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

// Account writes the account: one line, then the losses by where they happened, and what was seen
// instead if no packet was. The error is the writer's.
func (t *Text) Account(a journey.Account) error {
	var b strings.Builder
	b.WriteString(accountLine(a) + "\n")
	for _, s := range a.Sites {
		at := site(s.Reason, s.Function, "")
		fate := string(s.Fate)
		switch s.Fate {
		case journey.Vanished:
			at = "after " + clean(s.Function)
		case journey.Delivered:
			fate, at = "reply lost", "after "+clean(s.Function)
		}
		fmt.Fprintf(&b, "%5d  ", s.Count)
		if s.Code != "" {
			b.WriteString(clean(s.Code) + ": ")
		}
		b.WriteString(fate + " " + at)
		if s.Dev != "" {
			b.WriteString(" on " + clean(s.Dev))
		}
		b.WriteByte('\n')
	}
	if a.Journeys == 0 {
		b.WriteString(instead(a))
	}
	return t.write(t.repeated(t.seen.all()) + b.String())
}

// accountLine is a contract.
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
	return strings.Join(append(parts, probesLine(a.Probes)), " · ")
}

// probesLine has each reason once, with the places that it kept from being watched.
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
		places[p.Why] = append(places[p.Why], clean(p.Name))
	}
	line := fmt.Sprintf("probes %d/%d attached", attached, len(probes))
	var skipped []string
	for _, why := range reasons {
		list := strings.Join(places[why], ", ")
		if why != "" {
			list += " (" + clean(why) + ")"
		}
		skipped = append(skipped, list)
	}
	if len(skipped) > 0 {
		line += ", skipped: " + strings.Join(skipped, ", ")
	}
	return line
}

// instead says what was seen where no packet was.
func instead(a journey.Account) string {
	if a.Totals == nil {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "no packet for this service was seen; instead: IPIP packets %d\n", a.Totals.IPIP)
	list := func(title string, of func(event.Destination) bool) {
		var words []string
		for _, d := range a.Totals.Inner {
			if of(d) {
				words = append(words, destination(d))
			}
		}
		if len(words) > 0 {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, title, strings.Join(words, ", "))
		}
	}
	vip := func(d event.Destination) bool { return slices.Contains(a.Filter.VIPs, d.Addr) }
	list("same VIP, other port", vip)
	list("inner destinations", func(d event.Destination) bool { return d.Tunnelled && !vip(d) })
	list("other destinations", func(d event.Destination) bool { return !d.Tunnelled && !vip(d) })
	return b.String()
}

func destination(d event.Destination) string {
	s := d.Addr.String()
	if d.Port != 0 {
		s += ":" + strconv.Itoa(int(d.Port))
	}
	s += fmt.Sprintf(" %s ×%d", protocol(d.Protocol), d.Count)
	if !d.Tunnelled {
		s += " (not in IPIP)"
	}
	return s
}
