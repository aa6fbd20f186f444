package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// line is what this test reads of a line of ipiptrace's JSON.
type line struct {
	Type      string    `json:"type"`
	ID        string    `json:"id"`
	Start     time.Time `json:"start"`
	Role      string    `json:"role"`
	Direction string    `json:"direction"`
	Fate      string    `json:"fate"`
	Inner     struct {
		Proto string `json:"proto"`
		Src   string `json:"src"`
		Sport int    `json:"sport"`
		Dst   string `json:"dst"`
		Dport int    `json:"dport"`
		Flags string `json:"flags"`
	} `json:"inner"`
	Outer struct {
		ID int `json:"id"`
	} `json:"outer"`
	Steps []step `json:"steps"`
	Drop  *struct {
		Function string `json:"function"`
		Reason   string `json:"reason"`
		Dev      string `json:"dev"`
		Netns    uint32 `json:"netns"`
		NfHook   string `json:"nf_hook"`

		Rule       *rule  `json:"rule"`
		Candidates []rule `json:"candidates"`
	} `json:"drop"`
	Reject *struct {
		By   string `json:"by"`
		Type int    `json:"type"`
		Code int    `json:"code"`
		Sent bool   `json:"sent"`
	} `json:"reject"`
	Cause *struct {
		Code      string   `json:"code"`
		Certainty string   `json:"certainty"`
		Summary   string   `json:"summary"`
		Evidence  []string `json:"evidence"`
		Fix       []string `json:"fix"`
		Next      []struct {
			Code string   `json:"code"`
			Fix  []string `json:"fix"`
		} `json:"next"`
	} `json:"cause"`
	Notice []struct {
		Code    string `json:"code"`
		Summary string `json:"summary"`
	} `json:"notice"`
	Reply string `json:"reply"`
	Gaps  int    `json:"gaps"`

	// The account.
	Journeys   int             `json:"journeys"`
	Lost       int             `json:"lost"`
	LostEvents int             `json:"lost_events"`
	Missed     json.RawMessage `json:"missed"`
	Untracked  int             `json:"untracked"`
	Events     int             `json:"events"`

	raw string
	// came is when it was read.
	came time.Time
}

// step is what this test reads of a step.
type step struct {
	T     time.Duration `json:"t"`
	Hook  string        `json:"hook"`
	Dev   string        `json:"dev"`
	Netns uint32        `json:"netns"`
}

// counted reports whether the kernel counts what it missed.
func (l line) counted() bool { return len(l.Missed) > 0 && string(l.Missed) != "null" }

// missed is what the account admits; none where the kernel does not count them.
func (l line) missed() int {
	n, _ := strconv.Atoi(string(l.Missed))
	return n
}

// flow is a connection or an exchange, in one direction.
type flow struct {
	direction    string
	sport, dport int
}

func (l line) flow() flow {
	if l.Inner.Dst == "" { // what is no IPv4 packet is told apart by its outer header
		return flow{l.Direction, l.Outer.ID, 0}
	}
	return flow{l.Direction, l.Inner.Sport, l.Inner.Dport}
}

// client is the client's port.
func (l line) client() int {
	if l.Direction == "reply" {
		return l.Inner.Dport
	}
	return l.Inner.Sport
}

// end is when it was seen last.
func (l line) end() time.Time {
	if len(l.Steps) == 0 {
		return l.Start
	}
	return l.Start.Add(l.Steps[len(l.Steps)-1].T)
}

// lost is the contract's sense of it.
func (l line) lost() bool {
	switch l.Fate {
	case "dropped", "rejected", "vanished":
		return true
	}
	return l.Reply == "lost"
}

// notice is the summary of the notice of that code.
func (l line) notice(code string) (summary string, ok bool) {
	for _, n := range l.Notice {
		if n.Code == code {
			return n.Summary, true
		}
	}
	return "", false
}

// arrived is the contract's sense of it.
func (l line) arrived() bool {
	return (l.Fate == "delivered" || l.Fate == "forwarded" || l.Fate == "consumed") && l.Reply != "lost"
}

func (l line) String() string {
	s := fmt.Sprintf("%s %s %s :%d > :%d %s", l.Direction, l.Inner.Proto, l.Inner.Flags, l.Inner.Sport, l.Inner.Dport, l.Fate)
	if l.Role != "" {
		s += " at the " + l.Role
	}
	if l.Reply != "" {
		s += ", reply " + l.Reply
	}
	if d := l.Drop; d != nil {
		s += fmt.Sprintf(" in %s %s dev %s hook %q", d.Function, d.Reason, d.Dev, d.NfHook)
	}
	if r := l.Reject; r != nil {
		s += fmt.Sprintf(" by %s %d/%d sent %v", r.By, r.Type, r.Code, r.Sent)
	}
	for i, step := range l.Steps {
		if i == 0 {
			s += ":"
		}
		s += fmt.Sprintf(" %s@%s", step.Hook, step.Dev)
	}
	return s
}
