package render

import (
	"fmt"
	"strings"

	"ipiptrace/internal/diagnose"
)

type jsonCause struct {
	Code      string   `json:"code"`
	Certainty string   `json:"certainty"`
	Summary   string   `json:"summary"`
	Evidence  []string `json:"evidence"`
	Fix       []string `json:"fix"`
	Unread    []string `json:"unread,omitempty"`
}

// jsonRules is the rule that decided, or the rules that may have.
type jsonRules struct {
	Rule       *jsonRule  `json:"rule,omitempty"`
	Candidates []jsonRule `json:"candidates,omitempty"`
}

type jsonRule struct {
	Backend string `json:"backend"`
	Family  string `json:"family"`
	Table   string `json:"table"`
	Chain   string `json:"chain"`
	Handle  uint64 `json:"handle,omitempty"`
	Number  int    `json:"number,omitempty"`
	Text    string `json:"text,omitempty"`
	Policy  string `json:"policy,omitempty"`
}

// explain adds why a journey was lost. A rule that rejects is shown with the answer, too.
func (j *jsonJourney) explain(v diagnose.Verdict) {
	if c := v.Cause; c != nil {
		j.Cause = &jsonCause{c.Code, string(c.Certainty), c.Summary, listed(c.Evidence), listed(c.Fix), c.Unread}
	}
	rules := jsonRules{Rule: (*jsonRule)(v.Rule)}
	for _, r := range v.Candidates {
		rules.Candidates = append(rules.Candidates, jsonRule(r))
	}
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
