package tracer

import (
	"cmp"
	"fmt"

	"ipiptrace/tracer/event"
)

// Foresee says of each place that a run with a back-end would watch whether this kernel has what it is watched at. Nothing
// is loaded or attached, and no privileges are needed: [Probes] knows better. A row's mechanism is the best of those that
// may work.
//
// The errors are those of [Open] that keep a process from tracing at all, as far as they show without privileges.
func Foresee(backend string) ([]event.Probe, error) {
	if err := possible("/proc", fileLimit()); err != nil {
		return nil, err
	}
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	return foresee(plan(probes, k, backend, false), &names{k, &symbols{proc: "/proc"}}), nil
}

// names are the functions of a kernel.
type names struct {
	*kernel
	symbols *symbols
}

// has reports whether a function is there, also where the compiler has given it another name.
func (n *names) has(name, module string) bool {
	return n.hasFunction(name, module) || n.symbols.variant(name) != ""
}

// functions tells which there are.
type functions interface {
	has(name, module string) bool
}

func foresee(candidates []candidate, kernel functions) (rows []event.Probe) {
	watched := map[event.Place]bool{}
	for _, c := range candidates {
		if watched[c.probe.unless] && c.probe.unless != event.NoPlace {
			continue
		}
		row := event.Probe{Place: c.probe.place, Name: c.probe.place.String(), Why: c.why}
		for _, w := range c.ways {
			missing := c.missing(w, kernel)
			if missing == "" {
				row.Mechanism, row.Symbol, row.Why = w[0].mechanism, w[0].symbol, ""
				break
			}
			row.Why = cmp.Or(row.Why, missing)
		}
		watched[c.probe.place] = row.Attached()
		rows = append(rows, row)
	}
	return rows
}

// missing says which function of a way is not there, nothing if all that it needs are.
func (c candidate) missing(w way, kernel functions) string {
	for _, a := range w {
		module := cmp.Or(a.module, c.probe.module)
		switch {
		case a.optional, a.mechanism == tracepoint, kernel.has(a.symbol, module):
		case module != "" && !isLoaded(module):
			return fmt.Sprintf("the module %s is not loaded", module)
		default:
			return fmt.Sprintf("no function %s is found", a.symbol)
		}
	}
	return ""
}
