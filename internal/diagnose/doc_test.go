package diagnose

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// contract are the codes that are promised to the outside, in contract.md: of causes, and of notices that are no cause.
const contract = `outer-not-local wrong-mac tunnel-module-missing tunnel-device-down tunnel-endpoint-mismatch tunnel-mode-mismatch
tunnel-wrong-namespace bad-checksum malformed-packet ttl-expired fragment-lost mtu-exceeded firewall-drop firewall-reject conntrack-full
tc-drop xdp-drop cgroup-drop socket-filter-drop xfrm-policy security-module queue-drop queue-verdict rp-filter martian-source vip-missing
vip-wrong-prefix redirected route-reject ip-forward-off no-return-route reply-into-tunnel neighbour-failed qdisc-drop no-listener listener-wrong-address
listener-wrong-device sk-lookup-drop accept-queue-full syn-queue-full syn-cookie-invalid receive-buffer-full tcp-auth tcp-paws tcp-out-of-window
min-ttl backlog-full vip-arp-conflict ipvs-no-service ipvs-no-destination ipvs-wrong-method ipvs-overloaded ipvs-no-route
ipvs-no-connection ipvs-destination-removed ipvs-backup ipvs-loop ecn-mismatch source-route ipvs-defence ipvs-port-reuse ipvs-persistence
reply-unanswered firewall-mixed unknown`

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
var pasted = strings.Fields(`arping ausearch bpftool cat echo ethtool firewall-cmd free ip ipiptrace iptables iptables-legacy iptables-save
iptables-legacy-save ipvsadm journalctl lsmod modprobe nft nstat ss sysctl systemctl tc tcpdump traceroute`)

// TestExplanationsCanBePasted: each line is a command of a program that there is, or a sentence; and none is one that
// iproute2 or the kernel is known to refuse.
func TestExplanationsCanBePasted(t *testing.T) {
	refused := []string{
		"neigh flush  ",          // Flush requires arguments
		"remote any",             // a tunnel with a remote is POINTOPOINT, and the kernel keeps it so (ipip_tunnel_change: EINVAL)
		"mode any",               // ip link set … mode any is EINVAL before 7.3
		"-p ipip",                // 94; IPIP is 4, ipencap
		"link del tunl0",         // status 0, and nothing happens
		"add lvs0 type ipip  ",   // without an address: File exists, as tunl0 has none either
		"dev tunl0 table",        // a way into the tunnel
		"ignore_tunneled",        // decapsulation takes the mark away
		"-m conntrack -j ACCEPT", // what IPVS answers is untracked
	}
	for _, d := range Codes() {
		for _, line := range slices.Concat(d.Confirm, d.Fix) {
			if first, _, _ := strings.Cut(line.Command, " "); line.Command != "" && !slices.Contains(pasted, first) {
				t.Errorf("%s: %q is no command", d.Code, line)
			}
			if line.Command == "" && line.Says == "" || strings.Contains(line.Command+line.Says, "\n") {
				t.Errorf("%s: %q is no line", d.Code, line)
			}
			for _, words := range refused {
				if strings.Contains(line.Command+"  ", words) && !strings.Contains(line.Command, "show") {
					t.Errorf("%s: %q is refused", d.Code, line)
				}
			}
		}
	}
}

// TestNobodyIsToldToBindToTheTunnel: whoever listens on tunl0 gets requests, and answers into the tunnel.
func TestNobodyIsToldToBindToTheTunnel(t *testing.T) {
	for _, d := range Codes() {
		for _, l := range slices.Concat(d.Fix, []Line{{Says: d.Prevent}}) {
			if s := l.String(); strings.Contains(s, "bind") && strings.Contains(s, "tunl0") && !strings.Contains(s, "lost") {
				t.Errorf("%s: %s", d.Code, s)
			}
		}
	}
}

// literal are words in capitals that stand for themselves.
var literal = strings.Fields("ACCEPT REJECT TCPAO")

// TestPlaceholdersAreKnown: a word in capitals is one that docs/causes explains, or part of a command; and each is used.
func TestPlaceholdersAreKnown(t *testing.T) {
	used := map[string]bool{}
	for _, d := range Codes() {
		for _, l := range slices.Concat(d.Confirm, d.Fix) {
			Fill(l.Command+" "+l.Shows, func(word string) (string, bool) {
				used[word] = true
				known := slices.ContainsFunc(Placeholders(), func(p Placeholder) bool { return p.Word == word })
				if len(word) > 1 && !known && !slices.Contains(literal, word) && !strings.Contains(l.Shows, word) {
					t.Errorf("%s: %q: what does %s stand for?", d.Code, l, word)
				}
				return "", false
			})
		}
	}
	for _, p := range Placeholders() {
		if !used[p.Word] {
			t.Errorf("no explanation uses %s", p.Word)
		}
	}
}

// TestWaysAreOnesOwn: what a command shows is a regular expression, a way to repair a fault is tried in one scenario, and
// where a line is run is a place that the lab knows, unless it says why it is not run.
func TestWaysAreOnesOwn(t *testing.T) {
	places := []string{"", atDirector, atRealServer, atClient, atRouter, atService, atFirst}
	for _, d := range Codes() {
		for _, l := range slices.Concat(d.Confirm, d.Fix) {
			if _, err := regexp.Compile(l.Shows); err != nil {
				t.Errorf("%s: %q: %v", d.Code, l, err)
			}
			if !slices.Contains(places, l.On) && l.Unplayed == "" && !strings.HasPrefix(l.Command, "arping") && !strings.HasPrefix(l.Command, "tcpdump") {
				t.Errorf("%s: %q: where is that?", d.Code, l)
			}
		}
		for _, way := range d.Ways() {
			for _, l := range way {
				if l.Command != "" && l.Lab != way[len(way)-1].Lab {
					t.Errorf("%s: %q is tried in another scenario than the rest of its way", d.Code, l)
				}
			}
		}
	}
}
