package event

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// The bounds of what is read from a recording. They lie far above what a kernel says and far below what would hurt:
// nothing in a recording is trusted.
const (
	// MaxTime bounds a recorded time: 146 years of uptime. A wait added to it does not overflow.
	MaxTime = time.Duration(1) << 62

	// maxLine is the longest line: a snapshot of a machine with ten thousand rules takes a tenth of it.
	maxLine = 64 << 20
	// maxEventLine is the longest line that is no snapshot.
	maxEventLine = 1 << 20
	// maxDepth is how deep values may lie in one another. A rule of nftables needs about twelve.
	maxDepth = 64
	// maxString is the longest text in a line, in bytes: a rule with a set of its own has all of that in one.
	maxString = 4 << 20

	maxProbes  = 1024
	maxFilter  = 64  // VIPs, and ports
	maxFrames  = 256 // the kernel gives 127
	maxInner   = 64
	maxName    = 1024 // KSYM_NAME_LEN is 512
	maxDevice  = 15   // IFNAMSIZ with its zero is 16
	maxSaid    = 16 << 10
	firstYear  = 1970
	beyondYear = 2262 // what is later is no time.Time in nanoseconds
)

// The memory, in bytes, that the values of a line are taken to need at most: beyond spare and twice the line's own
// length it is refused. Without that, 15 MB of empty objects become a gigabyte.
const (
	objectWeight = 256 // a structure of ours
	textWeight   = 96  // an object that is kept as text at first
	valueWeight  = 48
	spare        = 64 << 20
)

// keptAsText are the keys whose values no reader unpacks at once: expressions and elements of nftables.
var keptAsText = [][]byte{[]byte("exprs"), []byte("elem")}

// measure refuses a line that holds too much, before any of it is unpacked. That it is JSON is for others to say.
func measure(line []byte) error {
	var weight, depth, text int // text is the depth of what is kept as text, 0 for none
	var last []byte             // the last string
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '"':
			end := i + 1 + stringEnd(line[i+1:])
			if last = line[i+1 : end]; len(last) > maxString {
				return fmt.Errorf("a text longer than %d bytes", maxString)
			}
			i = end
		case ':':
			if text == 0 && isKeptAsText(last) {
				text = depth + 1
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("values more than %d deep", maxDepth)
			}
			switch {
			case line[i] == '[':
			case text == 0:
				weight += objectWeight
			default:
				weight += textWeight
			}
		case '}', ']':
			depth--
			if depth < text {
				text = 0
			}
		case ',':
			weight += valueWeight
			if depth < text {
				text = 0
			}
		}
	}
	if weight > spare+2*len(line) {
		return errors.New("too many values")
	}
	return nil
}

// Fits reports, as an error, why a snapshot would be refused by whoever reads a recording that it is written to.
func Fits(snapshot []byte) error {
	const rest = 1 << 10 // of the line
	if len(snapshot) > maxLine-rest {
		return fmt.Errorf("longer than %d bytes", maxLine-rest)
	}
	return measure(snapshot)
}

// stringEnd is where a string ends whose first byte s begins with: the index of the quote, or of the end.
func stringEnd(s []byte) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(s)
}

func isKeptAsText(key []byte) bool {
	for _, k := range keptAsText {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}

// check refuses a run that can't have been.
func (r *Run) check() error {
	switch year := r.Start.UTC().Year(); {
	case year < firstYear || year >= beyondYear:
		return fmt.Errorf("a start in the year %d", year)
	case len(r.Filter.VIPs) > maxFilter || len(r.Filter.Ports) > maxFilter:
		return fmt.Errorf("more than %d VIPs or ports", maxFilter)
	case r.Filter.Client.IsValid() && !r.Filter.Client.Addr().Is4():
		return fmt.Errorf("the client %q is no IPv4 network", r.Filter.Client)
	}
	return cmp.Or(checkTime(r.Mono), checkAddrs(r.Filter.VIPs...), checkText("kernel", r.Kernel, maxName), checkProbes(r.Probes))
}

// check refuses an event that no kernel half can have seen.
func (e *Event) check() error {
	return cmp.Or(checkTime(e.Time), checkTime(e.Seen), e.Packet.check(), e.Drop.check(), e.Totals.check(), checkProbes(e.Probes))
}

func (p *Packet) check() error {
	if p == nil {
		return nil
	}
	if p.NoInner && p.Outer == nil {
		return errors.New("a packet without a header")
	}
	err := checkAddrs(p.Inner.Src, p.Inner.Dst)
	if p.Outer != nil {
		err = cmp.Or(err, checkAddrs(p.Outer.Src, p.Outer.Dst))
	}
	return cmp.Or(err, checkText("device", p.Dev, maxDevice))
}

func (d *Drop) check() error {
	if d == nil {
		return nil
	}
	if len(d.Stack) > maxFrames {
		return fmt.Errorf("a stack of more than %d frames", maxFrames)
	}
	for _, text := range append([]string{d.Function, d.Symbol, d.Reason}, d.Stack...) {
		if err := checkText("name of a function", text, maxName); err != nil {
			return err
		}
	}
	return nil
}

func (t *Totals) check() error {
	if t == nil {
		return nil
	}
	if len(t.Inner) > maxInner {
		return fmt.Errorf("more than %d destinations", maxInner)
	}
	for _, d := range t.Inner {
		if err := checkAddrs(d.Addr); err != nil {
			return err
		}
	}
	return nil
}

func checkProbes(probes []Probe) error {
	if len(probes) > maxProbes {
		return fmt.Errorf("more than %d probes", maxProbes)
	}
	for _, p := range probes {
		err := cmp.Or(checkText("place", p.Name, maxName), checkText("mechanism", p.Mechanism, maxName),
			checkText("symbol", p.Symbol, maxName), checkText("why", p.Why, maxSaid))
		if err != nil {
			return err
		}
	}
	return nil
}

func checkTime(t time.Duration) error {
	if t < 0 || t >= MaxTime {
		return fmt.Errorf("%d is no time: it is not from 0 to %d", t, int64(MaxTime)-1)
	}
	return nil
}

// checkAddrs refuses what is no IPv4 address; with that every zone, which may be any text.
func checkAddrs(addrs ...netip.Addr) error {
	for _, a := range addrs {
		if !a.Is4() {
			return fmt.Errorf("%q is no IPv4 address", a)
		}
	}
	return nil
}

func checkText(what, text string, longest int) error {
	if len(text) > longest {
		return fmt.Errorf("the %s is longer than %d bytes", what, longest)
	}
	return nil
}

// Sum adds counts, which may come from a recording: it stops at the largest number instead of beginning again.
func Sum(a, b uint64) uint64 {
	if a > math.MaxUint64-b {
		return math.MaxUint64
	}
	return a + b
}
