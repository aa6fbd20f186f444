package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"time"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// page is what `explain` says of a cause, as far as one scenario shows it.
type page struct {
	diagnose.Doc
	scenario fault.Scenario
	// first: it is the first scenario that has the cause, which shows what no line leaves to another.
	first bool
}

// pagesOf are the page's: one for the first scenario that has the cause, and one for each that a line names.
func pagesOf(d diagnose.Doc) (all []page) {
	for _, s := range fault.Scenarios() {
		named := slices.ContainsFunc(slices.Concat(d.Confirm, d.Fix), func(l diagnose.Line) bool { return l.Lab == s.Name })
		if s.Code == d.Code && (len(all) == 0 || named) {
			all = append(all, page{d, s, len(all) == 0})
		}
	}
	return all
}

// pageOf is the page that the scenario shows; ok is false if another one shows it, or none.
func pageOf(s fault.Scenario) (p page, ok bool) {
	for _, d := range diagnose.Codes() {
		for _, p := range pagesOf(d) {
			if p.scenario.Name == s.Name {
				return p, true
			}
		}
	}
	return page{}, false
}

// shown leaves the commands that the scenario shows.
func (p page) shown(lines []diagnose.Line) (all []diagnose.Line) {
	for _, l := range lines {
		if l.Command != "" && (l.Lab == p.scenario.Name || l.Lab == "" && p.first) && unplayed(l) == "" {
			all = append(all, l)
		}
	}
	return all
}

// ways are the ways to repair the fault that the scenario shows.
func (p page) ways() (all [][]diagnose.Line) {
	for _, way := range p.Ways() {
		if way = p.shown(way); len(way) > 0 {
			all = append(all, way)
		}
	}
	return all
}

// pages tries all pages: with the fault in the lab the commands show what the page says they show, and after each way to
// repair it every request is answered. Nothing watches meanwhile.
func (o options) pages(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) {
	for _, d := range diagnose.Codes() {
		for _, p := range pagesOf(d) {
			if name := "explain/" + d.Code + "/" + p.scenario.Name; only.MatchString(name) {
				began := time.Now()
				r.explain(name, func() error { return o.page(ctx, r, l, p) })
				r.note("%s took %v", name, time.Since(began).Round(10*time.Millisecond))
			}
		}
	}
	r.check("explain/undo", answered(ctx, l, "pages of explain", several))
}

// page tries all that the scenario shows of a page.
func (o options) page(ctx context.Context, r *report, l *lab.Lab, p page) (err error) {
	s := p.scenario
	s.Traffic = hurried(s.Traffic)
	defer func() { err = errors.Join(err, fault.Undo(ctx, l, s)) }()
	if _, err := o.play(ctx, r, l, s); err != nil {
		return err
	}
	if err := p.confirms(ctx, l); err != nil {
		return err
	}
	for i, way := range p.ways() {
		if i > 0 {
			if err := fault.Undo(ctx, l, s); err != nil {
				return err
			}
			if _, err := o.play(ctx, r, l, s); err != nil {
				return err
			}
		}
		if err := p.repairs(ctx, r, l, way); err != nil {
			return err
		}
	}
	return nil
}

// hurried is traffic that waits no longer than it must for an answer that does not come.
func hurried(all []lab.Traffic) []lab.Traffic {
	all = slices.Clone(all)
	for i := range all {
		if all[i].Want == lab.TimedOut {
			all[i].Deadline = min(all[i].Deadline, longest)
		}
	}
	return all
}

const longest = 700 * time.Millisecond

// confirms runs the commands that confirm the cause.
func (p page) confirms(ctx context.Context, l *lab.Lab) (err error) {
	for _, line := range p.shown(p.Confirm) {
		if e := p.shows(ctx, l, line); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", line.Command, e))
		}
	}
	return err
}

// showPatience is how long a command may take to show something: the kernel gives up a neighbour, or a fragment, after a while.
const showPatience = 2 * time.Second

// shows runs a command until it prints what the page says.
func (p page) shows(ctx context.Context, l *lab.Lab, line diagnose.Line) error {
	wanted, err := regexp.Compile(diagnose.Fill(line.Shows, func(word string) (string, bool) {
		value, ok := p.valueOf(l, word)
		return regexp.QuoteMeta(value), ok
	}))
	if err != nil {
		return err
	}
	command := p.fill(l, line.Command)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		out, err := runAt(ctx, l, p.placeOf(line), command)
		if exit := (*exec.ExitError)(nil); err != nil && (!line.Fails || !errors.As(err, &exit) || exit.ExitCode() >= cannotRun) {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
		}
		if wanted.MatchString(out) {
			return nil
		}
		if time.Since(began) > showPatience {
			return fmt.Errorf("want %s, got\n%s", wanted, out)
		}
	}
}

// cannotRun is the least exit status with which a shell says that there is no such program.
const cannotRun = 126

// repairs runs the commands of a way to repair the fault, and checks that requests are answered after them.
func (p page) repairs(ctx context.Context, r *report, l *lab.Lab, way []diagnose.Line) error {
	own := stands[p.scenario.Name]
	if err := own.script(ctx, l, own.before); err != nil {
		return err
	}
	for _, line := range way {
		r.note("explain# %s", line.Command)
		if err := p.repair(ctx, l, line); err != nil {
			return err
		}
	}
	return errors.Join(answered(ctx, l, way[0].Command, several), own.script(ctx, l, own.after))
}

// repair runs a command of a repair: for each of the fault's rules, and for the service of UDP as well as for that of TCP.
func (p page) repair(ctx context.Context, l *lab.Lab, line diagnose.Line) error {
	commands := []string{line.Command}
	if udp := udpToo.Replace(line.Command); udp != line.Command && !stands[p.scenario.Name].onlyTCP {
		commands = append(commands, udp)
	}
	for _, c := range commands {
		each, err := p.each(ctx, l, line, c)
		if err != nil {
			return err
		}
		for _, c := range each {
			if out, err := runAt(ctx, l, p.placeOf(line), c); err != nil {
				return fmt.Errorf("%s: %w: %s", c, err, strings.TrimSpace(out))
			}
		}
	}
	return nil
}

// udpToo makes a command about the service of TCP one about that of UDP.
var udpToo = strings.NewReplacer("-t VIP:PORT", "-u VIP:PORT", "tcp dport", "udp dport", "-p tcp", "-p udp")

// each is the command once for each number that a rule of the fault has: HANDLE, NUMBER and the like.
func (p page) each(ctx context.Context, l *lab.Lab, line diagnose.Line, command string) (all []string, err error) {
	for word, script := range stands[p.scenario.Name].numbers {
		if !strings.Contains(command, word) {
			continue
		}
		out, err := runAt(ctx, l, p.placeOf(line), script)
		if err != nil || out == "" {
			return nil, fmt.Errorf("%s: %s: %q: %w", word, script, out, cmp.Or(err, errors.New("no number")))
		}
		for _, n := range strings.Fields(out) {
			all = append(all, p.fill(l, strings.Replace(command, word, n, 1)))
		}
		return all, nil
	}
	return []string{p.fill(l, command)}, nil
}

// runAt runs a command in a shell, in a role's namespace, or in the first one.
func runAt(ctx context.Context, l *lab.Lab, at lab.Role, command string) (out string, err error) {
	run := func() error {
		text, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
		out = string(text)
		return err
	}
	if at == everywhere {
		err = l.Outside(run)
	} else {
		err = l.Node(at).Do(run)
	}
	return out, err
}
