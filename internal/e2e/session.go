package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// sessions plays each fault once and writes what ipiptrace says of it to a person: session.txt of each scenario. The
// pages of docs/ show them. That ipiptrace is right is proved elsewhere.
func (o options) sessions(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) {
	for _, rd := range sets["quick"].rounds(auto) {
		for _, show := range []string{"lost", "all"} {
			// What is a notice is not lost.
			rd := rd
			rd.show, rd.healthy, rd.pairs, rd.deferred = show, 0, false, false
			rd.scenarios = slices.DeleteFunc(slices.Clone(rd.scenarios), func(s fault.Scenario) bool { return s.Code == "" || s.Notice != (show == "all") })
			if rd, ok := rd.playable(ctx, r, l, only); ok {
				r.check(rd.String()+"/"+show, o.sessionsOf(ctx, r, l, rd))
			}
		}
	}
}

// sessionsOf are those of one attach.
func (o options) sessionsOf(ctx context.Context, r *report, l *lab.Lab, rd round) (err error) {
	if rd.before {
		if err := fault.Inject(ctx, l, rd.scenarios[0]); err != nil {
			return errors.Join(err, fault.Undo(ctx, l, rd.scenarios[0]))
		}
	}
	w, err := start(ctx, l, o.ipiptrace, rd)
	if err != nil {
		return errors.Join(err, fault.Undo(ctx, l, rd.scenarios[0]))
	}
	r.note("%s: ready after %v", rd, w.ready.Round(time.Millisecond))
	for _, s := range rd.scenarios {
		w.settle(late)
		before := len(w.said())
		_, err := o.play(ctx, r, l, s)
		r.check("session/"+s.Name, errors.Join(err, o.session(w, rd, s, before), o.repair(ctx, l, s, several)))
	}
	return kill(w.cmd, w.ended)
}

// session writes a scenario's, from what was said since it began.
func (o options) session(w *watch, rd round, s fault.Scenario, before int) error {
	sent := 0
	for _, t := range s.Traffic {
		sent += t.Count
	}
	var told []string
	for began := time.Now(); len(told) < sent && time.Since(began) < verdictPatience/2; time.Sleep(100 * time.Millisecond) {
		told = slices.DeleteFunc(blocks(w.said()[before:]), func(b string) bool { return !names(b, s.Code) })
	}
	if len(told) == 0 {
		return fmt.Errorf("nothing says %s:\n%s", s.Code, strings.Join(w.said()[before:], "\n"))
	}
	text := "$ ipiptrace " + strings.Join(flagsOf(rd, "$IPIPTRACE_"+strings.ToUpper(strings.ReplaceAll(string(rd.watched), "-", "_"))), " ") + "\n" +
		strings.Join(different(told), "")
	path := filepath.Join(o.sessionDir, s.Name, "session.txt")
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
}

// said are the lines so far.
func (w *watch) said() (lines []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lines {
		lines = append(lines, l.raw)
	}
	return lines
}

// blocks are the journeys in lines of text: all but a journey's first line are indented.
func blocks(lines []string) (all []string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, " ") || len(all) == 0 {
			all = append(all, "")
		}
		all[len(all)-1] += line + "\n"
	}
	return all
}

// names reports whether a journey's text has the code as its cause or its notice.
func names(block, code string) bool {
	return strings.Contains(block, "\n    cause  "+code+" (") || strings.Contains(block, "\n    cause  "+code+":") ||
		strings.Contains(block, " ("+code+")\n")
}

// different leaves the first of those that differ in no more than who sent the packet, when, and which way it came.
func different(told []string) (first []string) {
	seen := map[string]bool{}
	for _, block := range told {
		headline, rest, _ := strings.Cut(block, "\n")
		_, why, _ := strings.Cut(headline, ": ")
		_, rest, _ = strings.Cut(rest, "\n")
		if key := steady(why + rest); !seen[key] {
			seen[key] = true
			first = append(first, block)
		}
	}
	return first
}
