package read

import (
	"encoding/binary"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(len(value)+4))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, (4-len(value)%4)%4)...)
}

func join(all ...[]byte) (b []byte) {
	for _, one := range all {
		b = append(b, one...)
	}
	return b
}

func TestWhatAHookCalls(t *testing.T) {
	priority := func(n int32) []byte { return attr(hookPriority, binary.BigEndian.AppendUint32(nil, uint32(n))) }
	desc := join(attr(hookChainTable, []byte("t\x00")), attr(hookChainName, []byte("input\x00")), attr(hookChainFamily, []byte{unix.NFPROTO_INET}))
	chain := attr(hookChain|unix.NLA_F_NESTED, join(attr(2, []byte{0, 0, 0, 1}), attr(hookChainDesc|unix.NLA_F_NESTED, desc)))
	for what, test := range map[string]struct {
		message []byte
		want    host.NfCallee
	}{
		"a chain":       {join(priority(-150), attr(hookFunction, []byte("nft_do_chain_inet\x00")), chain), host.NfCallee{Priority: -150, Family: "inet", Table: "t", Chain: "input", Function: "nft_do_chain_inet"}},
		"a function":    {join(priority(0), attr(hookFunction, []byte("ipt_do_table\x00"))), host.NfCallee{Function: "ipt_do_table"}},
		"nothing":       {nil, host.NfCallee{}},
		"half of it":    {chain[:len(chain)-8], host.NfCallee{}},
		"a length of 0": {make([]byte, 8), host.NfCallee{}},
	} {
		if got := calleeOf(test.message); got != test.want {
			t.Errorf("%s: %+v, want %+v", what, got, test.want)
		}
	}
}

func TestOnlyHooksThatRunSeveralChainsAreAsked(t *testing.T) {
	base := func(hook string, devices ...string) host.NftChain {
		return host.NftChain{Name: hook, Hook: hook, Devices: devices}
	}
	s := &host.Snapshot{
		Nft: []host.NftTable{
			{Family: "ip", Chains: []host.NftChain{base("input"), base("output"), {Name: "other"}}},
			{Family: "ip6", Chains: []host.NftChain{base("output")}},
			{Family: "inet", Chains: []host.NftChain{base("input"), base("forward"), base("ingress", "eth0")}},
			{Family: "inet", Dormant: true, Chains: []host.NftChain{base("output")}},
			{Family: "bridge", Chains: []host.NftChain{base("forward")}},
			{Family: "netdev", Chains: []host.NftChain{base("ingress", "eth0", "eth1")}},
		},
		IPTables: []host.IPTables{
			{Backend: "iptables-legacy", Chains: []host.IPTablesChain{{Name: "FORWARD"}, {Name: "LOGS"}}},
			{Backend: "iptables-nft", Chains: []host.IPTablesChain{{Name: "OUTPUT"}}},
		},
	}
	want := []host.NfHook{{Family: "ip", Hook: "input"}, {Family: "netdev", Hook: "ingress", Device: "eth0"}, {Family: "ip", Hook: "forward"}}
	if got := crowded(s); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}
