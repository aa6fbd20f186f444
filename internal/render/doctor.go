package render

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/doctor"
	"ipiptrace/internal/screen"
)

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
