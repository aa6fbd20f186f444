package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/host"
)

// sampled says of findings that name an address which only stands for somebody, as one of the samples does: no command may let
// pass, or route, what does not exist. told: the director is known from the other end.
func (x service) sampled(found []diagnose.Finding, samples []answer, told bool) (all []diagnose.Finding) {
	for _, f := range found {
		for _, d := range each(samples, func(a answer) netip.Addr { return a.director }) {
			if d.IsValid() && !told && !x.knowsDirectors() && mentions(f, d) {
				f = standIn(f, d, "the director, which is not known: with --director the repair is said, too")
			}
		}
		for _, c := range each(samples, func(a answer) netip.Addr { return a.client }) {
			if !x.knowsClients() && mentions(f, c) {
				f = standIn(f, c, "clients: give --client")
			}
		}
		all = append(all, f)
	}
	return all
}

// each are the addresses of samples, once.
func each(samples []answer, of func(answer) netip.Addr) (all []netip.Addr) {
	for _, a := range samples {
		all = withNew(all, []netip.Addr{of(a)})
	}
	return all
}

// standIn is a finding with the line that an address is nobody's, and without the commands that name it.
func standIn(f diagnose.Finding, a netip.Addr, who string) diagnose.Finding {
	f.Evidence = append(slices.Clip(f.Evidence), fmt.Sprintf("%s is a sample, and stands for %s", a, who))
	if slices.ContainsFunc(f.Fix, func(c command.Command) bool { return names(c.String(), a) }) {
		f.Fix, f.Untried = nil, false
	}
	return f
}

// mentions reports whether a finding names an address.
func mentions(f diagnose.Finding, a netip.Addr) bool {
	return names(f.Summary, a) || slices.ContainsFunc(f.Evidence, func(line string) bool { return names(line, a) }) ||
		slices.ContainsFunc(f.Fix, func(c command.Command) bool { return names(c.String(), a) })
}

// names reports whether a text has an address, and not only the beginning of a longer one.
func names(text string, a netip.Addr) bool {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
		if strings.Trim(word, ".") == a.String() {
			return true
		}
	}
	return false
}

// knowsDirectors reports whether those that are supposed to send are no samples.
func (x service) knowsDirectors() bool {
	if x.o.Director.IsValid() || x.role == Director {
		return true
	}
	for _, l := range x.s.Links {
		if l.Tunnel != nil && l.TakesIPv4() && !l.LinkNetns && l.Tunnel.Remote.IsValid() && !l.Tunnel.Remote.IsUnspecified() {
			return true
		}
	}
	return x.s.Conntrack != nil && slices.ContainsFunc(x.s.Conntrack.Conns, func(c host.Connection) bool {
		return c.Proto == protoIPIP && !x.s.Owns(c.From.Addr())
	})
}

// knowsClients reports whether those that are supposed to ask are no samples.
func (x service) knowsClients() bool {
	if x.o.Client.IsValid() {
		return x.o.Client.IsSingleIP()
	}
	return slices.ContainsFunc(x.s.Sockets, func(sock host.Socket) bool {
		return sock.Remote.IsValid() && sock.Local.Addr().Unmap() == x.vip
	})
}
