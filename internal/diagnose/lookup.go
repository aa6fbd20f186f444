package diagnose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ipiptrace/internal/command"
	"ipiptrace/internal/host"
)

// arrives is the kernel's lookup for the packet coming in. Its device is the member of a VRF, not the VRF (ip_rcv_finish);
// its TOS is 0, because that was not seen.
func (st *State) arrives(s Subject) host.Flow {
	f := s.flow()
	f.Unknown = host.FieldTOS
	vrf, came := st.LinkNamed(s.Dev), st.LinkNamed(s.Came)
	if vrf != nil && came != nil && vrf.Type == "vrf" && came.Master == vrf.Index {
		f.IIF = came.Name
	}
	mark, ok := st.routedMark(s, "prerouting")
	if f.Mark = mark; !ok {
		f.Unknown |= host.FieldMark
	}
	return f
}

// answers is the kernel's lookup for an answer to the client; undecided says why it is not known.
func (st *State) answers(s Subject) (f host.Flow, undecided string) {
	r := host.Request{Proto: s.proto(), Client: netip.AddrPortFrom(s.client(), s.clientPort()), Service: s.wanted(), MarkUnknown: !st.unmarked()}
	if mark, ok := st.routedMark(s, "input"); ok && s.begins() {
		r.Mark, r.MarkUnknown = mark, false
	}
	dev := st.link(s)
	if !s.Reply {
		r.Dev = s.Dev
	}
	serving, _ := st.Serves(s.proto(), s.wanted(), dev)
	if len(serving) == 0 {
		serving = []host.Socket{{Untold: true}}
	}
	f = st.Reply(r, &serving[0])
	alike := func(o host.Socket) bool {
		return o.Mark == serving[0].Mark && o.TOS == serving[0].TOS && o.UID == serving[0].UID && o.Untold == serving[0].Untold
	}
	if serving[0].Local.Port() == 0 || slices.ContainsFunc(serving, func(o host.Socket) bool { return !alike(o) }) {
		f.Unknown |= host.FieldMark | host.FieldTOS | host.FieldUID
	}
	if st.Coarse && !serving[0].Unbound && dev != nil && (dev.Type == "vrf" || dev.MasterKind == "vrf") {
		return f, "sockets: whether the service is bound to the VRF"
	}
	return f, ""
}

// way is the route of an answer to the client when it is made; if undecided is set, it is not known.
func (st *State) way(s Subject) (a host.Answer, f host.Flow, undecided *finding) {
	return st.wayOf(s, 0)
}

// wayOut is its route after netfilter's hook output: if a rule there gives it a mark, the kernel looks it up again
// (ip_route_me_harder).
func (st *State) wayOut(s Subject) (a host.Answer, f host.Flow, undecided *finding) {
	if f, why := st.answers(s); why == "" && st.remarked(s, f) {
		return st.wayOf(s, host.FieldMark)
	}
	return st.wayOf(s, 0)
}

func (st *State) wayOf(s Subject, unknown host.Field) (a host.Answer, f host.Flow, undecided *finding) {
	f, why := st.answers(s)
	f.Unknown |= unknown
	a = st.Output(f)
	if why == "" && a.Type == host.Undecided {
		why = "rules: " + a.Unread
	}
	if why != "" {
		return a, f, &finding{undecided: why}
	}
	return a, f, nil
}

// exempts reports whether a rule may keep packets from connection tracking.
func (st *State) exempts() bool { return st.once("exempts", st.exempting) }

func (st *State) exempting() bool {
	says := func(e json.RawMessage) bool { return bytes.Contains(e, []byte("notrack")) }
	return st.whole.AnyRule(
		func(_ host.NftTable, r host.NftRule) bool {
			return strings.Contains(r.Text, "notrack") || slices.ContainsFunc(r.Exprs, says)
		},
		func(r host.IPTablesRule) bool {
			return slices.Contains(r.Args, "NOTRACK") || slices.Contains(r.Args, "--notrack")
		},
	)
}

// gotBack is what `ip route get` says of an answer.
func gotBack(f host.Flow, a host.Answer) evidence {
	words := command.Say("from").And(command.Address(f.Src))
	plain := true
	add := func(there bool, more ...command.Part) {
		if there {
			words, plain = words.And(more...), false
		}
	}
	add(f.OIF != "", command.Say("oif"), command.Device(f.OIF))
	add(f.Mark != 0, command.Say("mark"), command.Number(f.Mark))
	if a.Rule != nil {
		add(a.Rule.UIDEnd != 0, command.Say("uid"), command.Number(f.UID))
		add(a.Rule.IPProto != 0 || a.Rule.Sport != [2]uint16{} || a.Rule.Dport != [2]uint16{},
			command.Say("ipproto"), command.Number(f.Proto), command.Say("sport"), command.Number(f.Sport), command.Say("dport"), command.Number(f.Dport))
	}
	if plain {
		return got(f.Dst, a)
	}
	_, says, _ := strings.Cut(got(f.Dst, a).text, ": ")
	return by(host.PartRoutes, "ip route get %s %s: %s", command.Address(f.Dst), words, says)
}

// notUsed names the routes that match but that the kernel does not use, and says why not; empty if there are none.
func (st *State) notUsed(a host.Answer) (lines []evidence, why string) {
	for _, u := range a.Unused {
		is := "is down"
		if u.NoCarrier {
			is = "has no carrier"
		}
		lines = append(lines, by(host.PartRoutes, "ip route show table %s: %s dev %s, which %s", tableName(u.Route.Table), u.Route.Dst, command.Device(u.Dev), is))
		if u.NoCarrier {
			lines = append(lines, st.says("net/ipv4/conf/all/ignore_routes_with_linkdown"), st.says("net/ipv4/conf/"+u.Dev+"/ignore_routes_with_linkdown"))
		}
		if why == "" {
			why = fmt.Sprintf("that by %s is not used, as %s %s", u.Dev, u.Dev, is)
		}
	}
	return lines, why
}

// ruleShown is a rule as `ip rule` shows it; empty for the three rules that every machine has.
func ruleShown(r *host.Rule) []evidence {
	if r == nil || r.Priority == 0 || r.Priority >= 32766 {
		return nil
	}
	return []evidence{by(host.PartRules, "ip rule: %d: %s", r.Priority, ruleWords(*r))}
}
