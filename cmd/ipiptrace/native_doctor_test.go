//go:build native

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ipiptrace/internal/screen"
)

// examined is what doctor said, as text and as JSON.
type examined struct {
	text, json string
	status     int
}

// shared builds the program where everybody may run it.
func shared(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ipiptrace-*")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o755))
	binary := filepath.Join(dir, "ipiptrace")
	command(t, "cp", build(t), binary)
	return binary
}

// doctor asks about the service on the server, in both forms, by way of a command.
func (n *network) doctor(t *testing.T, by []string, args ...string) (e examined) {
	t.Helper()
	e.text, e.status = n.doctorAs(t, "text", by, args...)
	said, status := n.doctorAs(t, "json", by, args...)
	if e.json = said; status != e.status {
		t.Errorf("status %d as text, %d as JSON", e.status, status)
	}
	return e
}

func (n *network) doctorAs(t *testing.T, form string, by []string, args ...string) (said string, status int) {
	t.Helper()
	all := append([]string{"netns", "exec", n.server}, by...)
	all = append(append(all, "doctor", "--vip", vip, "--port", fmt.Sprint(port), "-o", form), args...)
	cmd := exec.Command("ip", all...)
	var out, rest bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &rest
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		check(t, err)
	}
	if rest.Len() > 0 || status > statusLost {
		t.Errorf("status %d: %s", status, rest.String())
	}
	for _, r := range out.String() {
		if r != '\n' && screen.IsObeyed(r) {
			t.Errorf("a terminal would obey %q in %s", r, out.String())
			break
		}
	}
	return out.String(), status
}

// agree compares the counts of both forms with each other and with the status, and reads the commands.
func (e examined) agree(t *testing.T) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(e.json), "\n")
	var r struct {
		Type                  string
		Faults, Risks, Checks int
		Unread                []string
	}
	check(t, json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	numbers := regexp.MustCompile(`[0-9]+`).FindAllString(e.text[strings.LastIndex(strings.TrimSpace(e.text), "\n")+1:], -1)
	if want := fmt.Sprint([]int{r.Faults, r.Risks, len(r.Unread), r.Checks}); r.Type != "report" || fmt.Sprint(numbers) != want || e.status != min(r.Faults, 1) {
		t.Errorf("status %d, %s as text, %s as JSON:\n%s", e.status, numbers, want, e.text)
	}
	for _, line := range lines[:len(lines)-1] {
		var f struct{ Fix []string }
		check(t, json.Unmarshal([]byte(line), &f))
		for _, fix := range f.Fix {
			if err := harmlessCommand(fix); err != nil {
				t.Errorf("%v: %q", err, fix)
			}
		}
	}
}

// TestNativeDoctorDoesWhatItCan asks without rights, without programs, of a machine with hostile names: what is not read is
// unread, and the rest is asked.
func TestNativeDoctorDoesWhatItCan(t *testing.T) {
	binary := shared(t)
	n := newNetwork(t)
	n.serve(t)
	n.on(t, n.server, "nft", "add table ip test; add chain ip test input { type filter hook input priority 0; }; add rule ip test input udp dport 7 limit rate over 5/second drop")
	nobody := []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", binary}
	none := []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", `mount -t tmpfs none /usr/sbin && exec env -i "$@"`, "sh", binary}
	hostile := []string{"sh", "-c", `ip link set away name "$(printf 'e\033[31m\342\200\256;$(id)')" 2>/dev/null && nft add rule ip test input ip protocol 4 drop comment "\"$(printf 'x\033[2J\302\205\342\201\246')\""; exec "$@"`, "sh", binary}
	for _, test := range []struct {
		name string
		by   []string
		args []string
		want []string
	}{
		{"root", []string{binary}, nil, []string{`(?m)^  ✓ .*firewall-drop|^  – .*firewall-drop`}},
		{"nobody", nobody, nil, []string{`(?m)^  \? .*firewall-drop.*: nftables: not permitted`, `as far as could be told|packets are lost`}},
		{"nobody, watching", nobody, []string{"--watch", "300ms"}, []string{`(?m)^  \? watched: not permitted: .*run it as root`, `(?m)^2 firewall$`}},
		{"no program and no environment", none, nil, []string{`(?m)^  \? .*firewall-drop.*: nftables: /usr/sbin/nft is not installed`}},
		{"hostile names", hostile, nil, []string{`comment "x\\x1b\[2J\\u0085\\u2066"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := n.doctor(t, test.by, test.args...)
			e.agree(t)
			for _, want := range test.want {
				if !regexp.MustCompile(want).MatchString(e.text) {
					t.Errorf("no %s in\n%s", want, e.text)
				}
			}
		})
	}
}

// TestNativeDoctorWhileTheStateChanges asks while addresses, routes, devices and rules come and go: each report is whole.
func TestNativeDoctorWhileTheStateChanges(t *testing.T) {
	binary := shared(t)
	n := newNetwork(t)
	churn := exec.Command("ip", "netns", "exec", n.server, "sh", "-c", `while :; do
		ip link add come type veth peer name go; ip link set come up; ip addr add 198.18.0.1/24 dev come; ip route add 203.0.113.128/25 dev come
		ip rule add fwmark 7 table 7; ip addr del `+vip+`/32 dev lo
		nft 'add table ip churn; add chain ip churn c { type filter hook input priority 0; policy drop; }; add rule ip churn c ip protocol 4 accept'
		nft 'delete table ip churn'; ip addr add `+vip+`/32 dev lo; ip rule del fwmark 7; ip link del come; done >/dev/null 2>&1`)
	check(t, churn.Start())
	t.Cleanup(func() { churn.Process.Kill(); churn.Wait() })
	last := regexp.MustCompile(`\n[0-9]+ faults?, [0-9]+ risks?, [0-9]+ checks? unread of [0-9]+\n$`)
	for range 8 {
		said, status := n.doctorAs(t, "text", []string{binary})
		if lost := strings.Contains(said, "packets are lost"); !last.MatchString(said) || lost != (status == statusLost) {
			t.Errorf("status %d:\n%s", status, said)
		}
	}
}
