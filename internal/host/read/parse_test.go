package read

import (
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"ipiptrace/internal/host"
)

func TestIPVSIsRead(t *testing.T) {
	got, err := services(`IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A630001:0050 rr persistent 300000 FFFFFFFF
  -> 0A00000B:0050      Tunnel  1      2          3
  -> 0A00000C:0050      Route   0      0          0
FWM  00000007 wlc
`)
	want := []host.Service{
		{Proto: 6, Addr: netip.MustParseAddrPort("10.99.0.1:80"), Scheduler: "rr", Timeout: 300, Destinations: []host.Destination{
			{Addr: netip.MustParseAddrPort("10.0.0.11:80"), Method: "tunnel", Weight: 1, Active: 2, Inactive: 3},
			{Addr: netip.MustParseAddrPort("10.0.0.12:80"), Method: "route"},
		}},
		{Mark: 7, Scheduler: "wlc"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %+v\nwant %+v", err, got, want)
	}
}

func FuzzServices(f *testing.F) {
	f.Add("TCP  0A630001:0050 rr\n  -> 0A00000B:0050 Tunnel 1 2 3\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = services(text) })
}

func TestTrackedConnectionsAreRead(t *testing.T) {
	at := netip.MustParseAddrPort
	vip := []netip.Addr{netip.MustParseAddr("10.99.0.1")}
	c := &host.Conntrack{}
	err := tracked(t.Context(), strings.NewReader(`ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.7 dst=10.99.0.1 sport=30000 dport=80 src=10.99.0.1 dst=10.0.0.7 sport=80 dport=30000 [ASSURED] mark=0 zone=0 use=2
ipv4     2 udp      17 29 src=10.0.0.7 dst=10.99.0.1 sport=30001 dport=80 packets=1 bytes=228 [UNREPLIED] src=10.99.0.1 dst=10.0.0.7 sport=80 dport=30001 packets=0 bytes=0 mark=0 use=2
ipv4     2 unknown  4 599 src=10.0.0.2 dst=10.0.0.11 [UNREPLIED] src=10.0.0.11 dst=10.0.0.2 mark=0 use=2
ipv4     2 tcp      6 9 CLOSE src=10.0.0.7 dst=10.0.0.11 sport=30000 dport=22 src=10.0.0.11 dst=10.0.0.7 sport=22 dport=30000 [ASSURED] mark=0 use=1
ipv4     2 icmp     1 29 src=10.0.0.7 dst=10.99.0.1 type=8 code=0 id=133 src=10.99.0.1 dst=10.0.0.7 type=0 code=0 id=133 mark=0 zone=0 use=2
ipv6     10 tcp     6 9 CLOSE src=::1 dst=::1 sport=3 dport=22 src=::1 dst=::1 sport=22 dport=3 [ASSURED] mark=0 use=1
nonsense
`), c, vip)
	want := []host.Connection{
		{Proto: 6, From: at("10.0.0.7:30000"), To: at("10.99.0.1:80"), Back: at("10.99.0.1:80"), BackTo: at("10.0.0.7:30000"), State: "ESTABLISHED", Replied: true},
		{Proto: 17, From: at("10.0.0.7:30001"), To: at("10.99.0.1:80"), Back: at("10.99.0.1:80"), BackTo: at("10.0.0.7:30001")},
		{Proto: 4, From: at("10.0.0.2:0"), To: at("10.0.0.11:0"), Back: at("10.0.0.11:0"), BackTo: at("10.0.0.2:0")},
		{Proto: 1, From: at("10.0.0.7:0"), To: at("10.99.0.1:0"), Back: at("10.99.0.1:0"), BackTo: at("10.0.0.7:0"), Replied: true},
	}
	if err != nil || !reflect.DeepEqual(c.Conns, want) {
		t.Errorf("%v: %+v\nwant %+v", err, c.Conns, want)
	}
}

func FuzzConnection(f *testing.F) {
	f.Add("ipv4     2 udp      17 29 src=10.0.0.7 dst=10.99.0.1 sport=30001 dport=80 [UNREPLIED] src=10.99.0.1 dst=10.0.0.7 sport=80 dport=30001 mark=0 use=2")
	f.Fuzz(func(_ *testing.T, line string) { _, _ = connection(line) })
}

// FuzzCounters reads every table of counters from any text: twice the text is twice the numbers, or the same.
func FuzzCounters(f *testing.F) {
	f.Add("Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn\nTcp: -1\n")
	f.Add("XfrmInError                     0\n")
	f.Add("0000272d 00000000 00000000\n00000001 00000002\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, table := range counterTables {
			once, again := map[string]uint64{}, map[string]uint64{}
			err := table.add(once, text)
			if err2 := table.add(again, text); (err == nil) != (err2 == nil) || !maps.Equal(once, again) {
				t.Errorf("%s: %v, then %v: %v, then %v", table.file, err, err2, once, again)
			}
		}
		countConntrack(&host.Conntrack{}, text)
	})
}

// FuzzSockets reads any text for /proc/net/tcp.
func FuzzSockets(f *testing.F) {
	f.Add("  sl  local_address rem_address   st\n   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, proto := range []string{"tcp", "udp"} {
			all, err := parseSockets(proto, text)
			for _, s := range all {
				if !s.Local.IsValid() || err != nil {
					t.Errorf("%v: %+v", err, s)
				}
			}
		}
	})
}

func FuzzIPVSConnection(f *testing.F) {
	f.Add("TCP 0A000007 9C40 0A630001 0050 0A00000B 0050 ESTABLISHED 899")
	f.Fuzz(func(t *testing.T, line string) {
		if c, ok := ipvsConnection(line); ok && c.Proto == "" {
			t.Errorf("%+v", c)
		}
	})
}

// TestMartiansAreCountedUnderTheirNames: the columns of rt_cache have names of their own in the file's first line.
func TestMartiansAreCountedUnderTheirNames(t *testing.T) {
	text := "entries  in_hit   in_slow_tot in_slow_mc in_no_route in_brd   in_martian_dst in_martian_src out_hit\n" +
		"00000001  00000002 00000003    00000004   00000005    00000006 00000007       00000008       00000009\n"
	got := map[string]uint64{}
	for _, table := range counterTables {
		if table.file == "stat/rt_cache" {
			if err := table.add(got, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got["RtCache.InMartianDst"] != 7 || got["RtCache.InMartianSrc"] != 8 {
		t.Error(got)
	}
}
