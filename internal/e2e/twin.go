package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ipiptrace/internal/lab"
	"ipiptrace/internal/lab/fault"
)

// twin plays a scenario that only looks like a fault. What ipiptrace said of it is asked when the round is over: there
// is nothing to wait for.
func (o options) twin(ctx context.Context, r *report, l *lab.Lab, _ *watch, rd round, s fault.Scenario) window {
	name, started := fmt.Sprintf("%s/%s", rd, s.Name), time.Now()
	began, err := o.play(ctx, r, l, s)
	r.check(name+"/client", err)
	r.check(name+"/undo", o.repair(ctx, l, s, 1))
	r.note("%s took %v", name, time.Since(started).Round(10*time.Millisecond))
	return began
}

// silent checks that of each connection and exchange of a twin a request was seen to arrive, that everything else did,
// too, and that no notice was given but those that may be. Where the kernel has missed so many probes, a journey with a
// gap may have an end that nobody knows.
func silent(s fault.Scenario, journeys []line, missed int) error {
	arrived := map[string]map[flow]bool{string(lab.TCP): {}, string(lab.UDP): {}}
	for _, j := range journeys {
		for _, n := range j.Notice {
			if !slices.Contains(s.Notices, n.Code) {
				return fmt.Errorf("the notice %s is given where nothing is wrong: %s\nin %s", n.Code, n.Summary, j.raw)
			}
		}
		if !j.arrived() && !j.gap(missed) {
			return fmt.Errorf("did not arrive: %s\nin %s", j, j.raw)
		}
		if of := arrived[j.Inner.Proto]; of != nil && j.Direction == "request" {
			of[j.flow()] = true
		}
	}
	for _, t := range s.Traffic {
		if t.Proto == lab.CraftedOdd {
			continue // there is no journey of it
		}
		if n := len(arrived[wire(t.Proto)]); n < t.Count {
			return fmt.Errorf("%s: %d were answered, and requests of %d were seen to arrive; all journeys:%s", t.Proto, t.Count, n, list(journeys))
		}
	}
	return nil
}

// gap reports whether the journey's end is unknown, and rightly: a sighting of it is among those that the kernel missed.
func (l line) gap(missed int) bool { return l.Fate == "unknown" && l.Gaps > 0 && l.Gaps <= missed }
