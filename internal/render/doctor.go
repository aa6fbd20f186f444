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

// DoctorText writes a report for people: the answer, the findings, all checks, and the answer in numbers. The error is the
// writer's.
func DoctorText(w io.Writer, r doctor.Report, opts TextOptions) error {
	s := sheet{&screen.Page{Colours: opts.Color}, opts.Width}
	s.fold(0, len(indent), examined(r)+": "+inWords(r))
	if r.Peer != nil {
		s.fold(0, 2*len(indent), indent+"joined with the other end: "+source(*r.Peer))
	}
	summaries(s, r)
	inside(s, r)
	for _, f := range r.Findings {
		s.Linef("")
		finding(s, f, r)
	}
	s.Linef("")
	table(s, r)
	s.Linef("")
	s.Linef("%s", reported(r))
	_, err := io.WriteString(w, s.String())
	return err
}

// source is whose report the other end's is, as far as it says so.
func source(of doctor.Source) string {
	if of.Host == "" {
		return "the report does not say whose and of when it is (an older version wrote it)"
	}
	where := fmt.Sprintf("network namespace %d", of.Netns)
	if of.Name != "" {
		where = "network namespace " + of.Name
	}
	return fmt.Sprintf("%s, %s, as of %s, by ipiptrace %s", of.Host, where, of.Time, of.Version)
}

// examined says of what the answer is.
func examined(r doctor.Report) string {
	who := some(addresses(r.VIPs))
	if len(r.Services) == 1 && len(r.Services[0].Asked) > 0 {
		who += " (" + some(r.Services[0].Asked) + ")"
	}
	switch {
	case r.Guessed:
		return who + " on this machine, taken for a real server (--role says otherwise)"
	case slices.ContainsFunc(r.Services, func(s doctor.Summary) bool { return s.Role != r.Role }):
		return who + " on this machine"
	case r.Role == doctor.Forwarder:
		return who + " on this machine, which passes it on"
	}
	return who + " on this " + spaced(r.Role)
}

// spaced is a role in words.
func spaced(role string) string { return strings.ReplaceAll(role, "-", " ") }

// some are the first few of a list, and how many more there are.
func some(all []string) string {
	const few = 4
	if len(all) <= few+1 {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:few], ", "), len(all)-few)
}

// inWords is the answer for people, with what the line of numbers leaves out.
func inWords(r doctor.Report) string {
	faults, risks, notes := r.Count(diagnose.Lost), r.Count(diagnose.AtRisk), r.Count(diagnose.Noted)
	seen := r.Watched
	says := "nothing was found that loses packets"
	switch {
	case faults > 0 && seen != nil && seen.Lost == 0 && seen.Arrived > 0:
		says = "packets are lost that meet what was found; those that were seen meanwhile did not, and arrived"
	case faults > 0:
		says = "packets are lost"
	case len(r.Hidden) > 0:
		says = "packets are lost by what --only or --skip leaves out (" + strings.Join(r.Hidden, ", ") + "), and by nothing that was asked for"
	case !r.Told():
		says = "nothing could be told"
	case risks > 0:
		says = "nothing was found that loses packets now, but something that may"
	}
	if len(r.Unread()) > 0 && faults == 0 && r.Told() {
		says += ", as far as could be told"
	}
	if len(r.Hidden) > 0 && faults > 0 {
		says += "; --only or --skip leaves out others: " + strings.Join(r.Hidden, ", ")
	}
	return fmt.Sprintf("%s (%s, %s, %s)", says, plural(faults, "fault"), plural(risks, "risk"), plural(notes, "note"))
}

// summaries are a line for each of several VIPs.
func summaries(s sheet, r doctor.Report) {
	if len(r.Services) < 2 {
		return
	}
	for _, one := range r.Services {
		asked := ""
		if len(one.Asked) > 0 {
			asked = " (" + some(one.Asked) + ")"
		}
		s.fold(0, 2*len(indent), fmt.Sprintf("%s%s%s, %s: %s, %s, %s, %s unread", indent, one.VIP, asked, spaced(one.Role),
			plural(one.Faults, "fault"), plural(one.Risks, "risk"), plural(one.Notes, "note"), plural(one.Unread, "check")))
	}
}

// inside says where the commands are to be run, if that is not where doctor was.
func inside(s sheet, r doctor.Report) {
	fixed := func(f doctor.Finding) bool { return len(f.Fix) > 0 }
	if r.Netns == "" || !slices.ContainsFunc(r.Findings, fixed) {
		return
	}
	enter := command.Inside(r.Netns)
	s.fold(0, len(indent), "commands are for the network namespace "+r.Netns+", and not for this shell's:")
	for _, c := range enter.Commands() {
		s.Linef("%s%s", indent, c)
	}
	if why := enter.Refused(); why != "" {
		s.under("no command: " + why)
	}
}

// reported is the one line that is to be read.
func reported(r doctor.Report) string {
	faults, risks := r.Count(diagnose.Lost), r.Count(diagnose.AtRisk)
	return fmt.Sprintf("%s, %s, %s unread of %d", plural(faults, "fault"), plural(risks, "risk"), plural(len(r.Unread()), "check"), len(r.Checks))
}

// colours are those of severities.
var colours = map[diagnose.Severity]screen.Colour{diagnose.Lost: screen.Red, diagnose.AtRisk: screen.Yellow, diagnose.Noted: screen.Green}

// finding is what was found, what shows it, what repairs it, and where more is said. Commands are never broken into lines.
func finding(s sheet, f doctor.Finding, r doctor.Report) {
	const heading = 6
	s.Paint(colours[f.Severity], fmt.Sprintf("%-*s", heading, f.Severity))
	says := f.Code + ": " + f.Summary
	if f.Certainty == diagnose.Observed {
		says = f.Code + " (observed): " + f.Summary
	}
	s.Printf(" ")
	s.fold(heading+1, heading+1, says)
	if len(r.VIPs) > 1 {
		s.under(whose(f, r))
	}
	if f.Behind {
		s.under("as it will be once the faults that a packet meets before it are repaired" + leftOut(r))
	}
	for _, line := range f.Evidence {
		s.under(line)
	}
	if len(f.Finding.Unread) > 0 {
		s.under("not read: " + strings.Join(f.Finding.Unread, "; "))
	}
	repair(s.Page, f.Fix)
	if f.Untried {
		s.under("not tried: what these commands change can't be modelled")
	}
	s.Linef("%smore   ipiptrace explain %s", indent, f.Code)
}

// whose are the VIPs that a finding is of, where several were asked about.
func whose(f doctor.Finding, r doctor.Report) string {
	if len(f.VIPs) == len(r.VIPs) {
		return "of each VIP"
	}
	return "of " + some(addresses(f.VIPs))
}

// leftOut says that what packets meet first is not shown.
func leftOut(r doctor.Report) string {
	if len(r.Hidden) == 0 {
		return ""
	}
	return " (--only or --skip leaves such out)"
}
