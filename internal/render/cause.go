package render

import (
	"fmt"
	"strings"

	"ipiptrace/internal/diagnose"
)

// jsonRules is the rule that decided, or the rules that may have.
type jsonRules struct {
	Rule       *diagnose.Rule  `json:"rule,omitempty"`
	Candidates []diagnose.Rule `json:"candidates,omitempty"`
}

// explain adds why a journey was lost. A rule that rejects is shown with the answer, too.
func (j *jsonJourney) explain(v diagnose.Verdict) {
	if v.Cause != nil {
		c := *v.Cause
		c.Evidence, c.Fix = listed(c.Evidence), listed(c.Fix)
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

// listed is never null.
func listed(lines []string) []string { return append([]string{}, lines...) }

// The headings of a cause have one width.
const (
	causeHeading = indent + "cause  "
	fixHeading   = indent + "fix    "
	underHeading = indent + "       "
)

// cause says why a journey was lost, what shows it, and what repairs it.
func (t *Text) cause(v diagnose.Verdict) string {
	c := v.Cause
	if c == nil {
		return ""
	}
	var b strings.Builder
	certainty := string(c.Certainty)
	if c.Code == certainty {
		certainty = ""
	} else {
		certainty = " (" + certainty + ")"
	}
	fmt.Fprintf(&b, "%s%s%s: %s\n", causeHeading, t.paint(red, clean(c.Code)), certainty, clean(c.Summary))
	for _, line := range c.Evidence {
		fmt.Fprintf(&b, "%s%s\n", underHeading, clean(line))
	}
	for _, r := range v.Candidates {
		fmt.Fprintf(&b, "%scandidate: %s\n", underHeading, clean(ruleName(r)))
	}
	if len(c.Unread) > 0 {
		fmt.Fprintf(&b, "%snot read: %s\n", underHeading, clean(strings.Join(c.Unread, "; ")))
	}
	heading := fixHeading
	for _, command := range c.Fix {
		fmt.Fprintf(&b, "%s%s\n", heading, t.paint(green, clean(command)))
		heading = underHeading
	}
	return b.String()
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
