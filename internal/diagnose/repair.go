package diagnose

import (
	"slices"

	"ipiptrace/internal/command"
	"ipiptrace/internal/ruleset"
)

// side is the part of a service's way on which a packet is. Sides are bits: a cause may be met on several.
type side uint8

const (
	outerSide    side = 1 << iota // in IPIP, on its way to the tunnel
	innerSide                     // a request that has left its tunnel, or had none
	replySide                     // an answer of the service
	directorSide                  // a request that IPVS is to send on
)

// Next is what would lose the packet once what comes before it is repaired.
type Next struct {
	Code    string `json:"code"`
	Summary string `json:"summary"`
	// Fix repairs it; empty if no command can.
	Fix []command.Command `json:"fix"`
}

// maxNext bounds the repairs that are tried one after another.
const maxNext = 4

// supposed is the packet as it would be later, on that side of its way.
type supposed struct {
	Subject
	side side
}

// tried repairs the cause in a copy of the state and asks again: what would lose the packet then, in the order in which
// it would be met. ok is false if the repair can't be modelled, or does not repair.
func (l lostPacket) tried(cause named, st *State) (next []Next, ok bool) {
	for f := cause.finding; ; {
		if f.mend == nil {
			return next, len(next) > 0
		}
		st = st.mended(f.mend)
		if len(next) == 0 {
			if answer, again := cause.row.ask(l.Subject, st.of(l.Subject)); answer == Fault && again.summary == f.summary && slices.Equal(again.fix.Commands(), f.fix.Commands()) {
				return nil, false
			}
		}
		then := l.onward(st)
		if then == nil {
			return next, true
		}
		cause, f = *then, then.finding.unharmed(st)
		next = append(next, Next{Code: cause.row.code, Summary: f.said(), Fix: f.fix.Commands()})
		if len(next) == maxNext {
			return next, true
		}
	}
}

// said is the summary; it says why there is no command, if there is none.
func (f finding) said() string {
	if why := f.fix.Refused(); why != "" {
		return f.summary + "; no command: " + why
	}
	return f.summary
}

// mended is the state after a repair. Rules are unpacked anew if it has changed any.
func (st *State) mended(mend func(*State)) *State {
	whole := *st.whole
	own := &State{Snapshot: &whole, whole: &whole, rules: st.rules, made: st.made}
	mend(own)
	if !sameSlice(whole.Nft, st.whole.Nft) || !sameSlice(whole.IPTables, st.whole.IPTables) {
		own.rules = ruleset.Of(own.whole)
	}
	return own
}

// sameSlice reports whether two slices share their memory, not whether they are equal.
func sameSlice[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// onward is the first certain fault on the rest of the way: of the packet, of what it becomes, or of the answer to it; nil
// if there is none.
func (l lostPacket) onward(st *State) *named {
	for _, s := range l.rest(st) {
		asked := st.of(s.Subject)
		for _, r := range byStage {
			if r.asked&s.side == 0 || r.fits != nil && !r.fits(s.Subject, asked) {
				continue
			}
			if answer, f := r.ask(s.Subject, asked); answer == Fault && !f.doubtful {
				return &named{r, *f, answer}
			}
		}
	}
	return nil
}

// byStage are the rows that are asked about supposed packets, in the order in which such a packet meets them.
var byStage = func() []row {
	some := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.asked == 0 })
	slices.SortStableFunc(some, func(a, b row) int { return int(a.stage) - int(b.stage) })
	return some
}()

// rest is the packet's way in this namespace from where it was lost; a packet that is only passing through has none.
func (l lostPacket) rest(st *State) (way []supposed) {
	s := l.Subject
	switch {
	case l.Astray != nil:
		return []supposed{{s.answer(), replySide}}
	case s.Reply:
		return s.atHooks(replySide, "output", "postrouting")
	case st.directs(s) && st.isDirector():
		s.Supposed = true // a new connection: one that is there stays where it is
		return []supposed{{s, directorSide}}
	case s.Leaving:
		return nil
	case asksTunnel4(s, st) && st.whole.Owns(s.Outer.Dst):
		way = s.atHooks(outerSide, "prerouting", "input")
		in := s
		in.Tunnelled, in.Dev, in.Supposed, in.Hook = false, "", true, ""
		if l := st.taker(s); l != nil && l.TakesIPv4() {
			in.Dev = l.Name
		}
		s = in
	}
	if l := st.whole.LinkNamed(s.Dev); l != nil && (l.Tunnel != nil || st.whole.Owns(s.vip())) && !s.Tunnelled && !s.redirected() {
		way = append(way, s.atHooks(innerSide, "prerouting", "input")...)
		way = append(way, s.answer().atHooks(replySide, "output", "postrouting")...)
	}
	return way
}

// atHooks is a packet between the hooks that it passes, and at each of them.
func (s Subject) atHooks(on side, hooks ...string) []supposed {
	at := s.Hook
	s.Hook, s.Bridged, s.Rule, s.Rejected, s.Reset = "", false, nil, false, false
	all := []supposed{{s, on}}
	for _, hook := range hooks {
		x := s
		x.Hook, x.Supposed = hook, s.Supposed || hook != at
		all = append(all, supposed{x, on})
	}
	return all
}
