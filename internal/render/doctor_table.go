package render

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/screen"
)

// unread is the sign of what could not be told.
const unread = "?"

// mark is how checks ended, what shows it, and what that means.
type mark struct {
	sign   string
	colour screen.Colour
	means  string
	has    func(doctor.Check) bool
}

// marked reports whether a check ended in one of these ways.
func marked(any ...doctor.Mark) func(doctor.Check) bool {
	return func(c doctor.Check) bool { return slices.Contains(any, c.Mark) }
}

// marks are all, worst first. What could not be told for all of the way is said whatever else was found.
var marks = []mark{
	{"✗", screen.Red, "a fault", marked(doctor.Failed)},
	{"!", screen.Yellow, "a risk", marked(doctor.AtRisk)},
	{unread, screen.Yellow, "not told, or not for all of the way", func(c doctor.Check) bool { return len(c.Why) > 0 }},
	{"✓", screen.Green, "nothing is wrong", marked(doctor.Passed, doctor.Noted)},
	{"i", 0, "nothing is asked, only what is there is said", marked(doctor.Described)},
	{"–", 0, "packets come there only once what fails before it is repaired", marked(doctor.Behind)},
}

// table are all checks by their steps, the steps that have none, and what the marks mean.
func table(s sheet, r doctor.Report) {
	var legend []string
	for n, name := range doctor.Steps() {
		headed := false
		for _, m := range marks {
			for _, row := range rows(r, n+1, m) {
				if !headed {
					s.Linef("%d %s", n+1, name)
					headed = true
				}
				row.print(s, m)
				word := m.sign + " " + m.means
				if m.has(doctor.Check{Mark: doctor.Behind}) {
					word += leftOut(r)
				}
				if !slices.Contains(legend, word) {
					legend = append(legend, word)
				}
			}
		}
	}
	unasked(s, r)
	slices.SortStableFunc(legend, func(a, b string) int { return signed(a) - signed(b) })
	if len(legend) > 0 {
		s.fold(0, 2, strings.Join(legend, " · "))
	}
}

// signed is the place of a legend's mark among all.
func signed(word string) int {
	return slices.IndexFunc(marks, func(m mark) bool { return strings.HasPrefix(word, m.sign) })
}

// row are checks of one step that ended alike, and of which the same is said.
type row struct {
	codes []string
	why   string
	says  []string
}

// rows are those of a step that have a mark: checks of which the same is said share one.
func rows(r doctor.Report, step int, m mark) (all []row) {
	for _, c := range r.Checks {
		if c.Step != step || !m.has(c) {
			continue
		}
		next := row{codes: []string{c.Code}}
		if m.sign == unread {
			next.why = strings.Join(c.Why, "; ")
		}
		if m.sign != unread || c.Mark == doctor.Unread { // once
			next.says = c.Says
		}
		i := slices.IndexFunc(all, func(x row) bool { return x.why == next.why && len(x.says)+len(next.says) == 0 })
		if i < 0 {
			all = append(all, next)
			continue
		}
		all[i].codes = append(all[i].codes, c.Code)
	}
	return all
}

func (w row) print(s sheet, m mark) {
	s.Printf("  ")
	if m.colour == 0 {
		s.Printf("%s", m.sign)
	} else {
		s.Paint(m.colour, m.sign)
	}
	line := strings.Join(w.codes, ", ")
	if w.why != "" {
		line += ": " + w.why
	}
	s.Printf(" ")
	s.fold(len(indent), len(indent)+2, line)
	for _, line := range w.says {
		s.Printf("%s  ", indent)
		s.fold(len(indent)+2, 2*len(indent), line)
	}
}

// unasked are the steps that have no check, those for the same reason on one line.
func unasked(s sheet, r doctor.Report) {
	var reasons []string
	by := map[string][]string{}
	for _, u := range r.Unasked {
		if by[u.Why] == nil {
			reasons = append(reasons, u.Why)
		}
		by[u.Why] = append(by[u.Why], fmt.Sprintf("%d %s", u.Step, doctor.StepName(u.Step)))
	}
	for i, why := range reasons {
		if i == 0 {
			s.Linef("not asked")
		}
		s.Printf("  ")
		s.fold(2, len(indent)+2, strings.Join(by[why], ", ")+": "+why)
	}
}
