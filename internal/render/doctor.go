package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/doctor"
	"ipiptrace/internal/screen"
)

type jsonFinding struct {
	Type      string            `json:"type"`
	Code      string            `json:"code"`
	Severity  string            `json:"severity"`
	Certainty string            `json:"certainty"`
	Summary   string            `json:"summary"`
	Evidence  []string          `json:"evidence"`
	Fix       []command.Command `json:"fix"`
	Untried   bool              `json:"untried,omitempty"`
	Behind    bool              `json:"behind,omitempty"`
	Unread    []string          `json:"unread,omitempty"`
	Step      int               `json:"step"`
	VIP       string            `json:"vip"`
	Help      string            `json:"help"`
}

type jsonReport struct {
	Type string   `json:"type"`
	VIPs []string `json:"vips"`
	Role string   `json:"role"`
	// Services are summaries of the VIPs.
	Services []jsonSummary `json:"services"`
	Faults   int           `json:"faults"`
	Risks    int           `json:"risks"`
	Notes    int           `json:"notes"`
	Checks   int           `json:"checks"`
	Unread   []string      `json:"unread"`
	// Table are all checks.
	Table []jsonCheck `json:"table"`
	// Facts are for --peer of the other end.
	Facts doctor.Facts `json:"facts"`
	// Of --watch.
	Watched *jsonWatched `json:"watched,omitempty"`
}

type jsonSummary struct {
	VIP    string `json:"vip"`
	Role   string `json:"role"`
	Faults int    `json:"faults"`
	Risks  int    `json:"risks"`
	Notes  int    `json:"notes"`
	Unread int    `json:"unread"`
}

type jsonCheck struct {
	Step   int      `json:"step"`
	Code   string   `json:"code"`
	Mark   string   `json:"mark"`
	Says   []string `json:"says,omitempty"`
	Unread []string `json:"unread,omitempty"`
}

type jsonWatched struct {
	Milliseconds int64 `json:"milliseconds"`
	Journeys     int   `json:"journeys"`
	Arrived      int   `json:"arrived"`
	Lost         int   `json:"lost"`
}

// DoctorJSON writes a line a finding, and the report. The error is the writer's.
func DoctorJSON(w io.Writer, r doctor.Report) error {
	for _, f := range r.Findings {
		err := screen.JSON(w, jsonFinding{
			Type: "finding", Code: f.Code, Severity: string(f.Severity), Certainty: string(f.Certainty), Summary: f.Summary, Evidence: listed(f.Evidence),
			Fix: listed(f.Fix), Untried: f.Untried, Behind: f.Behind, Unread: f.Finding.Unread, Step: f.Step, VIP: f.VIP.String(), Help: "docs/causes/" + f.Code + ".md",
		})
		if err != nil {
			return err
		}
	}
	report := jsonReport{
		Type: "report", Facts: r.Facts, VIPs: []string{}, Role: r.Role, Checks: len(r.Checks), Unread: []string{}, Table: []jsonCheck{}, Services: []jsonSummary{},
		Faults: r.Count(diagnose.Lost), Risks: r.Count(diagnose.AtRisk), Notes: r.Count(diagnose.Noted),
	}
	for _, vip := range r.VIPs {
		report.VIPs = append(report.VIPs, vip.String())
	}
	for _, s := range r.Services {
		report.Services = append(report.Services, jsonSummary{s.VIP.String(), s.Role, s.Faults, s.Risks, s.Notes, s.Unread})
	}
	for _, c := range r.Unread() {
		report.Unread = append(report.Unread, c.Code+": "+strings.Join(c.Why, "; "))
	}
	for _, c := range r.Checks {
		report.Table = append(report.Table, jsonCheck{c.Step, c.Code, markWords[c.Mark], c.Says, c.Why})
	}
	if seen := r.Watched; seen != nil {
		report.Watched = &jsonWatched{seen.For.Milliseconds(), seen.Journeys, seen.Arrived, seen.Lost}
	}
	return screen.JSON(w, report)
}

// DoctorText writes a report for people: the answer, the findings, all checks, and the answer again. The error is the writer's.
func DoctorText(w io.Writer, r doctor.Report, opts TextOptions) error {
	p := &screen.Page{Colours: opts.Color}
	p.Linef("%s: %s", examined(r), reported(r))
	summaries(p, r)
	for _, f := range r.Findings {
		p.Linef("")
		finding(p, f)
	}
	p.Linef("")
	for n, name := range doctor.Steps() {
		checks(p, n+1, name, r)
	}
	p.Linef("")
	if seen := r.Watched; seen != nil {
		p.Linef("watched for %s: %s, %d arrived, %d lost", seen.For, plural(seen.Journeys, "journey"), seen.Arrived, seen.Lost)
	}
	p.Linef("%s", reported(r))
	_, err := io.WriteString(w, p.String())
	return err
}

// examined says of what the answer is.
func examined(r doctor.Report) string {
	var vips []string
	for _, vip := range r.VIPs {
		vips = append(vips, vip.String())
	}
	role := strings.ReplaceAll(r.Role, "-", " ")
	if slices.ContainsFunc(r.Services, func(s doctor.Summary) bool { return s.Role != r.Role }) {
		role = "machine"
	}
	if r.Guessed {
		return strings.Join(vips, ", ") + " on this machine, taken for a real server (--role says otherwise)"
	}
	return strings.Join(vips, ", ") + " on this " + role
}

// summaries are a line for each of several VIPs.
func summaries(p *screen.Page, r doctor.Report) {
	if len(r.Services) < 2 {
		return
	}
	for _, s := range r.Services {
		p.Linef("%s%s, of which it is a %s: %s, %s, %s unread", indent, s.VIP, strings.ReplaceAll(s.Role, "-", " "), plural(s.Faults, "fault"), plural(s.Risks, "risk"), plural(s.Unread, "check"))
	}
}

// reported is the one line that is to be read.
func reported(r doctor.Report) string {
	faults, risks := r.Count(diagnose.Lost), r.Count(diagnose.AtRisk)
	return fmt.Sprintf("%s, %s, %s unread of %d", plural(faults, "fault"), plural(risks, "risk"), plural(len(r.Unread()), "check"), len(r.Checks))
}

// colours are those of severities.
var colours = map[diagnose.Severity]screen.Colour{diagnose.Lost: screen.Red, diagnose.AtRisk: screen.Yellow, diagnose.Noted: screen.Green}

func finding(p *screen.Page, f doctor.Finding) {
	p.Paint(colours[f.Severity], fmt.Sprintf("%-6s", f.Severity))
	p.Linef(" %s: %s", f.Code, f.Summary)
	if f.Behind {
		p.Linef("%sas it will be once the faults that a packet meets before it are repaired", underHeading)
	}
	for _, line := range f.Evidence {
		p.Linef("%s%s", underHeading, line)
	}
	if len(f.Finding.Unread) > 0 {
		p.Linef("%snot read: %s", underHeading, strings.Join(f.Finding.Unread, "; "))
	}
	repair(p, f.Fix)
	if f.Untried {
		p.Linef("%snot tried: what these commands change can't be modelled", underHeading)
	}
	p.Linef("%smore   ipiptrace explain %s", indent, f.Code)
}

// marks are how a check ended.
var marks = map[doctor.Mark]string{doctor.Passed: "✓", doctor.Behind: "–", doctor.Noted: "✓", doctor.Unread: "?", doctor.AtRisk: "!", doctor.Failed: "✗"}

// markWords are the marks in JSON.
var markWords = map[doctor.Mark]string{doctor.Passed: "passed", doctor.Behind: "behind", doctor.Noted: "noted", doctor.Unread: "unread", doctor.AtRisk: "risk", doctor.Failed: "fault"}

// checks are a step's, a line each; nothing if it has none.
func checks(p *screen.Page, n int, name string, r doctor.Report) {
	of := slices.DeleteFunc(slices.Clone(r.Checks), func(c doctor.Check) bool { return c.Step != n })
	for i, c := range of {
		if i == 0 {
			p.Linef("%d %s", n, name)
		}
		p.Printf("  %s %s", marks[c.Mark], c.Code)
		if len(c.Why) > 0 {
			p.Printf(": %s", strings.Join(c.Why, "; "))
		}
		if c.Mark == doctor.Behind {
			p.Printf(": packets come there only once what fails before it is repaired")
		}
		p.Linef("")
		for _, line := range c.Says {
			p.Linef("      %s", line)
		}
	}
}
