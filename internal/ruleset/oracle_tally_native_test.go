//go:build native

package ruleset

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tally is what was compared: hooks that a packet has come to.
type tally struct {
	rulesets, played, compared, dropped, undecided, disagreed, left int
	// refused are rules that nft or iptables did not take.
	rules, refused           int
	kinds, reasons, features map[string]int
	// decided are the packets that a rule dropped or accepted, by the ruleset's kind.
	decided map[string]int
}

func newTally() *tally {
	s := &tally{kinds: map[string]int{}, reasons: map[string]int{}, features: map[string]int{}, decided: map[string]int{}}
	for _, name := range featureNames() {
		s.features[name] = 0
	}
	return s
}

// String has the figures.
func (s *tally) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d rulesets with %d rules (%d more were refused), %d packets; at %d hooks the model says what the kernel did, at %d of them a rule or a policy dropped the packet; %d disagreements; undecided: %d (%.1f%%)",
		s.rulesets, s.rules, s.refused, s.played, s.compared, s.dropped, s.disagreed, s.undecided, 100*float64(s.undecided)/float64(max(1, s.undecided+s.compared)))
	for _, m := range []map[string]int{s.kinds, s.decided, s.reasons, s.features} {
		text.WriteString("\n   ")
		keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return m[b] - m[a] })
		for _, k := range keys {
			fmt.Fprintf(&text, " %s: %d,", k, m[k])
		}
	}
	return text.String()
}

// write adds the figures to a directory, for `make test-oracle`: of is what was compared, first the first seed.
func (s *tally) write(dir, of string, first uint64) error {
	if dir == "" {
		return nil
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	line, err := json.Marshal(map[string]any{
		"of": of, "first": first, "kernel": unix.ByteSliceToString(name.Release[:]), "nft": version("nft"), "iptables": version("iptables"),
		"rulesets": s.rulesets, "rules": s.rules, "packets": s.played, "hooks": s.compared + s.undecided, "dropped": s.dropped, "disagreements": s.disagreed,
		"undecided": s.undecided, "reasons": s.reasons, "features": s.features,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%08d.json", of, first)), append(line, '\n'), 0o644)
}

func version(program string) string {
	out, _ := exec.Command(program, "--version").Output()
	return regexp.MustCompile(`\d[\d.]+`).FindString(string(out))
}
