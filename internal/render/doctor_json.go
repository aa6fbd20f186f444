package render

import (
	"io"
	"net/netip"
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
	VIPs      []string          `json:"vips"`
	Seen      bool              `json:"seen,omitempty"`
	Help      string            `json:"help"`
}

type jsonReport struct {
	Type string   `json:"type"`
	VIPs []string `json:"vips"`
	Role string   `json:"role"`
	// NetnsPath is the file of the network namespace in which the commands are to be run, if that is not the caller's own.
	NetnsPath string `json:"netns_path,omitempty"`
	// Services are summaries of the VIPs.
	Services []jsonSummary `json:"services"`
	Faults   int           `json:"faults"`
	Risks    int           `json:"risks"`
	Notes    int           `json:"notes"`
	Checks   int           `json:"checks"`
	Unread   []string      `json:"unread"`
	// Table are all checks.
	Table   []jsonCheck   `json:"table"`
	Unasked []jsonUnasked `json:"unasked"`
	Hidden  bool          `json:"hidden,omitempty"`
	// LeftOut are the codes of what is hidden.
	LeftOut []string `json:"left_out,omitempty"`
	Guessed bool     `json:"guessed,omitempty"`
	// Facts are for --peer of the other end.
	Facts doctor.Facts `json:"facts"`
	// Peer is whose facts --peer has given.
	Peer *doctor.Source `json:"peer,omitempty"`
	// Of --watch.
	Watched *jsonWatched `json:"watched,omitempty"`
}

type jsonSummary struct {
	VIP    string   `json:"vip"`
	Role   string   `json:"role"`
	Asked  []string `json:"asked"`
	Faults int      `json:"faults"`
	Risks  int      `json:"risks"`
	Notes  int      `json:"notes"`
	Unread int      `json:"unread"`
}

type jsonUnasked struct {
	Step int    `json:"step"`
	Why  string `json:"why"`
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
	Past         int   `json:"past,omitempty"`
}

// DoctorJSON writes a line a finding, and the report. The error is the writer's.
func DoctorJSON(w io.Writer, r doctor.Report) error {
	for _, f := range r.Findings {
		err := screen.JSON(w, jsonFinding{
			Type: "finding", Code: f.Code, Severity: string(f.Severity), Certainty: string(f.Certainty), Summary: f.Summary, Evidence: listed(f.Evidence),
			Fix: listed(f.Fix), Untried: f.Untried, Behind: f.Behind, Unread: f.Finding.Unread, Step: f.Step, VIP: f.VIP.String(), VIPs: addresses(f.VIPs), Seen: f.Seen, Help: "docs/causes/" + f.Code + ".md",
		})
		if err != nil {
			return err
		}
	}
	report := jsonReport{
		Type: "report", Facts: r.Facts, Peer: r.Peer, VIPs: addresses(r.VIPs), Role: r.Role, NetnsPath: r.Netns, Checks: len(r.Checks), Unread: []string{}, Table: []jsonCheck{}, Services: []jsonSummary{},
		Unasked: []jsonUnasked{}, Hidden: len(r.Hidden) > 0, LeftOut: r.Hidden, Guessed: r.Guessed,
		Faults: r.Count(diagnose.Lost), Risks: r.Count(diagnose.AtRisk), Notes: r.Count(diagnose.Noted),
	}
	for _, s := range r.Services {
		report.Services = append(report.Services, jsonSummary{s.VIP.String(), s.Role, listed(s.Asked), s.Faults, s.Risks, s.Notes, s.Unread})
	}
	for _, c := range r.Unread() {
		report.Unread = append(report.Unread, c.Code+": "+strings.Join(c.Why, "; "))
	}
	for _, c := range r.Checks {
		report.Table = append(report.Table, jsonCheck{c.Step, c.Code, markWords[c.Mark], c.Says, c.Why})
	}
	for _, u := range r.Unasked {
		report.Unasked = append(report.Unasked, jsonUnasked(u))
	}
	if seen := r.Watched; seen != nil {
		report.Watched = &jsonWatched{seen.For.Milliseconds(), seen.Journeys, seen.Arrived, seen.Lost, seen.Past}
	}
	return screen.JSON(w, report)
}

// addresses are written as text, never as null.
func addresses(all []netip.Addr) []string {
	words := []string{}
	for _, a := range all {
		words = append(words, a.String())
	}
	return words
}

// markWords are the marks in JSON.
var markWords = map[doctor.Mark]string{doctor.Described: "described", doctor.Passed: "passed", doctor.Behind: "behind", doctor.Noted: "noted", doctor.Unread: "unread", doctor.AtRisk: "risk", doctor.Failed: "fault"}
