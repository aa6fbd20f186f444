package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ipiptrace/internal/lab"
	"ipiptrace/testdata"
)

// saying is what ipiptrace says of a lost packet, without what differs between kernels and moments: it is golden.
func (j line) saying() string {
	var b strings.Builder
	fate := j.Fate
	if j.Reply != "" {
		fate += ", reply " + j.Reply
	}
	fmt.Fprintf(&b, "%s %s %s", j.Inner.Proto, j.Direction, fate)
	c := j.Cause
	if c == nil && len(j.Notice) > 0 {
		n := j.Notice[0]
		fmt.Fprintf(&b, ": notice %s\n  %s\n", n.Code, n.Summary)
		return steady(b.String())
	}
	if c == nil {
		return b.String() + ": no cause\n"
	}
	fmt.Fprintf(&b, ": %s, %s\n  %s\n", c.Code, c.Certainty, c.Summary)
	if d := j.Drop; d != nil {
		if d.Rule != nil {
			fmt.Fprintf(&b, "  rule %s\n", d.Rule)
		}
		for _, r := range d.Candidates {
			fmt.Fprintf(&b, "  candidate %s\n", r)
		}
	}
	for _, f := range c.Fix {
		fmt.Fprintf(&b, "  fix %s\n", f)
	}
	return steady(b.String())
}

// momentary are numbers that depend on the moment, and what takes their place.
var momentary = []struct {
	found   *regexp.Regexp
	instead string
}{
	// What the kernel gives one after the other, to all that the machine has of a kind.
	{regexp.MustCompile(`\b(id|index) [0-9]+`), "$1 N"},
	// A rule's counter, which the losses themselves raise until the state is read.
	{regexp.MustCompile(`counter packets [0-9]+ bytes [0-9]+`), "counter packets N bytes N"},
	// How many connections are tracked just now, and the limit that makes room for so many.
	{regexp.MustCompile(`(connections is full: |nf_conntrack_max=)[0-9]+`), "${1}N"},
	// What the notice of unanswered replies counts, and of whom.
	{regexp.MustCompile(`[0-9]+ SYN/ACKs to ([0-9.]+):[0-9]+ have left in [0-9]+ s`), "N SYN/ACKs to $1:N have left in N s"},
}

func steady(text string) string {
	for _, m := range momentary {
		text = m.found.ReplaceAllString(text, m.instead)
	}
	return text
}

// rule is what this test reads of a rule.
type rule struct {
	Backend, Family, Table, Chain, Text, Policy string
	Handle, Number                              uint64
}

func (r rule) String() string {
	s := fmt.Sprintf("%s %s %s %s", r.Backend, r.Family, r.Table, r.Chain)
	switch {
	case r.Policy != "":
		s += " policy " + r.Policy
	case r.Handle != 0:
		s += fmt.Sprintf(" handle %d", r.Handle)
	default:
		s += fmt.Sprintf(" number %d", r.Number)
	}
	return s + ": " + r.Text
}

// sayings of a scenario's losses, each once, in an order that does not depend on time. A journey with a gap is told
// with less certainty, and rightly: where others of its kind have none, they are heard.
func sayings(lost []line) string {
	whole := map[string]bool{}
	kind := func(j line) string { return j.Inner.Proto + j.Direction + j.Fate }
	for _, j := range lost {
		whole[kind(j)] = whole[kind(j)] || j.Gaps == 0
	}
	var all []string
	for _, j := range lost {
		if (j.lost() || len(j.Notice) > 0) && (j.Gaps == 0 || !whole[kind(j)]) {
			all = append(all, j.saying())
		}
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "")
}

// golden compares what was said of a scenario's losses with testdata/<scenario>/verdict.golden, or writes it.
func (o options) golden(scenario string, lost []line) error {
	got := sayings(lost)
	name := filepath.Join(scenario, "verdict.golden")
	if o.update != "" {
		path := filepath.Join(o.update, name)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := testdata.Verdicts.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%w; got\n%s", err, got)
	}
	if !bytes.Equal([]byte(got), want) {
		return fmt.Errorf("got\n%s\nwant\n%s", got, want)
	}
	return nil
}

// tooMuch are words of commands that repair more than the fault.
var tooMuch = []string{"flush", " -F", " -X", "policy accept", "-P INPUT ACCEPT", "-P OUTPUT ACCEPT", "-P FORWARD ACCEPT", " -C\n"}

// fix runs the commands that were printed, as they stand, where the packet was lost. None is no error: the golden
// says whether there are any.
func (o options) fix(ctx context.Context, r *report, l *lab.Lab, lost []line) (fixed bool, err error) {
	type command struct {
		at   uint32
		text string
	}
	var done []command
	for _, j := range lost {
		if j.Cause == nil {
			continue
		}
		for _, text := range j.Cause.Fix {
			c := command{j.netns(), text}
			if slices.Contains(done, c) {
				continue
			}
			done = append(done, c)
			for _, word := range tooMuch {
				if strings.Contains(text+"\n", word) {
					return true, fmt.Errorf("%s: opens more than it must (%s)", text, strings.TrimSpace(word))
				}
			}
			if err := o.paste(ctx, r, l, c.at, text); err != nil {
				return true, fmt.Errorf("%s: %w", text, err)
			}
		}
	}
	return len(done) > 0, nil
}

// paste runs a command in a shell in a network namespace.
func (o options) paste(ctx context.Context, r *report, l *lab.Lab, at uint32, text string) error {
	for _, role := range []lab.Role{lab.RealServer, lab.Director, lab.Client, lab.Switch} {
		inode, err := l.Node(role).Inode()
		if err != nil {
			return err
		}
		if uint32(inode) != at {
			continue
		}
		r.note("%s# %s", role, text)
		return l.Node(role).Do(func() error {
			out, err := exec.CommandContext(ctx, "sh", "-c", text).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
			}
			return nil
		})
	}
	return fmt.Errorf("lost in namespace %d, which is not the lab's", at)
}

// netns is where a journey was lost.
func (j line) netns() (inode uint32) {
	if j.Drop != nil && j.Drop.Netns != 0 {
		return j.Drop.Netns
	}
	for _, s := range j.Steps {
		if s.Netns != 0 {
			inode = s.Netns
		}
	}
	return inode
}
