package doctor

import (
	"fmt"
	"strings"

	"ipiptrace/tracer/event"
)

// Places are those of the kernel at which a trace would watch packets.
type Places struct {
	Rows []event.Probe
	// Tried: each was attached and detached again; else they are told by the names of functions, and the kernel may refuse.
	Tried bool
	// More is what would make more of them, empty if nothing is known to.
	More string
	// Why they are not known, empty if they are.
	Why string
}

// placesCode is the word in the table for what a trace could see.
const placesCode = "places"

// places says where a trace could watch.
func (r *Report) places(p *Places) {
	if p == nil {
		return
	}
	if p.Why != "" {
		r.say(stepKernel, placesCode)
		r.open(placesCode, p.Why)
		return
	}
	there, functions := 0, 0
	var whys []string
	not := map[string][]string{}
	for _, row := range p.Rows {
		switch {
		case !row.Attached():
			whys = withNew(whys, []string{row.Why})
			not[row.Why] = append(not[row.Why], row.Name)
		case row.Mechanism != "tracepoint":
			functions++
			fallthrough
		default:
			there++
		}
	}
	r.say(stepKernel, placesCode)
	if !p.Tried {
		r.say(stepKernel, placesCode, fmt.Sprintf("by their names %d of %d places could be watched, %d of them functions", there, len(p.Rows), functions))
		r.open(placesCode, "they were not tried, which takes the rights to trace (ipiptrace probes)")
		return
	}
	first := fmt.Sprintf("%d of %d places can be watched, %d of them functions, as ipiptrace probes tries them", there, len(p.Rows), functions)
	r.say(stepKernel, placesCode, first)
	for _, why := range whys {
		r.say(stepKernel, placesCode, fmt.Sprintf("not %s: %s", strings.Join(not[why], ", "), why))
	}
	if p.More != "" {
		r.say(stepKernel, placesCode, p.More)
	}
}
