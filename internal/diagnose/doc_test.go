package diagnose

import (
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
ipvs-no-connection ipvs-destination-removed ipvs-backup ipvs-loop ecn-mismatch source-route ipvs-defence ipvs-port-reuse reply-unanswered unknown`

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
