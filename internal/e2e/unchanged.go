package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// fingerprint are commands that show all that ipiptrace must leave alone, and nothing that changes by itself.
const fingerprint = `
nft list ruleset
ip -o link | sed 's/qlen.*//'
ip -o addr
ip route show table all
ip rule
ip -s -s xfrm state 2>/dev/null | wc -l
tc qdisc show
for d in eth0 tunl0; do tc filter show dev $d ingress; tc filter show dev $d egress; done 2>/dev/null
cat /proc/net/ip_tables_names
awk '{ print $1, $2, $3, $4 }' /proc/net/ip_vs
sysctl -a 2>/dev/null | grep '^net\.' | grep -v 'nf_conntrack_count\|tcp_fastopen_key\|route.flush'
sort /proc/modules | cut -d' ' -f1,2
ls /sys/fs/bpf
`

// unchanged has ipiptrace explain losses of every kind of state, and compares the machine before and after, its static keys, too.
func (o options) unchanged(ctx context.Context, r *report, l *lab.Lab) (err error) {
	faults := []string{"firewall-input", "firewall-legacy", "firewall-stateful"}
	for _, name := range faults {
		s, _ := fault.Named(name)
		if err := fault.Inject(ctx, l, s); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, fault.Undo(ctx, l, s)) }()
	}
	before, err := fingerprints(ctx, l)
	if err != nil {
		return err
	}
	w, err := start(ctx, l, o.ipiptrace, round{tier: auto, watched: everywhere})
	if err != nil {
		return err
	}
	s, _ := fault.Named(faults[0])
	began := window{from: time.Now()}
	if _, err := l.Traffics(ctx, s.Traffic); err != nil {
		return err
	}
	explained := w.await(began, len(s.Traffic), func(j line) bool { return j.Cause != nil && j.Cause.Code == s.Code })
	if _, err := w.stop(); err != nil {
		return err
	}
	if len(explained) == 0 {
		return errors.New("nothing was explained: nothing was read")
	}
	after, err := fingerprints(ctx, l)
	if err != nil {
		return err
	}
	for role, was := range before {
		if is := after[role]; is != was {
			err = errors.Join(err, fmt.Errorf("%s is changed:\n%s", role, difference(was, is)))
		}
	}
	return err
}

// fingerprints are what each namespace shows, and the machine's static keys.
func fingerprints(ctx context.Context, l *lab.Lab) (map[lab.Role]string, error) {
	all := map[lab.Role]string{}
	for _, role := range []lab.Role{lab.Client, lab.Director, lab.RealServer} {
		err := l.Node(role).Do(func() error {
			out, err := exec.CommandContext(ctx, "sh", "-c", fingerprint).Output()
			all[role] = string(out)
			if len(out) == 0 {
				return fmt.Errorf("no fingerprint of the %s: %w", role, err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	keys, err := staticKeys()
	all["machine"] = keys
	return all, err
}

// difference are the lines that only one of the two has.
func difference(was, is string) string {
	var b strings.Builder
	only := func(sign, in, notIn string) {
		has := map[string]bool{}
		for line := range strings.Lines(notIn) {
			has[line] = true
		}
		for line := range strings.Lines(in) {
			if !has[line] {
				b.WriteString(sign + line)
			}
		}
	}
	only("-", was, is)
	only("+", is, was)
	return b.String()
}
