package recording

import (
	"time"

	"ipiptrace/tracer/event"
)

// Cut leaves of a run what one would have seen that had begun at from: the packets that came since, and the states that
// were read. What was watched at from is the new run's. The totals at a run's end are not a part's: there are none.
func Cut(run event.Run, events []event.Event, from time.Time) (event.Run, []event.Event) {
	var part []event.Event
	for _, e := range events {
		at := run.Wall(e.Time)
		switch e.Kind {
		case event.Watch:
			if at.Before(from) {
				run.Probes = e.Probes
			}
		case event.End:
			continue
		case event.Sighting:
			if e.Seen != 0 { // not of a socket, or of a route
				at = run.Wall(e.Seen)
			}
		}
		if !at.Before(from) {
			part = append(part, e)
		}
	}
	return run, part
}
