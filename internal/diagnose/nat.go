package diagnose

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"ipiptrace/internal/host"
	"ipiptrace/internal/ruleset"
	"ipiptrace/internal/site"
)

// natRows are the causes that begin with another destination than the packet came with.
func natRows() []row {
	rules := []host.Part{host.PartNft, host.PartIPTables}
	elsewhere := func(s Subject, st *State) bool { return s.redirected() && s.Plain == "" && !s.AtHome }
	return []row{
		{
			code: "ip-forward-off", stage: routing, needs: append([]host.Part{host.PartSysctls}, lookups...),
			doubted: innerSide,
			at:      maybe(site.NoInputRoute),
			fits:    func(s Subject, _ *State) bool { return !s.Tunnelled && !s.Reply },
			check:   forwardState,
			doc: Doc{
				Where:  inRouting,
				Means:  "The packet would have to be forwarded, and forwarding is off. A real server in tunnel mode does not need forwarding: only what DNAT sends on does, and the host of a container that is the real server.",
				Kernel: "ip_error, IP_INADDRERRORS, after prerouting has changed the destination, or for the outer header.",
				Confirm: []Line{
					{Command: "sysctl net.ipv4.conf.tunl0.forwarding net.ipv4.conf.eth0.forwarding", Says: "that of the device by which the packet comes", Shows: `tunl0.forwarding = 0`},
					{Command: "ip route get DESTINATION from CLIENT iif tunl0", Says: "No route to host", Shows: `No route to host`, Fails: true},
					{Command: "ip route get RIP from DIRECTOR iif eth0", Says: "the same, if a container is the real server", Fails: true},
				},
				Fix: []Line{
					{Command: "sysctl -w net.ipv4.ip_forward=1", Says: "for all devices: the answers come by another one, and are forwarded, too"},
				},
				Prevent: "Forward only where a container or a virtual machine has the service.",
			},
		},
		{
			code: "redirected", stage: routing, minds: rules,
			at: sure(site.NoInputRoute), fits: elsewhere, check: redirectState, bare: redirection,
			doc: Doc{
				Where:  inRouting,
				Means:  "DNAT, REDIRECT or TPROXY has given the packet to somebody else.",
				Kernel: "The destination changes in prerouting; then the packet is delivered elsewhere, forwarded, or lost: tcp_v4_rcv or udp_rcv, NO_SOCKET; ip_error.",
				Confirm: []Line{
					{Command: "nft -a list ruleset | grep -E 'dnat|redirect|tproxy'", Says: "the rule", Shows: `redirect`},
					{Command: "iptables-legacy -t nat -S", Says: "where iptables warns of legacy tables; iptables -t nat -S elsewhere", Shows: `DNAT`, Lab: "redirect-legacy"},
				},
				Fix: []Line{
					{Command: "nft insert rule FAMILY TABLE CHAIN ip daddr VIP tcp dport PORT accept", Says: "before the rule, in its chain"},
					{Command: "iptables-legacy -t nat -I CHAIN -d VIP -p tcp --dport PORT -j ACCEPT", Says: "or this, where it is a rule of iptables-legacy", Lab: "redirect-legacy"},
					{Says: "or, with Docker: publish on RIP alone (-p RIP:80:80)"},
				},
				Prevent: "Publish ports on an address, never on all.",
			},
		},
		{
			code: "redirected", stage: routing, minds: rules, needs: append([]host.Part{host.PartSockets}, lookups...), looks: []host.Part{host.PartSysctls},
			doubted: innerSide,
			fits:    func(s Subject, st *State) bool { return s.Supposed && s.Hook == "" && s.Outer != nil && s.begins() },
			check:   wouldRedirect,
		},
		{
			code: "redirected", stage: routing, minds: rules,
			at: sure(site.NoSocket), fits: func(s Subject, st *State) bool { return elsewhere(s, st) && s.begins() && !s.Tunnelled },
			check: redirectState, bare: redirection,
		},
	}
}

// forwardState: a packet for another host, and its device does not let it be forwarded (IN_DEV_FORWARD).
func forwardState(s Subject, st *State) *finding {
	a := st.Route(s.flow())
	name := "net/ipv4/conf/" + s.Dev + "/forwarding"
	if on, ok := st.Sysctl(name); !ok || on != 0 || a.Type != "unicast" || !s.redirected() && !st.livesBehind(s, a) {
		return nil
	}
	f := finding{summary: fmt.Sprintf("the VIP %s is behind this host, by %s, and forwarding is off", s.vip(), a.Dev)}
	if s.redirected() {
		f = redirection(s)
		f.summary += ", which is another host, and forwarding is off"
	}
	f.evidence = append(f.evidence, got(s.dst(), a), st.says(name), st.says("net/ipv4/ip_forward"))
	f.fix, f.mend = forward(s.Dev, st)
	return &f
}

// redirectState finds the rule that gave the packet away.
func redirectState(s Subject, st *State) *finding {
	p := s.headers(s.Packet)
	p.Hook, p.IIF = "prerouting", s.Dev
	o := st.rules.Translate(p)
	if o.Rule == nil {
		return nil
	}
	f := redirection(s)
	f.summary = fmt.Sprintf("%s gives packets for %s to %s, which does not take them", where(*o.Rule), s.service(), s.asked())
	f.evidence = append(f.evidence, evidenceOf(*o.Rule)...)
	f.fix, f.mend = ruleset.Spare(*o.Rule, p), func(st *State) { ruleset.MendSpared(st.whole, *o.Rule, p) }
	return &f
}

// wouldRedirect: a rule of NAT gives the packet to somebody here who does not take it.
func wouldRedirect(s Subject, st *State) *finding {
	to := st.translated(s)
	switch {
	case to.undecided != "":
		return &finding{undecided: to.undecided}
	case to.rule == nil:
		return nil
	case !st.Owns(to.addr.Addr()): // forwarded: whether that is allowed is another cause
		s.Now.Inner.Dst, s.Now.DstPort = to.addr.Addr(), to.addr.Port()
		f := redirectState(s, st)
		if f != nil {
			f.consistent = !st.Route(host.Flow{Dst: to.addr.Addr()}).Refused()
		}
		return f
	}
	s.Now.Inner.Dst, s.Now.DstPort = to.addr.Addr(), to.addr.Port()
	if st.served(s) {
		return nil
	}
	return redirectState(s, st)
}

// translation is what rules of NAT make of a packet's destination; rule is nil if nothing.
type translation struct {
	rule      *ruleset.Rule
	addr      netip.AddrPort
	undecided string
}

// translated is the destination that a supposed packet gets in prerouting.
func (st *State) translated(s Subject) (t translation) {
	p := s.headers(s.Packet)
	p.Hook, p.IIF = "prerouting", s.Dev
	o := st.rules.Translate(p)
	if t.rule = o.Rule; t.rule == nil {
		if len(o.Candidates) > 0 {
			t.undecided = fmt.Sprintf("whether %s gives the packet another destination", where(o.Candidates[0]))
		}
		return t
	}
	addr, ok := target(*t.rule, s)
	if t.addr = addr; !ok {
		t.undecided = fmt.Sprintf("to whom %s gives the packet", where(*t.rule))
	}
	return t
}

// target reads the destination out of a rule, where that is one address, one port, or both. A redirection is to the address of
// the device by which the packet came (nf_nat_redirect_ipv4), which is this host in any case.
func target(r ruleset.Rule, s Subject) (to netip.AddrPort, ok bool) {
	words := r.Args
	if r.Backend == "nft" {
		words = strings.Fields(r.Text)
	}
	for i, w := range words[:max(0, len(words)-1)] {
		next := words[i+1]
		switch w {
		case "--to-ports":
			next = ":" + next
		case "--to-destination", "to":
		default:
			continue
		}
		addr, port, has := strings.Cut(next, ":")
		at, number := s.vip(), uint64(s.port())
		var err1, err2 error
		if addr != "" {
			at, err1 = netip.ParseAddr(addr)
		}
		if has {
			number, err2 = strconv.ParseUint(port, 10, 16)
		}
		return netip.AddrPortFrom(at, uint16(number)), err1 == nil && err2 == nil
	}
	return to, false
}

// redirection is what the journey alone shows.
func redirection(s Subject) finding {
	if s.Supposed {
		return finding{summary: fmt.Sprintf("NAT gives packets for %s to %s", s.service(), s.asked())}
	}
	return finding{
		summary:  fmt.Sprintf("NAT has given the packet for %s to %s", s.service(), s.asked()),
		evidence: []evidence{seen("destination %s at first sight, %s at the end", s.service(), s.asked())},
	}
}
