//go:build native

package ruleset

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ipiptrace/internal/host"
	"ipiptrace/internal/host/read"
)

// shapes are rules of every form in which iptables' matches come, by the table and the chain that take them.
var shapes = map[string]string{
	"filter INPUT": `
		-p tcp -m tcp --dport 80 -j DROP
		-p tcp -m tcp --sport 1024:65535 --dport 80 --tcp-flags FIN,SYN,RST,ACK SYN -j DROP
		-p tcp -m tcp --tcp-option 8 -j DROP
		-p tcp -m tcp ! --dport 80 -j DROP
		-p udp -m udp --dport 80:90 -j DROP
		-p 4 -j DROP
		-p icmp -m icmp --icmp-type 8 -j DROP
		-p icmp -m icmp --icmp-type 3/4 -j DROP
		-p icmp -m icmp --icmp-type any -j DROP
		-p sctp -m sctp --dport 80 -j DROP
		-p sctp -m sctp --chunk-types any DATA:Be,INIT -j DROP
		-p dccp -m dccp --dccp-types REQUEST,RESPONSE -j DROP
		-p ah -m ah --ahspi 1:2 -j DROP
		-p esp -m esp --espspi 1:100 -j DROP
		-p ipcomp -m ipcomp --ipcompspi 7 -j DROP
		-s 192.0.2.1 -j DROP
		! -s 192.0.2.0/24 -j DROP
		-d 10.0.0.0/255.0.255.0 -j DROP
		-i tun+ -j DROP
		! -i lo -j DROP
		-f -j DROP
		-m comment --comment word -j DROP
		-m comment --comment "it's \"two\" \\words | && ; %" -j DROP
		-m conntrack --ctstate NEW -j DROP
		-m conntrack ! --ctstate RELATED,ESTABLISHED,UNTRACKED -j DROP
		-m conntrack --ctorigsrc 10.0.0.0/8 --ctproto 6 --ctstatus ASSURED --ctdir ORIGINAL -j DROP
		-m state --state INVALID,NEW -j DROP
		-m addrtype --dst-type LOCAL -j DROP
		-m addrtype ! --src-type BROADCAST,MULTICAST --limit-iface-in -j DROP
		-p tcp -m multiport --dports 80,443,1000:2000 -j DROP
		-p udp -m multiport ! --ports 80 -j DROP
		-m mark --mark 0x1 -j DROP
		-m mark ! --mark 0x1/0xff -j DROP
		-m connmark --mark 0x1/0xf -j DROP
		-m limit --limit 5/sec -j DROP
		-m limit --limit 7/hour --limit-burst 20 -j DROP
		-m limit --limit 333/sec -j DROP
		-m hashlimit --hashlimit-name a --hashlimit-upto 5/sec --hashlimit-mode srcip -j DROP
		-m hashlimit --hashlimit-name b --hashlimit-above 512kb/s --hashlimit-mode srcip,dstport --hashlimit-srcmask 24 -j DROP
		-p tcp -m connlimit --connlimit-above 2 -j DROP
		-p tcp -m connlimit --connlimit-upto 3 --connlimit-mask 24 --connlimit-daddr -j DROP
		-m statistic --mode random --probability 0.33 -j DROP
		-m statistic --mode nth ! --every 3 --packet 1 -j DROP
		-m string --algo bm --string abc -j DROP
		-m string --algo kmp ! --string "GET /" --from 20 --to 100 --icase -j DROP
		-m string --algo bm --hex-string "|00ff|" -j DROP
		-m time --timestart 08:30:15 --timestop 17:00:00 --weekdays Mon,Tue,Wed -j DROP
		-m time --datestart 2020-01-01T00:00:00 --datestop 2037-01-01T00:00:00 --monthdays 1,15 --kerneltz -j DROP
		-m recent --name a --set -j DROP
		-m recent --name "a b" --update --seconds 60 --hitcount 4 -j DROP
		-m recent ! --rcheck --name c --mask 255.255.255.0 --rdest -j DROP
		-m iprange --src-range 192.0.2.1-192.0.2.9 ! --dst-range 192.0.2.1-192.0.2.9 -j DROP
		-m length --length 0:100 -j DROP
		-m ttl --ttl-lt 64 -j DROP
		-m tos ! --tos 0x10/0x3f -j DROP
		-m dscp --dscp-class EF -j DROP
		-p tcp -m ecn --ecn-tcp-cwr --ecn-ip-ect 3 -j DROP
		-m pkttype --pkt-type broadcast -j DROP
		-m mac ! --mac-source 02:00:00:00:00:01 -j DROP
		-m physdev --physdev-in eth0 -j DROP
		-m policy --dir in --pol ipsec --proto esp --mode tunnel -j DROP
		-m socket --nowildcard --transparent -j DROP
		-m cgroup --cgroup 1 -j DROP
		-m quota --quota 1000 -j DROP
		-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j DROP
		-m u32 --u32 "0>>22&0x3C@12>>26&0x3C@0=0x1:0x7f" -j DROP
		-m cpu ! --cpu 1 -j DROP
		-m connbytes ! --connbytes 100:200 --connbytes-dir both --connbytes-mode bytes -j DROP
		-m connlabel --label 5 -j DROP
		-m helper --helper ftp -j DROP
		-m realm --realm 0x1/0x3 -j DROP
		-m devgroup --src-group 0x1 -j DROP
		-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdead -j DROP
		-m ipvs --vaddr 10.99.0.1 --vport 80 --vproto 6 -j DROP
		-p tcp -m osf --genre Linux --ttl 2 -j DROP
		-p tcp -m tcpmss --mss 500:1460 -j DROP
		-p tcp -j REJECT
		-p tcp -j REJECT --reject-with tcp-reset
		-j REJECT --reject-with icmp-admin-prohibited
		-j NFQUEUE --queue-num 3 --queue-bypass
		-j NFQUEUE --queue-balance 1:4
		-s 10.0.0.0/28 -i tunl0 -p tcp -m conntrack --ctstate NEW -m multiport --dports 80,81 -m comment --comment x -j DROP
		-p tcp -m tcp --dport 80 -m statistic --mode nth --every 2 --packet 0 -m mark --mark 0x3 -j DROP
		-p tcp -m tcp --dport 80 -m mac --mac-source 02:00:00:00:00:01 -m recent --name d --set -j DROP`,
	"filter OUTPUT": `
		-m owner --uid-owner 0-99 ! --gid-owner 7 -j DROP
		-m owner --socket-exists -j DROP
		-m cgroup --path a/b -j DROP`,
	"raw PREROUTING": `
		-m rpfilter --loose --validmark --invert -j DROP
		-p 4 -j DROP`,
	"nat PREROUTING": `
		-d 10.99.0.1 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.99.0.2:81
		-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080`,
}

// unshaped are matches that need more than a rule: a set or an object that other programs make, a route or an estimator.
var unshaped = []string{"set", "nfacct", "rateest", "standard"}

// TestNativeDeletions saves each rule, deletes it as its fix says, and sees that it has gone and nothing else has. The
// last rule of a chain goes first, so that each number is that of the snapshot.
func TestNativeDeletions(t *testing.T) {
	if os.Getenv("IN_A_NAMESPACE") == "" {
		inNamespace(t)
		return
	}
	for _, backend := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(backend, func(t *testing.T) {
			here := map[string]int{}
			for where, rules := range shapes {
				here[where] = add(t, backend, where, rules)
			}
			s := snapshot(t)
			for where, n := range here {
				if n == 0 {
					continue
				}
				table, chain, _ := strings.Cut(where, " ")
				deleteAll(t, s, backend, table, chain, n)
			}
		})
	}
}

// inNamespace runs the test in a process with a network namespace of its own.
func inNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("make test-rules needs root")
	}
	cmd := exec.Command(os.Args[0], "-test.v", "-test.run", "^TestNativeDeletions$")
	cmd.Env = append(os.Environ(), "IN_A_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func TestEveryMatchHasAShape(t *testing.T) {
	files, err := filepath.Glob("/usr/lib/*/xtables/lib[ix][pt]*.so")
	if err != nil || len(files) == 0 {
		t.Fatal("iptables has no extensions here", err)
	}
	for _, file := range files {
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".so"), "_")
		shaped := strings.Contains(shapes["filter INPUT"]+shapes["filter OUTPUT"]+shapes["raw PREROUTING"], "-m "+name+" ")
		if isMatch := name == strings.ToLower(name) && !strings.HasPrefix(filepath.Base(file), "libip6t"); isMatch && !shaped && !slices.Contains(unshaped, name) {
			t.Errorf("%s: no rule here has the match %s", file, name)
		}
	}
}

// add adds the rules to a chain, and says how many there are. What this kernel has no module for is logged, and is little.
func add(t *testing.T, backend, where, rules string) (n int) {
	table, chain, _ := strings.Cut(where, " ")
	all := strings.Split(strings.TrimSpace(rules), "\n")
	for _, rule := range all {
		line := backend + " -t " + table + " -A " + chain + " " + strings.TrimSpace(rule)
		if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Logf("not here: %s: %s", line, out)
			continue
		}
		n++
	}
	t.Logf("%s: %d of %d", where, n, len(all))
	if missing := len(all) - n; missing > 3 {
		t.Errorf("%s: %d rules are not possible here", where, missing)
	}
	return n
}

func snapshot(t *testing.T) *host.Snapshot {
	t.Helper()
	var stat syscall.Stat_t
	if err := syscall.Stat("/proc/self/ns/net", &stat); err != nil {
		t.Fatal(err)
	}
	ns, err := read.Netns(uint32(stat.Ino))
	if err != nil {
		t.Fatal(err)
	}
	s := read.Snapshot(context.Background(), ns, read.Options{PartTime: time.Minute}) // a guest that shares its CPU is slow
	for _, u := range s.Unread {
		if u.Part == host.PartNft || u.Part == host.PartIPTables {
			t.Fatalf("%s: %s", u.Part, u.Why)
		}
	}
	return s
}

// deleteAll deletes a chain's rules from the last to the first.
func deleteAll(t *testing.T, s *host.Snapshot, backend, table, chain string, n int) {
	i := slices.IndexFunc(s.IPTables, func(it host.IPTables) bool { return it.Backend == backend && it.Table == table })
	if i < 0 {
		t.Fatalf("table %s was not read", table)
	}
	it := &s.IPTables[i]
	c := find(it, chain)
	if c == nil || len(c.Rules) != n {
		t.Fatalf("chain %s was not read: %+v", chain, c)
	}
	want := shownBy(t, backend, table, chain)
	for i := n - 1; i >= 0; i-- {
		r := ruleOf(it, c, i).inKernel(s)
		if r.Line != want[i] {
			t.Errorf("read as %s\nlisted as %s", r.Line, want[i])
		}
		fix := Fix(r, toService)
		if len(fix.Commands()) != 1 {
			t.Errorf("%s: no command: %s", r.Text, fix.Refused())
			continue
		}
		text := fix.Commands()[0].String()
		if r.Broad {
			spare(t, backend, table, chain, text, want, i)
			continue
		}
		if strings.Contains(text, " | grep -qxFe ") {
			stale(t, backend, table, chain, text, want)
		}
		out, err := exec.Command("sh", "-c", text).CombinedOutput()
		want = slices.Delete(slices.Clone(want), i, i+1)
		if got := shownBy(t, backend, table, chain); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s: %v: %s\nhas left %q\nwant %q", text, err, out, got, want)
		}
	}
}

// toService is a packet for which a rule that drops whatever comes to it is passed by.
var toService = Packet{Hook: "input", Dst: netip.MustParseAddr("10.99.0.1"), Proto: 6, HasPorts: true, Dport: 80}

// spare runs a command that lets the packet pass before rule i, which stays as all others do.
func spare(t *testing.T, backend, table, chain, text string, want []string, i int) {
	out, err := exec.Command("sh", "-c", text).CombinedOutput()
	got := shownBy(t, backend, table, chain)
	at := slices.IndexFunc(got, func(line string) bool { return strings.HasSuffix(line, "-j ACCEPT") })
	if err != nil || at < 0 || at > i || !slices.Equal(slices.Delete(slices.Clone(got), at, at+1), want) {
		t.Fatalf("%s: %v: %s\nhas left %q\nwant %q and one before rule %d", text, err, out, got, want, i+1)
	}
	if out, err := exec.Command(backend, "-t", table, "-D", chain, strconv.Itoa(at+1)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// stale runs a command when the rule has moved since: it deletes nothing.
func stale(t *testing.T, backend, table, chain, text string, want []string) {
	run := func(words ...string) {
		if out, err := exec.Command(backend, append([]string{"-t", table}, words...)...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", words, err, out)
		}
	}
	run("-I", chain, "-s", "198.51.100.1")
	err := exec.Command("sh", "-c", text).Run()
	run("-D", chain, "-s", "198.51.100.1")
	if got := shownBy(t, backend, table, chain); err == nil || !slices.Equal(got, want) {
		t.Errorf("%s, of a rule that has moved: %v, has left %q", text, err, got)
	}
}

// shownBy are the rules of a chain, as iptables lists them.
func shownBy(t *testing.T, backend, table, chain string) (rules []string) {
	t.Helper()
	out, err := exec.Command(backend, "-t", table, "-S", chain).Output()
	if err != nil {
		t.Fatalf("%s -S: %v", backend, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "-A ") {
			rules = append(rules, strings.TrimSuffix(line, "\n"))
		}
	}
	return rules
}
