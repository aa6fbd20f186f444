//go:build native

package read

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tallied is what was compared, by its kind.
type tallied struct {
	configurations, packets, compared, undecided int
	agreed, reasons                              map[string]int
	kinds                                        map[string]bool
	// said are the disagreements.
	said []string
}

func newTally() *tallied {
	return &tallied{agreed: map[string]int{}, reasons: map[string]int{}, kinds: map[string]bool{}}
}

func (s *tallied) agree(kind string) {
	s.compared++
	s.agreed[kind]++
}

func (s *tallied) undecide(why string) {
	s.undecided++
	if strings.HasPrefix(why, "rule ") {
		_, why, _ = strings.Cut(why, ": ")
	}
	s.reasons[why]++
}

// disagree keeps what a packet has shown, with all that was set up, once for each configuration.
func (s *tallied) disagree(o *oracle, what string) {
	text := fmt.Sprintf("configuration %d (-oracle.first %d -oracle.configurations 1): %s", o.seed, o.seed, what)
	if !o.shown {
		text += "\n" + strings.Join(o.said, "\n")
	}
	o.shown = true
	s.said = append(s.said, text)
}

// must are the kinds that have to occur; some only where the kernel has the devices for it.
func (s *tallied) lacking() (all []string) {
	must := []string{delivered, forwarded, reversePath, martian, notForwarded, noRoute, refused, policy, "answer", "reset", "no way for the answer", "no way for the reset"}
	if s.kinds["ipip"] {
		must = append(must, "no tunnel", "delivered out of a tunnel")
	}
	for _, kind := range must {
		if s.agreed[kind] == 0 {
			all = append(all, kind)
		}
	}
	return all
}

// String has the figures.
func (s *tallied) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d configurations, %d packets: %d answers of the model are what the kernel did, %d are not, undecided: %d (%.1f%%); devices beside TAP: %v\n   ",
		s.configurations, s.packets, s.compared, len(s.said), s.undecided, 100*float64(s.undecided)/float64(max(1, s.undecided+s.compared)),
		s.kinds)
	for _, m := range []map[string]int{s.agreed, s.reasons} {
		for _, k := range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return m[b] - m[a] }) {
			fmt.Fprintf(&text, " %s: %d,", k, m[k])
		}
		text.WriteString("\n   ")
	}
	return text.String()
}

// write adds the figures to a directory, for `make test-routes`.
func (s *tallied) write(dir string, first uint64) error {
	if dir == "" {
		return nil
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	line, err := json.Marshal(map[string]any{
		"kernel": unix.ByteSliceToString(name.Release[:]), "first": first, "configurations": s.configurations, "packets": s.packets,
		"answers": s.compared, "undecided": s.undecided, "disagreements": len(s.said), "kinds": s.agreed, "reasons": s.reasons,
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%08d.json", first)), append(line, '\n'), 0o644)
}
