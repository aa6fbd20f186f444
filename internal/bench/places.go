package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"ipiptrace/tracer/event"
)

// share is one program's part of a cost, by the kernel's statistics
// (kernel.bpf_stats_enabled). Taking them costs a hit some 50 instructions, and what
// it takes to get into the program is not in them.
type share struct {
	Place        string  `json:"place"`
	Program      string  `json:"program"`
	Hits         float64 `json:"hits"`         // a packet
	Instructions float64 `json:"instructions"` // a packet
}

// program is what bpftool says of one.
type program struct {
	ID     int    `json:"id"`
	Name   string `json:"name"`
	Time   int64  `json:"run_time_ns"`
	Runs   int64  `json:"run_cnt"`
	MapIDs []int  `json:"map_ids"`
}

const statistics = "/proc/sys/kernel/bpf_stats_enabled"

// shares sends the packets once more and asks each program of the tracer for its part.
func (b *bench) shares(t *tracer) ([]share, error) {
	if err := os.WriteFile(statistics, []byte("1"), 0); err != nil {
		return nil, err
	}
	defer os.WriteFile(statistics, []byte("0"), 0)
	before, err := t.programs()
	if err != nil {
		return nil, err
	}
	if _, err := b.medianPacket(); err != nil {
		return nil, err
	}
	after, err := t.programs()
	if err != nil {
		return nil, err
	}
	var shares []share
	packets := float64(b.Packets + b.WarmUp)
	for id, now := range after {
		if now.Runs == before[id].Runs {
			continue
		}
		place, err := now.place()
		if err != nil {
			return nil, err
		}
		shares = append(shares, share{place, now.Name, float64(now.Runs-before[id].Runs) / packets, float64(now.Time-before[id].Time) / packets})
	}
	slices.SortFunc(shares, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.Instructions, a.Instructions), cmp.Compare(a.Place, b.Place))
	})
	return shares, nil
}

// programs are those that the tracer holds open, by id.
func (t *tracer) programs() (map[int]program, error) {
	var all []program
	if err := bpftool(&all, "prog", "show"); err != nil {
		return nil, err
	}
	mine := map[int]program{}
	for _, p := range all {
		if slices.Contains(t.programIDs, strconv.Itoa(p.ID)) {
			mine[p.ID] = p
		}
	}
	return mine, nil
}

// place is which place a program watches: its constants say so, or else its name.
func (p program) place() (string, error) {
	for _, id := range p.MapIDs {
		var constants []struct {
			Formatted struct {
				Value map[string][]map[string]json.RawMessage `json:"value"`
			} `json:"formatted"`
		}
		if bpftool(&constants, "map", "dump", "id", strconv.Itoa(id)) != nil {
			continue // a ring can't be dumped
		}
		for _, c := range constants {
			for _, variable := range c.Formatted.Value[".rodata"] {
				var instance struct{ Place event.Place }
				if raw, ok := variable["instance"]; ok && json.Unmarshal(raw, &instance) == nil && instance.Place != event.NoPlace {
					return instance.Place.String(), nil
				}
			}
		}
	}
	return p.Name, nil
}

func bpftool(answer any, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.Command("bpftool", append([]string{"-j"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("bpftool %s: %w: %s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return json.Unmarshal(out, answer)
}
