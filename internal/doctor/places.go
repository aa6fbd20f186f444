package doctor

import (
	"fmt"

	"ipiptrace/tracer/event"
)

// Places are those of the kernel at which a trace would watch packets.
type Places struct {
	// Rows are told without attaching anything: a kernel that has a place may refuse all the same.
	Rows []event.Probe
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
	var not []string
	for _, row := range p.Rows {
		switch {
		case !row.Attached():
			not = append(not, fmt.Sprintf("not %s: %s", row.Name, row.Why))
		case row.Mechanism != "tracepoint":
			functions++
			fallthrough
		default:
			there++
		}
	}
	first := fmt.Sprintf("a trace could watch %d of %d places, %d of them functions (ipiptrace probes tries them)", there, len(p.Rows), functions)
	r.say(stepKernel, placesCode, append([]string{first}, not...)...)
}
