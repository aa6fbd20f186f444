package main

import (
	"bytes"
	"cmp"
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
	b.WriteString(j.kind() + fate)
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

// sayings of journeys, each once, in an order that does not depend on time.
func sayings(lost []line) []string {
	var all []string
	for _, j := range lost {
		if j.lost() || len(j.Notice) > 0 {
			all = append(all, j.saying())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// golden compares what was said of a scenario's losses with testdata/<scenario>/verdict.golden, or writes it. A journey with
// a gap may be said with less certainty than the golden one, and has to.
func (o options) golden(scenario string, lost []line) error {
	whole := slices.DeleteFunc(slices.Clone(lost), func(j line) bool { return j.Gaps > 0 })
	got := sayings(whole)
	name := filepath.Join(scenario, "verdict.golden")
	if o.update != "" {
		path := filepath.Join(o.update, name)
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(strings.Join(got, "")), 0o644))
	}
	text, err := testdata.Verdicts.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%w; got\n%s", err, strings.Join(got, ""))
	}
	all := verdicts(string(text))
	want := slices.Clone(all)
	for _, j := range lost {
		if j.Gaps == 0 {
			continue
		}
		if j.Cause != nil && !j.lessCertain(all) {
			err = errors.Join(err, fmt.Errorf("with %d gaps it is said\n%s", j.Gaps, j.saying()))
		}
		// Of its kind there may be none without a gap.
		want = slices.DeleteFunc(want, func(v string) bool { return strings.HasPrefix(v, j.kind()) && !slices.Contains(got, v) })
	}
	if !slices.Equal(got, want) {
		err = errors.Join(err, fmt.Errorf("got\n%s\nwant\n%s", strings.Join(got, ""), text))
	}
	return err
}

// verdicts are those of a golden file: all but a verdict's first line are indented.
func verdicts(text string) (all []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") {
			all = append(all, "")
		}
		all[len(all)-1] += line
	}
	return all
}

// kind is what the sayings of all journeys like this one begin with.
func (j line) kind() string {
	const odd = "ipip" // what is no IPv4 packet has no protocol
	return cmp.Or(j.Inner.Proto, odd) + " " + j.Direction + " "
}

// lessCertain reports whether the journey is said as one of the golden verdicts is, without being called observed; or that
// nothing is known of its cause.
func (j line) lessCertain(golden []string) bool {
	switch c := j.Cause; c.Certainty {
	case "unknown":
		return true
	case "inferred":
		return slices.ContainsFunc(golden, func(v string) bool { return strings.HasPrefix(v, j.kind()) && strings.Contains(v, ": "+c.Code+", ") })
	}
	return false
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
			if err := o.paste(ctx, r, l, c.at, text); err != nil {
				return true, err
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
		return o.shell(ctx, r, l, role, text)
	}
	return fmt.Errorf("lost in namespace %d, which is not the lab's", at)
}

// shell runs a command that was printed, as it stands. One that opens more than it must is an error.
func (o options) shell(ctx context.Context, r *report, l *lab.Lab, at lab.Role, text string) error {
	for _, word := range tooMuch {
		if strings.Contains(text+"\n", word) {
			return fmt.Errorf("%s: opens more than it must (%s)", text, strings.TrimSpace(word))
		}
	}
	r.note("%s# %s", at, text)
	return l.Node(at).Do(func() error {
		out, err := exec.CommandContext(ctx, "sh", "-c", text).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", text, err, bytes.TrimSpace(out))
		}
		return nil
	})
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
