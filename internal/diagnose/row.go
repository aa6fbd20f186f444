package diagnose

import (
	"fmt"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/internal/site"
)

// stage orders the causes as a packet meets them.
type stage uint8

const (
	link       stage = iota + 1 // the frame, XDP, tc
	outer                       // the outer header, its filters and its route
	tunnel                      // decapsulation
	routing                     // the inner header's route
	filter                      // filters of any header
	transport                   // socket
	replying                    // the way back
	forwarding                  // the director's work
)

// sight is how far the end of a packet shows a cause.
type sight uint8

const (
	// absent: the packet can't have ended so by this cause.
	absent sight = iota
	// possible: this cause, among others, ends packets there: the state must show the fault.
	possible
	// likely: this cause is the only one left that ends packets there, unless the state contradicts.
	likely
	// shown: the kernel was seen doing what it does only by this cause.
	shown
)

// spot is a site at which packets end by a cause, and how far that shows it.
type spot struct {
	site  site.Site
	sight sight
}

// sure are spots whose site alone shows the cause; maybe are spots at which the state must show it.
func sure(sites ...site.Site) (all []spot) {
	for _, s := range sites {
		all = append(all, spot{s, shown})
	}
	return all
}

func maybe(sites ...site.Site) (all []spot) {
	for _, s := range sites {
		all = append(all, spot{s, possible})
	}
	return all
}

// row is one cause. Nil functions say nothing.
type row struct {
	code  string
	stage stage
	// needs are the parts of the state without which check cannot answer. minds are parts that may change its answer: if
	// one is unread, the certainty is lower. looks are parts that it reads if they are there.
	needs, minds, looks []host.Part
	// at are the sites at which packets end by this cause.
	at []spot
	// fits is what else must be true of the packet; the State is nil if it was not read.
	fits func(Subject, *State) bool
	// check says what the state does to the packet; nil means nothing. It sees only the parts that the row names.
	check func(Subject, *State) *finding
	// asked are the sides of the way on which check is asked about a packet that was not lost yet.
	asked side
	// doubted are those on which only doctor asks it: what it says there is of this moment, or may be of other packets.
	doubted side
	// bare speaks if the packet's end shows the cause but the state does not show it, or was not read.
	bare func(Subject) finding
	// doc explains the cause to a person. Of several rows with one code the first has it.
	doc Doc
}

// Answer is what a check says.
type Answer uint8

// The answers.
const (
	// Unread: what the check needs was not read.
	Unread Answer = iota
	// Clear: the state does nothing to the packet.
	Clear
	// Consistent: the state shows neither that the packet is lost nor that it passes. Given that it was lost there,
	// nothing contradicts the cause.
	Consistent
	// Fault: with this state the packet is lost.
	Fault
)

// finding is what the state, or the end of a packet alone, says about a cause.
type finding struct {
	summary  string
	evidence []evidence
	fix      command.Fix
	// mend does to a State what fix does to the machine; nil if that can't be modelled.
	mend func(*State)
	// rule and candidates are set by the filters' rows.
	rule       *ruleset.Rule
	candidates []ruleset.Rule
	// consistent: the state does not contradict the fault, but does not show it.
	consistent bool
	// doubtful: the cause is inferred at most, whatever was seen.
	doubtful bool
	// because are what of the state leaves it open whether a consistent finding is a fault.
	because []string
	// undecided says why the check cannot answer although it could read what it needs; the other fields are empty then.
	undecided string
}

// evidence is one line, in the words of the tool that shows it, with the part of the state that it comes from. The part is
// empty if the line comes from the packet itself.
type evidence struct {
	part host.Part
	text string
}

// by is evidence from a part of the state, seen is evidence from the packet.
func by(part host.Part, format string, args ...any) evidence {
	return evidence{part, fmt.Sprintf(format, args...)}
}

func seen(format string, args ...any) evidence { return evidence{text: fmt.Sprintf(format, args...)} }

// sees is how far the end of a packet shows the cause.
func (r row) sees(l lostPacket, st *State) sight {
	best := absent
	for _, s := range r.at {
		if l.at.Has(s.site) {
			best = max(best, s.sight)
		}
	}
	if best != absent && r.fits != nil && !r.fits(l.Subject, st) {
		return absent
	}
	return best
}

// ask asks the state about the packet, as far as the row may see it.
func (r row) ask(s Subject, st *State) (Answer, *finding) {
	if r.check == nil {
		return Unread, nil
	}
	own := st.only(r)
	if own == nil {
		return Unread, nil
	}
	switch f := r.check(s, own); {
	case f == nil:
		return Clear, nil
	case f.undecided != "":
		return Unread, f
	case f.consistent:
		return Consistent, f
	default:
		return Fault, f
	}
}
