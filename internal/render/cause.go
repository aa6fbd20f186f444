package render

import (
	"fmt"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/screen"
)

// jsonRules is the rule that decided, or the rules that may have decided.
type jsonRules struct {
	Rule       *diagnose.Rule  `json:"rule,omitempty"`
	Candidates []diagnose.Rule `json:"candidates,omitempty"`
}

// explain adds why a journey was lost. A rule that rejects is shown with the answer, too.
func (j *jsonJourney) explain(v diagnose.Verdict) {
	if v.Cause != nil {
		c := *v.Cause
		c.Evidence, c.Fix = listed(c.Evidence), listed(c.Fix)
		c.Next = slices.Clone(c.Next)
		for i := range c.Next {
			c.Next[i].Fix = listed(c.Next[i].Fix)
		}
		j.Cause = &c
	}
	rules := jsonRules{v.Rule, v.Candidates}
	if j.Drop != nil {
		j.Drop.jsonRules = rules
	}
	if j.Reject != nil {
		j.Reject.jsonRules = rules
	}
}

// listed is the list, never null in JSON.
func listed[T any](lines []T) []T { return append([]T{}, lines...) }

// The headings of a cause have one width.
const (
	causeHeading = indent + "cause  "
	fixHeading   = indent + "fix    "
	thenHeading  = indent + "then   "
	underHeading = indent + "       "
)

// cause says why a journey was lost, what shows it, and what repairs it.
func (t *Text) cause(p *screen.Page, v diagnose.Verdict) {
	c := v.Cause
	if c == nil {
		return
	}
	p.Printf("%s", causeHeading)
	p.Paint(screen.Red, c.Code)
	if certainty := string(c.Certainty); c.Code != certainty {
		p.Printf(" (%s)", certainty)
	}
	p.Linef(": %s", c.Summary)
	for _, line := range c.Evidence {
		p.Linef("%s%s", underHeading, line)
	}
	for _, r := range v.Candidates {
		p.Linef("%scandidate: %s", underHeading, ruleName(r))
	}
	if len(c.Unread) > 0 {
		p.Linef("%snot read: %s", underHeading, strings.Join(c.Unread, "; "))
	}
	own := c.Fix
	for _, next := range c.Next {
		own = own[:len(own)-len(next.Fix)]
	}
	repair(p, own)
	if c.Untried {
		p.Linef("%snot tried: what these commands change can't be modelled", underHeading)
	}
	for _, next := range c.Next {
		p.Printf("%s", thenHeading)
		p.Paint(screen.Red, next.Code)
		p.Linef(": %s", next.Summary)
		repair(p, next.Fix)
	}
}

// repair are the commands of one repair.
func repair(p *screen.Page, fix []command.Command) {
	heading := fixHeading
	for _, c := range fix {
		p.Printf("%s", heading)
		p.Paint(screen.Green, c.String())
		p.Linef("")
		heading = underHeading
	}
}

// ruleName is a rule as a person finds it: "nft ip filter input handle 4: tcp dport 80 drop".
func ruleName(r diagnose.Rule) string {
	s := strings.Join([]string{r.Backend, r.Family, r.Table, r.Chain}, " ")
	switch {
	case r.Policy != "":
		s += " policy " + r.Policy
	case r.Handle != 0:
		s += fmt.Sprintf(" handle %d", r.Handle)
	case r.Number != 0:
		s += fmt.Sprintf(" rule %d", r.Number)
	}
	if r.Text != "" {
		s += ": " + r.Text
	}
	return s
}
