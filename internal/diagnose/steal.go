package diagnose

import (
	"bytes"
	"encoding/json"
	"slices"

	"ipiptrace/internal/host"
)

// givesAway says what may give a supposed packet to another socket than its address and port name, which the state does not
// tell: a program that chooses sockets (inet_lookup_run_sk_lookup), or a rule with TPROXY (nf_tproxy_get_sock_v4); empty if nothing.
func (st *State) givesAway(s Subject) string {
	switch {
	case !s.Supposed:
		return ""
	case len(st.whole.Lookups) > 0:
		return "sk_lookup: to which socket a program that chooses sockets (BPF_SK_LOOKUP) gives the packet"
	case st.once("proxies", st.proxies):
		return "rules: to which socket a rule with TPROXY gives the packet"
	}
	return ""
}

// proxies reports whether a rule may give packets to a transparent proxy.
func (st *State) proxies() bool {
	gives := func(e json.RawMessage) bool { return bytes.HasPrefix(e, []byte(`{"tproxy"`)) }
	return st.whole.AnyRule(
		func(t host.NftTable, r host.NftRule) bool { return !t.Dormant && slices.ContainsFunc(r.Exprs, gives) },
		func(r host.IPTablesRule) bool { return slices.Contains(r.Args, "TPROXY") },
	)
}
