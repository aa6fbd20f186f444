package doctor

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

func TestSecurityModulesAreNamed(t *testing.T) {
	active := func(names ...string) func(*host.Snapshot) {
		return func(s *host.Snapshot) { s.LSMs = names }
	}
	labels := func(s *host.Snapshot) {
		s.Nft = append(s.Nft, host.NftTable{Family: "inet", Name: "x", Chains: []host.NftChain{{Name: "y", Rules: []host.NftRule{{
			Exprs: []json.RawMessage{json.RawMessage(`{"mangle": {"key": {"meta": {"key": "secmark"}}, "value": {"ct": {"key": "secmark"}}}}`)},
		}}}}})
	}
	for what, test := range map[string]struct {
		s    *host.Snapshot
		want string
	}{
		"not shown":       {machine(active()), "is not shown here"},
		"none":            {machine(active("lockdown", "capability", "yama")), "none that looks at packets"},
		"no labels":       {machine(active("capability", "apparmor")), "active: apparmor; no rule here gives packets a label"},
		"rules give them": {machine(active("capability", "selinux"), labels), "what the policies of selinux say of them is not read"},
	} {
		r := Examine(test.s, Options{VIPs: []netip.Addr{vip}, Ports: []uint16{80}, Client: client, Director: director})
		if got := said(r, labelsCode); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q", what, got)
		}
	}
}
