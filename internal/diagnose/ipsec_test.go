package diagnose

import (
	"net/netip"
	"slices"
	"testing"

	"ipiptrace/internal/host"
)

func policies(all ...host.Policy) func(*host.Snapshot) {
	return func(s *host.Snapshot) { s.XFRM = all }
}

func TestOfIPsecPoliciesTheFirstThatFitsCounts(t *testing.T) {
	anywhere := netip.MustParsePrefix("0.0.0.0/0")
	block := host.Policy{Dir: "in", Action: "block", Src: anywhere, Dst: anywhere, Priority: 1000, Index: 8}
	allow, ssh, marked, asks := block, block, block, block
	allow.Action, allow.Priority, allow.Index = "allow", 1, 16
	ssh.Proto, ssh.Dport = 6, 22
	marked.Beyond = "mark 7"
	asks.Action, asks.Templates = "allow", 1
	optional := asks
	optional.Optional = true
	wide := host.Policy{Dir: "out", Action: "allow", Src: anywhere, Dst: anywhere, Templates: 1, Index: 9}
	byPolicy := dropped("tcp_v4_rcv", "XFRM_POLICY", "tunl0", false)
	silent := dropped("tcp_v4_rcv", "NO_SOCKET", "tunl0", false)
	refused := dropped("tcp_conn_request", "", "tunl0", false)
	nobody := func(s *host.Snapshot) { s.Sockets = nil }
	full := func(s *host.Snapshot) { s.Sockets[0].RecvQueue = 129 }
	const remove = "ip xfrm policy delete dir in index 8"
	for what, test := range map[string]loss{
		"it blocks":                          {byPolicy, realServer(policies(block)), "xfrm-policy", Observed, remove},
		"another one allows before":          {byPolicy, realServer(policies(block, allow)), "xfrm-policy", Inferred, ""},
		"it is for another port":             {silent, realServer(nobody, policies(ssh)), "no-listener", Observed, ""},
		"it is for another port, then all":   {silent, realServer(nobody, policies(ssh, block)), "xfrm-policy", Observed, remove},
		"it asks for a mark":                 {byPolicy, realServer(policies(marked)), "xfrm-policy", Inferred, remove},
		"it asks for IPsec":                  {byPolicy, realServer(policies(asks)), "xfrm-policy", Inferred, ""},
		"it does without, if need be":        {silent, realServer(nobody, policies(optional)), "no-listener", Observed, ""},
		"the device is exempt":               {silent, realServer(nobody, policies(block), set("net/ipv4/conf/tunl0/disable_policy", "1")), "no-listener", Observed, ""},
		"another device is exempt":           {silent, realServer(nobody, policies(block), set("net/ipv4/conf/eth0/disable_policy", "1")), "xfrm-policy", Observed, remove},
		"answers go by IPsec, a queue full":  {refused, realServer(full, policies(wide)), "accept-queue-full", Observed, ""},
		"answers are exempt, and queue full": {refused, realServer(full, policies(wide), set("net/ipv4/conf/all/disable_xfrm", "1")), "accept-queue-full", Observed, ""},
	} {
		t.Run(what, func(t *testing.T) {
			v := Explain(test.j, test.s)
			if fix := ownFix(v.Cause); v.Cause.Code != test.code || v.Cause.Certainty != test.certainty || len(fix) > 0 != (test.fix != "") || test.fix != "" && fix[0].String() != test.fix {
				t.Errorf("%s, %s, fix %q: %s\nwant %s, %s, fix %q", v.Cause.Code, v.Cause.Certainty, typed(v.Cause), v.Cause.Summary, test.code, test.certainty, test.fix)
			}
		})
	}
	for what, s := range map[string]*host.Snapshot{
		"allowed before": supposedServer(policies(allow, block)), "another port": supposedServer(policies(ssh)), "answers by IPsec": supposedServer(policies(wide)),
		"exempt": supposedServer(policies(block), set("net/ipv4/conf/all/disable_policy", "1")),
	} {
		findings, _ := examined1(request(), s)
		if slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity != Noted }) {
			t.Errorf("%s: doctor says %q", what, saidOf(findings))
		}
	}
}
