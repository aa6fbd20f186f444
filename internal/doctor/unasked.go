package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Unasked is a step of which nothing was asked.
type Unasked struct {
	Step int
	Why  string
}

// LeftOut is why a step has no check that nobody wants.
const LeftOut = "left out by --only or --skip"

// unasked says why steps have no check.
func (r *Report) unasked(o Options) {
	r.Unasked = nil
	for n := 1; n <= len(steps); n++ {
		if slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Step == n }) {
			continue
		}
		why := "there is nothing to ask on a " + r.roles()
		switch {
		case !o.Asks(n):
			why = LeftOut
		case n == packets:
			why = "nothing was watched: --watch 10s traces beside the checks"
		case n == stepKernel:
			why = "nobody has looked"
		}
		r.Unasked = append(r.Unasked, Unasked{n, why})
	}
}

// roles are what the machine is to the VIPs.
func (r *Report) roles() string {
	all := []string{r.Role}
	for _, s := range r.Services {
		if !slices.Contains(all, s.Role) {
			all = append(all, s.Role)
		}
	}
	return strings.ReplaceAll(strings.Join(all, " and a "), "-", " ")
}

// asked are the protocols and ports that are asked about, like "tcp 80".
func (x service) asked() (all []string) {
	kinds := x.kinds()
	if x.role == Forwarder {
		kinds = x.passedKinds()
	}
	for _, k := range kinds {
		switch word := words[k.proto]; {
		case word == "":
			all = append(all, "icmp")
		case k.port == 0:
			all = append(all, word)
		default:
			all = append(all, fmt.Sprintf("%s %d", word, k.port))
		}
	}
	return all
}
