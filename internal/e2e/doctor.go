package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// found is what this test reads of a line of doctor's JSON.
type found struct {
	Type, Code, Severity, Summary string
	Unread, Fix                   []string
	// Services are, in the report, what was asked about: "tcp 80".
	Services []struct{ Asked []string }
	raw      string
}

// turn reports whether doctor is asked of a scenario in this guest, beside the trace. One takes a second in a busy emulated
// guest, so each kernel has a quarter of those without a fault, and an eighth of the faults: -doctor asks of all, and a unit
// test of all states that were recorded on each kernel.
func turn(s fault.Scenario) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil || s.Where() == lab.Client { // neither director nor real server
		return false
	}
	release, share := unix.ByteSliceToString(u.Release[:]), 8
	if s.Code == "" {
		share = 4
	}
	kernel := slices.IndexFunc([]string{"5.10.", "6.1.", "6.12."}, func(v string) bool { return strings.HasPrefix(release, v) }) + 1
	n := slices.IndexFunc(fault.Scenarios(), func(x fault.Scenario) bool { return x.Name == s.Name })
	return n%share == kernel
}

// doctors asks doctor of each scenario.
func (o options) doctors(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp) error {
	for _, s := range slices.Concat(fault.Scenarios(), fault.Unrecorded()) {
		if !only.MatchString(s.Name) || s.Where() == lab.Client || fault.Lacks(ctx, l, s) != nil { // neither director nor real server, or not this kernel
			continue
		}
		began := time.Now()
		err := fault.Inject(ctx, l, s)
		injected := time.Now()
		if err == nil {
			o.doctorMends(ctx, r, l, s)
			if s.Name == "vip-arp-conflict" {
				r.check("doctor/probe-arp", o.doctorAsks(ctx, l))
			}
			if s.Name == "tcp-auth" {
				r.check("doctor/tcp-auth/told", o.keysTold(ctx, l, s))
			}
		}
		r.note("%s: injected in %v, doctor took %v", s.Name, injected.Sub(began).Round(time.Millisecond), time.Since(injected).Round(time.Millisecond))
		if err := errors.Join(err, fault.Undo(ctx, l, s)); err != nil {
			r.check("doctor/"+s.Name+"/lab", err)
		}
	}
	for _, both := range obstacles {
		if name := both[0] + "+" + both[1]; only.MatchString("obstacles/" + name) {
			r.check("doctor/"+name, o.twoObstacles(ctx, r, l, both))
		}
	}
	return nil
}

// doctorMends checks what doctor finds, and that what it prints ends it.
func (o options) doctorMends(ctx context.Context, r *report, l *lab.Lab, s fault.Scenario) {
	all, err := o.examine(ctx, l, s)
	if err == nil {
		err = judged(s, all)
	}
	if err == nil && s.Code == "" {
		err = passes(ctx, l, s, all)
	}
	r.check("doctor/"+s.Name, err)
	for _, f := range all {
		if f.Severity != "" {
			r.note("%s %s (%d commands): %s", f.Severity, f.Code, len(f.Fix), f.Summary)
		}
	}
	if slices.Contains(toldByPeer, s.Name) {
		r.check("doctor/"+s.Name+"/peer", o.withPeer(ctx, r, l, s))
	}
	named := slices.ContainsFunc(all, func(f found) bool { return f.Code == s.Code })
	if err == nil && s.Code != "" && !s.Notice && named {
		r.check("doctor/"+s.Name+"/mended", o.mended(ctx, r, l, s, all))
	}
}

// doctorPair checks that doctor names both of two faults before either is repaired.
func (o options) doctorPair(ctx context.Context, l *lab.Lab, both [2]fault.Scenario) error {
	for _, s := range both {
		all, err := o.examine(ctx, l, s)
		if err != nil {
			return err
		}
		for _, want := range both {
			named := slices.ContainsFunc(all, func(f found) bool {
				return f.Code == want.Code && f.Severity != "note" || want.Code == "tc-drop" && f.Code == want.Code
			})
			if want.Where() == s.Where() && !named {
				return fmt.Errorf("doctor does not name %s; it says\n%s", want.Code, listFound(all))
			}
		}
	}
	return nil
}

// examine runs doctor where a scenario's fault is, without traffic: what it says is all that it can know. more are further flags.
func (o options) examine(ctx context.Context, l *lab.Lab, s fault.Scenario, more ...string) ([]found, error) {
	args := []string{
		"doctor", "--netns", l.Node(s.Where()).Path(), "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port),
		"--director", lab.DirectorAddr.String(), "--client", client(s), "-o", "json",
	}
	if s.Name != "healthy" { // it is the same for all, and takes a second in an emulated guest
		args = append(args, "--skip", "kernel")
	}
	args = append(args, more...)
	var out, errs bytes.Buffer
	err := l.Outside(func() error {
		cmd := exec.CommandContext(ctx, o.ipiptrace, args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		return cmd.Run()
	})
	status := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		return nil, err
	}
	var all []found
	faults := 0
	for raw := range bytes.Lines(out.Bytes()) {
		f := found{raw: strings.TrimSpace(string(raw))}
		if err := json.Unmarshal(raw, &f); err != nil {
			return all, fmt.Errorf("%w: %s", err, raw)
		}
		if f.Severity == "fault" {
			faults++
		}
		all = append(all, f)
	}
	if len(all) == 0 || all[len(all)-1].Type != "report" || errs.Len() > 0 || status != min(faults, 1) {
		return all, fmt.Errorf("status %d, %d faults: %s%s", status, faults, out.String(), errs.String())
	}
	return all, nil
}

// withPeer checks that doctor names a scenario's fault that is the director's, or none where nothing is wrong, if it has what
// doctor says there.
func (o options) withPeer(ctx context.Context, r *report, l *lab.Lab, s fault.Scenario) error {
	onDirector := s
	onDirector.At = lab.Director
	there, err := o.examine(ctx, l, onDirector)
	if err != nil {
		return err
	}
	file := filepath.Join(os.TempDir(), "director.json")
	if err := os.WriteFile(file, []byte(listFound(there)), 0o600); err != nil {
		return err
	}
	all, err := o.examine(ctx, l, s, "--peer", file)
	if err != nil {
		return err
	}
	if s.Code == "" {
		return judged(s, all)
	}
	i := slices.IndexFunc(all, func(f found) bool { return f.Code == s.Code })
	if i < 0 {
		return fmt.Errorf("doctor does not name %s; with\n%sit says\n%s", s.Code, listFound(there), listFound(all))
	}
	r.note("%s %s (%d commands): %s", all[i].Severity, all[i].Code, len(all[i].Fix), all[i].Summary)
	return nil
}

// keysTold checks that doctor names keys of the service's socket where the modules are loaded by which the kernel tells them.
func (o options) keysTold(ctx context.Context, l *lab.Lab, s fault.Scenario) (err error) {
	modules := []string{"tcp_diag", "udp_diag"}
	for _, name := range modules {
		if err := lab.LoadModule(ctx, name, "to tell sockets' keys"); err != nil {
			return err
		}
	}
	defer func() {
		err = errors.Join(err, exec.CommandContext(ctx, "rmmod", append(modules, "inet_diag")...).Run())
	}()
	all, err := o.examine(ctx, l, s)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(f found) bool { return f.Code == s.Code }) {
		return fmt.Errorf("doctor does not name %s; it says\n%s", s.Code, listFound(all))
	}
	return nil
}

// doctorAsks checks that a director is told who else answers ARP for its VIP, and that what is sent is said.
func (o options) doctorAsks(ctx context.Context, l *lab.Lab) error {
	var out, errs bytes.Buffer
	err := l.Outside(func() error {
		cmd := exec.CommandContext(ctx, o.ipiptrace, "doctor", "--netns", l.Node(lab.Director).Path(), "--vip", lab.VIP.String(), "--port", fmt.Sprint(lab.Port),
			"--probe-arp", "--only", "vip-arp-conflict", "-o", "json")
		cmd.Stdout, cmd.Stderr = &out, &errs
		return cmd.Run()
	})
	found := strings.Contains(out.String(), `"code":"vip-arp-conflict","severity":"risk","certainty":"observed"`)
	if said := strings.Contains(errs.String(), "sending 3 ARP probes for "+lab.VIP.String()+" by eth0"); err != nil || !found || !said {
		return fmt.Errorf("%v: %s%s", err, out.String(), errs.String())
	}
	return nil
}

// client is that of a scenario's traffic: of one it has another address.
func client(s fault.Scenario) string {
	if s.Name == "vip-wrong-prefix" {
		return "10.99.0.7"
	}
	return lab.ClientAddr.String()
}

// doctor checks that doctor names a scenario's fault, and no other, or none where nothing is wrong.
func (o options) doctor(ctx context.Context, l *lab.Lab, s fault.Scenario) error {
	all, err := o.examine(ctx, l, s)
	if err != nil {
		return err
	}
	return judged(s, all)
}

// judged compares what doctor has found with what is the matter.
func judged(s fault.Scenario, all []found) error {
	named := slices.ContainsFunc(all, func(f found) bool { return f.Type == "finding" && f.Code == s.Code })
	_, beyond := beyondDoctor(s.Name)
	var strange []string
	for _, f := range all {
		if (f.Severity == "fault" || f.Severity == "risk") && f.Code != s.Code && !slices.Contains(alsoFound(s.Name), f.Code) {
			strange = append(strange, f.raw)
		}
	}
	switch {
	case len(strange) > 0:
		return fmt.Errorf("doctor finds what is not there:\n%s", strings.Join(strange, "\n"))
	case s.Code != "" && !named && !beyond && !slices.Contains(later, s.Name):
		return fmt.Errorf("doctor does not name %s; it says\n%s", s.Code, listFound(all))
	case s.Code != "" && named && beyond:
		return fmt.Errorf("doctor names %s, which it was said not to be able to", s.Code)
	}
	return nil
}

func listFound(all []found) (s string) {
	for _, f := range all {
		s += f.raw + "\n"
	}
	return s
}
