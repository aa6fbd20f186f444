package render

import (
	"fmt"
	"io"
	"strings"
	"time"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

// TextOptions say how text looks.
type TextOptions struct {
	// Color marks fates with a screen's colours: what is written goes through a screen.Writer.
	Color bool
	// Width is the terminal's, in columns; 0: lines are as long as they are.
	Width int
	// Terminal: an identical verdict is shown once and then counted per second.
	Terminal bool
	// Stack adds the kernel stack of each drop.
	Stack bool
	// Netns names a network namespace by its inode number; nil: the number is shown.
	Netns func(inode uint32) string
}

// Text writes journeys and accounts for people.
type Text struct {
	w    io.Writer
	opts TextOptions
	seen repeats
}

// NewText writes to w, with one Write a journey.
func NewText(w io.Writer, opts TextOptions) *Text {
	return &Text{w: w, opts: opts, seen: repeats{counts: map[verdict]*repeat{}}}
}

// Journey writes a journey and why it was lost, or counts it if the Terminal has its verdict already. The error is the writer's.
func (t *Text) Journey(v diagnose.Verdict) error {
	p := t.page()
	if !t.opts.Terminal {
		t.journey(p, v)
		return t.write(p)
	}
	due := t.seen.due(v.Start.Add(v.Took))
	known := t.seen.count(v)
	t.repeated(p, due)
	if !known {
		t.journey(p, v)
	}
	return t.write(p)
}

// Flush writes the counts of what was not shown again since the last second that was counted.
func (t *Text) Flush() error {
	p := t.page()
	t.repeated(p, t.seen.all())
	return t.write(p)
}

// page makes an empty page. Everything reaches the writer by a page, which takes the control characters out of text that
// came from outside.
func (t *Text) page() *screen.Page { return &screen.Page{Colours: t.opts.Color} }

func (t *Text) write(p *screen.Page) error {
	s := p.String()
	if s == "" {
		return nil
	}
	_, err := io.WriteString(t.w, s)
	return err
}

const indent = "    "

func (t *Text) journey(p *screen.Page, v diagnose.Verdict) {
	j := v.Journey
	t.headline(p, j)
	t.wrap(p, t.path(j))
	if t.opts.Stack && j.Drop != nil {
		for _, frame := range j.Drop.Stack {
			p.Linef("%s%s%s", indent, indent, frame)
		}
	}
	t.cause(p, v)
	for _, n := range j.Notices {
		p.Linef("%snote   %s (%s)", indent, n.Summary, n.Code)
	}
}

// headline is the answer: who sent what to whom, and where it ended.
func (t *Text) headline(p *screen.Page, j journey.Journey) {
	p.Printf("%s → %s  %-4s  ", endpoint(j.Packet, true), endpoint(j.Packet, false), kind(j.Packet))
	t.fate(p, j)
	if dev := where(j); dev != "" {
		p.Printf(" on %s", dev)
	}
	p.Printf(" after %s", span(j.Took))
	if why := why(j); why != "" {
		p.Printf(": %s", why)
	}
	if j.Gaps > 0 {
		p.Printf(" (%s)", plural(j.Gaps, "gap"))
	}
	p.Linef("")
}

// fate colours what is lost, what arrived and what is neither.
func (t *Text) fate(p *screen.Page, j journey.Journey) {
	word := string(j.Fate)
	if j.ReplyLost {
		word += ", reply lost,"
	}
	switch {
	case j.Lost():
		p.Paint(screen.Red, word)
	case j.Arrived():
		p.Paint(screen.Green, word)
	default:
		p.Paint(screen.Yellow, word)
	}
}

// where is the device that a journey ended on.
func where(j journey.Journey) string {
	if j.Drop != nil {
		return j.Drop.Dev
	}
	last, _ := j.Last()
	return last.Dev
}

// why is the reason after the headline's colon.
func why(j journey.Journey) string {
	var parts []string
	if j.Drop != nil {
		parts = append(parts, site(j.Drop.Reason, j.Drop.Function, hook(j.Drop)))
	}
	if j.Reject != nil {
		parts = append(parts, answer(*j.Reject))
	}
	switch {
	case j.Fate == journey.Vanished || j.Fate == journey.Unknown || j.Fate == journey.Open:
		if last, ok := j.Last(); ok {
			parts = append(parts, "last seen at "+last.Place.String())
		}
	case j.Duplicate:
		parts = append(parts, "duplicate")
	case j.Became != 0:
		parts = append(parts, "became "+hexID(j.Became))
	}
	return strings.Join(parts, ", ")
}

// hook is the netfilter hook that decided, and the rule in it.
func hook(d *journey.Drop) string {
	if d.Decider == "" {
		return d.NfHook
	}
	return strings.TrimPrefix(d.NfHook+", "+d.Decider, ", ")
}

// site is where the kernel freed a packet: "IP_RPFILTER in ip_rcv_finish_core".
func site(reason, function, hook string) string {
	s := "in " + function
	if reason != "" {
		s = reason + " " + s
	}
	if hook != "" {
		s += " (" + hook + ")"
	}
	return s
}

func answer(r journey.Reject) string {
	name := "RST"
	if r.By == journey.ByICMP {
		name = fmt.Sprintf("ICMP %d/%d", r.Type, r.Code)
	}
	if !r.Sent {
		return name + " kept back"
	}
	return name + " sent"
}

func endpoint(p event.Packet, source bool) string {
	h, port := p.Inner, p.DstPort
	if p.NoInner {
		h = *p.Outer
	}
	addr := h.Dst
	if source {
		addr, port = h.Src, p.SrcPort
	}
	if p.HasPorts {
		return fmt.Sprintf("%s:%d", addr, port)
	}
	return addr.String()
}

// flagNames are a TCP segment's flags as people say them; PSH and URG go without saying.
var flagNames = []struct {
	flag event.TCPFlags
	name string
}{{event.SYN, "SYN"}, {event.FIN, "FIN"}, {event.RST, "RST"}, {event.PSH, "PSH"}, {event.ACK, "ACK"}}

// kind is what a packet is: its TCP flags, or its protocol.
func kind(p event.Packet) string {
	if p.NoInner {
		return "IPIP without an IPv4 packet"
	}
	if p.Inner.Protocol != protoTCP || !p.HasPorts {
		return strings.ToUpper(protocol(p.Inner.Protocol))
	}
	var names []string
	for _, f := range flagNames {
		if p.TCPFlags&f.flag != 0 {
			names = append(names, f.name)
		}
	}
	if len(names) == 0 {
		return "TCP"
	}
	return strings.Join(names, "/")
}

// span is a duration as people read it: three digits at most, and a unit.
func span(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%d s", int64(d.Seconds()))
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
