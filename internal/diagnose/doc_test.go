package diagnose

import (
	"slices"
	"strings"
	"testing"
)

// contract are the codes that are promised to the outside, in contract.md: of causes, and of notices that are no cause.
const contract = `outer-not-local wrong-mac tunnel-module-missing tunnel-device-down tunnel-endpoint-mismatch tunnel-mode-mismatch
tunnel-wrong-namespace bad-checksum malformed-packet ttl-expired fragment-lost mtu-exceeded firewall-drop firewall-reject conntrack-full
tc-drop xdp-drop cgroup-drop socket-filter-drop xfrm-policy security-module queue-drop rp-filter martian-source vip-missing
vip-wrong-prefix redirected route-reject ip-forward-off no-return-route reply-into-tunnel neighbour-failed qdisc-drop no-listener listener-wrong-address
listener-wrong-device sk-lookup-drop accept-queue-full syn-queue-full syn-cookie-invalid receive-buffer-full tcp-auth tcp-paws tcp-out-of-window
min-ttl backlog-full vip-arp-conflict ipvs-no-service ipvs-no-destination ipvs-wrong-method ipvs-overloaded ipvs-no-route
ipvs-no-connection ipvs-destination-removed ipvs-backup ipvs-loop ecn-mismatch source-route ipvs-defence ipvs-port-reuse ipvs-persistence
reply-unanswered unknown`

func TestEveryCodeIsExplained(t *testing.T) {
	promised := map[string]bool{}
	for _, code := range strings.Fields(contract) {
		promised[code] = true
	}
	explained := map[string]bool{}
	for _, d := range Codes() {
		if explained[d.Code] || !promised[d.Code] {
			t.Errorf("%s is explained twice, or was not promised", d.Code)
		}
		explained[d.Code] = true
		if d.Where == "" || d.Means == "" || d.Kernel == "" || len(d.Confirm) == 0 || len(d.Fix) == 0 || d.Prevent == "" {
			t.Errorf("%s is not explained whole: %+v", d.Code, d)
		}
		if !strings.HasSuffix(d.Means, ".") {
			t.Errorf("%s: %q is no sentence", d.Code, d.Means)
		}
	}
	for code := range promised {
		if !explained[code] {
			t.Errorf("%s is not explained", code)
		}
	}
	for _, r := range rows {
		if !explained[r.code] {
			t.Errorf("the cause %s is not explained", r.code)
		}
	}
}

// pasted are the programs that a repair or a confirmation runs: what begins otherwise is prose and has a # before it.
var pasted = strings.Fields(`arping ausearch bpftool cat echo ethtool firewall-cmd free ip ipiptrace iptables iptables-save
ipvsadm journalctl lsmod modprobe nft nstat ss sysctl systemctl tc tcpdump traceroute`)

// TestExplanationsCanBePasted: each line of a repair is a command of a program that there is, or a comment; and none is
// one that iproute2 or the kernel is known to refuse.
func TestExplanationsCanBePasted(t *testing.T) {
	refused := []string{
		"neigh flush  ", // Flush requires arguments
		"remote any",    // a tunnel with a remote is POINTOPOINT, and the kernel keeps it so (ipip_tunnel_change: EINVAL)
	}
	for _, d := range Codes() {
		for _, line := range slices.Concat(d.Confirm, d.Fix) {
			if first, _, _ := strings.Cut(line, " "); first != "#" && !slices.Contains(pasted, first) {
				t.Errorf("%s: %q is no command: prose begins with #", d.Code, line)
			}
			for _, words := range refused {
				if strings.Contains(line+"  ", words) {
					t.Errorf("%s: %q is refused", d.Code, line)
				}
			}
		}
	}
}
