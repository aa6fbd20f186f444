package render

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer/event"
)

func textOf(t *testing.T, opts TextOptions, js ...journey.Journey) string {
	t.Helper()
	var b strings.Builder
	out := NewText(screen.NewWriter(&b, opts.Color), opts)
	for _, j := range js {
		if err := out.Journey(diagnose.Verdict{Journey: j}); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTextAnswersFirst(t *testing.T) {
	want := `203.0.113.9:41522 → 10.99.0.1:80  SYN   dropped on tunl0 after 38 µs: IP_RPFILTER in ip_rcv_finish_core
    eth0 netif_receive_skb → tunnel4_rcv (10.0.1.2 → 10.0.1.5) → tunl0 ip_rcv → drop
`
	if got := textOf(t, TextOptions{}, contractJourney()); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestEveryFateHasItsSentence(t *testing.T) {
	for want, change := range map[string]func(*journey.Journey){
		"delivered on tunl0 after 38 µs":            func(*journey.Journey) {},
		"delivered on tunl0 after 38 µs: duplicate": func(j *journey.Journey) { j.Duplicate = true },
		"delivered, reply lost, on tunl0":           func(j *journey.Journey) { j.ReplyLost = true },
		"consumed on tunl0 after 38 µs: became 0000000000000007": func(j *journey.Journey) {
			j.Fate, j.Became = journey.Consumed, 7
		},
		"vanished on tunl0 after 38 µs: last seen at ip_rcv": func(j *journey.Journey) { j.Fate = journey.Vanished },
		"unknown on tunl0 after 38 µs: last seen at ip_rcv (2 gaps)": func(j *journey.Journey) {
			j.Fate, j.Gaps = journey.Unknown, 2
		},
		"rejected on eth0 after 38 µs: NO_SOCKET in tcp_v4_rcv, RST sent": func(j *journey.Journey) {
			j.Fate, j.Reject = journey.Rejected, &journey.Reject{By: journey.ByRST, Sent: true}
			j.Drop = &journey.Drop{Drop: event.Drop{Function: "tcp_v4_rcv", Reason: "NO_SOCKET"}, Dev: "eth0"}
		},
		"rejected on eth0 after 38 µs: in tunnel4_rcv, ICMP 3/3 kept back": func(j *journey.Journey) {
			j.Fate, j.Reject = journey.Rejected, &journey.Reject{By: journey.ByICMP, Type: 3, Code: 3}
			j.Drop = &journey.Drop{Drop: event.Drop{Function: "tunnel4_rcv"}, Dev: "eth0"}
		},
		"dropped on eth0 after 38 µs: NETFILTER_DROP in nft_do_chain (input)": func(j *journey.Journey) {
			j.Fate = journey.Dropped
			j.Drop = &journey.Drop{Drop: event.Drop{Function: "nft_do_chain", Reason: "NETFILTER_DROP"}, Dev: "eth0", NfHook: "input"}
		},
	} {
		j := delivered()
		change(&j)
		if got := textOf(t, TextOptions{}, j); !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}

func TestTheStackIsShownIfAsked(t *testing.T) {
	if got := textOf(t, TextOptions{Stack: true}, contractJourney()); !strings.Contains(got, "ip_rcv+0x5b\n") {
		t.Error(got)
	}
}

func TestNamespacesAreShownWhereAPacketCrossesThem(t *testing.T) {
	j := contractJourney()
	j.Steps[0].Netns = 7
	names := func(inode uint32) string { return map[uint32]string{7: "director"}[inode] }
	got := textOf(t, TextOptions{Netns: names}, j)
	if !strings.Contains(got, "director: eth0 netif_receive_skb → netns 4026532244: tunnel4_rcv") {
		t.Error(got)
	}
}

func TestColourOnlyIfAsked(t *testing.T) {
	if got := textOf(t, TextOptions{}, contractJourney()); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
	if got := textOf(t, TextOptions{Color: true}, contractJourney()); !strings.Contains(got, "\x1b[31mdropped\x1b[0m") {
		t.Errorf("%q", got)
	}
	if got := textOf(t, TextOptions{Color: true}, delivered()); !strings.Contains(got, "\x1b[32mdelivered\x1b[0m") {
		t.Errorf("%q", got)
	}
}

func TestAPathKeepsToTheWidth(t *testing.T) {
	j := contractJourney()
	for range 20 {
		j.Steps = append(j.Steps, j.Steps[2])
	}
	for i, line := range strings.Split(textOf(t, TextOptions{Width: 60}, j), "\n") {
		if i > 0 && utf8.RuneCountInString(line) > 60 {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
}

func TestATerminalCountsWhatItHasShown(t *testing.T) {
	var js []journey.Journey
	for i := range 25 {
		j := contractJourney()
		j.Start = j.Start.Add(time.Duration(i) * 100 * time.Millisecond)
		j.Packet.SrcPort += uint16(i)
		js = append(js, j)
	}
	want := textOf(t, TextOptions{}, contractJourney()) +
		"   +9  SYN to 10.99.0.1:80 dropped on tunl0: IP_RPFILTER in ip_rcv_finish_core (10 in all)\n" +
		"  +10  SYN to 10.99.0.1:80 dropped on tunl0: IP_RPFILTER in ip_rcv_finish_core (20 in all)\n" +
		"   +5  SYN to 10.99.0.1:80 dropped on tunl0: IP_RPFILTER in ip_rcv_finish_core (25 in all)\n"
	if got := textOf(t, TextOptions{Terminal: true}, js...); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := textOf(t, TextOptions{}, js...); strings.Count(got, "dropped") != 25 {
		t.Error("piped, every journey is there")
	}
}

func TestTheAccountSaysWhatWasNotSeen(t *testing.T) {
	for what, test := range map[string]struct {
		account journey.Account
		want    string
	}{
		"a run with losses": {account(), `journeys 12 (9 arrived, 3 lost, 0 open, 0 unknown) · events 214 · lost events 0 · missed 0 · probes 1/3 attached, skipped: ip_tunnel_rcv (the module ip_tunnel is not loaded), tunnel4_rcv (the module tunnel4 is not loaded)
    3  dropped IP_RPFILTER in ip_rcv_finish_core on tunl0
`},
		"a run without a packet": {nothing(), `journeys 0 (0 arrived, 0 lost, 0 open, 0 unknown) · events 214 · lost events 0 · missed: unknown · probes 1/3 attached, skipped: ip_tunnel_rcv (the module ip_tunnel is not loaded), tunnel4_rcv (the module tunnel4 is not loaded)
no packet for this service was seen; instead: IPIP packets 120
    same VIP, other port: 10.99.0.1:8080 tcp ×20
    inner destinations: 10.99.0.2:80 tcp ×100
    other destinations: 10.0.1.5 icmp ×4 (not in IPIP)
`},
		"a run in one namespace without a packet": {emptyNamespace(), `journeys 0 (0 arrived, 0 lost, 0 open, 0 unknown) · events 0 · lost events 0 · missed: unknown · probes 0/0 attached
no packet for this service was seen; instead: no IPIP packet, in all network namespaces
    other destinations: 10.0.1.5 protocol 47 ×4 (not in IPIP)
`},
	} {
		t.Run(what, func(t *testing.T) {
			var b strings.Builder
			if err := NewText(&b, TextOptions{}).Account(test.account); err != nil {
				t.Fatal(err)
			}
			if b.String() != test.want {
				t.Errorf("got\n%swant\n%s", b.String(), test.want)
			}
		})
	}
}

// emptyNamespace is the account of a run that looked into one namespace.
func emptyNamespace() journey.Account {
	return journey.Account{
		Filter: event.Filter{Netns: 7},
		Totals: &event.Totals{Inner: []event.Destination{{Addr: netip.MustParseAddr("10.0.1.5"), Protocol: 47, Count: 4}}},
	}
}
