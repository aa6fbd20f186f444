package vm

import (
	"slices"
	"strings"
	"testing"
)

const modulesDep = `kernel/net/ipv4/ipip.ko: kernel/net/ipv4/tunnel4.ko kernel/net/ipv4/ip_tunnel.ko
kernel/net/ipv4/tunnel4.ko:
kernel/net/ipv4/ip_tunnel.ko:
kernel/net/netfilter/ipvs/ip_vs.ko: kernel/net/netfilter/nf_conntrack.ko kernel/lib/libcrc32c.ko
kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko
kernel/lib/libcrc32c.ko:
kernel/fs/xfs/xfs.ko: kernel/lib/libcrc32c.ko
`

func TestModuleClosureHoldsWhatWantedModulesNeedAndNothingElse(t *testing.T) {
	deps, err := parseModulesDep(strings.NewReader(modulesDep))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name         string
		wanted, want []string
	}{
		{"a module brings what it needs", []string{"net/ipv4/ipip"}, []string{
			"kernel/net/ipv4/ip_tunnel.ko", "kernel/net/ipv4/ipip.ko", "kernel/net/ipv4/tunnel4.ko"}},
		{"a folder brings its modules, also from elsewhere", []string{"net/netfilter/"}, []string{
			"kernel/lib/libcrc32c.ko", "kernel/net/netfilter/ipvs/ip_vs.ko", "kernel/net/netfilter/nf_conntrack.ko"}},
		{"nothing wanted, nothing brought", nil, []string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := deps.closure(test.wanted); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestModuleIndexSpeaksOfCopiedModulesOnly(t *testing.T) {
	const index = `# Aliases extracted from modules themselves.
alias rtnl-link-ipip ipip
alias netdev-tunl0 ipip
alias fs-xfs xfs
alias symbol:nf_ct_l4proto nf-conntrack
softdep xfs pre: crc32c
softdep ipip pre: tunnel4
`
	got := aliasesOf(index, map[string]bool{"ipip": true, "nf_conntrack": true})
	want := `alias rtnl-link-ipip ipip
alias netdev-tunl0 ipip
alias symbol:nf_ct_l4proto nf-conntrack
softdep ipip pre: tunnel4
`
	if got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

func TestModuleNameIsTheOneModprobeKnows(t *testing.T) {
	if got := moduleName("kernel/drivers/char/hw_random/virtio-rng.ko.xz"); got != "virtio_rng" {
		t.Errorf("got %q", got)
	}
}
