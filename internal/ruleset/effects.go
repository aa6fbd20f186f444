package ruleset

import "slices"

// effects are what rules have done to the packet so far, as far as later rules ask for it.
type effects struct {
	// ct is what a rule sees of the packet's state in connection tracking, untracked whether a rule has exempted it.
	ct        CT
	untracked match
	// mark is valid if marked: it is known.
	mark   uint32
	marked bool
	// natted: a rule may have changed the destination; changed are other fields that a rule may have written.
	natted  bool
	changed []string
}

// same reports whether nothing has been done between the two.
func (f effects) same(o effects) bool {
	return f.ct == o.ct && f.untracked == o.untracked && f.marked == o.marked && (!f.marked || f.mark == o.mark) && f.natted == o.natted &&
		len(f.changed) == len(o.changed)
}

// or is what is known if it may have been the one or the other.
func (f effects) or(o effects) effects {
	f.ct |= o.ct
	if f.untracked != o.untracked {
		f.untracked = may
	}
	f.marked = f.marked && o.marked && f.mark == o.mark
	f.natted = f.natted || o.natted
	for _, field := range o.changed {
		f.change(field)
	}
	return f
}

// change notes that a field may be another now.
func (f *effects) change(field string) {
	if !f.hasChanged(field) {
		f.changed = append(slices.Clip(f.changed), field)
	}
}

func (f *effects) hasChanged(field string) bool { return slices.Contains(f.changed, field) }

// mangle does what a statement that writes a field does.
func (e *evaluation) mangle(s *statement, number uint32, known bool, m match) {
	if m == no || s.writes == nil {
		return
	}
	switch to := s.writes; {
	case to.name == "meta" && to.key == "mark":
		e.setMarkTo(number, known, m)
	case to.name == "ct" && to.key == "zone" && e.ct == Invalid: // a template takes the place of its connection
		e.ct |= New
	case to.name == "payload":
		e.change(to.field)
	}
}
