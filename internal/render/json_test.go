package render

import (
	"bytes"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/internal/journey"
	"ipiptrace/tracer/event"
)

func jsonOf(t *testing.T, j journey.Journey, stack bool) string {
	t.Helper()
	var b bytes.Buffer
	out := NewJSON(&b)
	out.Stack = stack
	if err := out.Journey(diagnose.Verdict{Journey: j}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestJSONIsTheContracts(t *testing.T) {
	want := `{"type":"journey","id":"9f2c4e10a7b3d581","start":"2026-01-02T03:04:05.123456789Z","role":"real-server","direction":"request",` +
		`"outer":{"src":"10.0.1.2","dst":"10.0.1.5","ttl":63,"id":4711,"len":80},` +
		`"inner":{"proto":"tcp","src":"203.0.113.9","sport":41522,"dst":"10.99.0.1","dport":80,"flags":"S","seq":1,"len":60},` +
		`"steps":[{"t":0,"hook":"netif_receive_skb","dev":"eth0","netns":4026532244},{"t":8100,"hook":"tunnel4_rcv","dev":"eth0"},{"t":12000,"hook":"ip_rcv","dev":"tunl0"}],` +
		`"fate":"dropped",` +
		`"drop":{"function":"ip_rcv_finish_core","symbol":"ip_rcv_finish_core.constprop.0+0x1f4","reason":"IP_RPFILTER","dev":"tunl0","netns":4026532244,"stack":["ip_rcv_finish_core.constprop.0+0x1f4","ip_rcv+0x5b"]},` +
		`"gaps":0}` + "\n"
	if got := jsonOf(t, contractJourney(), true); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestTheStackIsThereOnlyIfAsked(t *testing.T) {
	if got := jsonOf(t, contractJourney(), false); strings.Contains(got, "stack") {
		t.Error(got)
	}
}

func TestAFieldThatDoesNotApplyIsAbsent(t *testing.T) {
	j := delivered()
	j.Outer = nil
	got := jsonOf(t, j, true)
	for _, key := range []string{"outer", "drop", "reject", "duplicate", "became", "related", "segments", "reply", "notice"} {
		if strings.Contains(got, `"`+key+`"`) {
			t.Errorf("%s in %s", key, got)
		}
	}
}

func TestWhatAppliesIsThereEvenIfItIsZero(t *testing.T) {
	j := contractJourney()
	j.Fate, j.Reject = journey.Rejected, &journey.Reject{By: journey.ByICMP, Type: 3}
	j.Became, j.Related, j.Segments, j.Duplicate, j.ReplyLost = 1, 2, 3, true, true
	j.Packet.Seq, j.Packet.TCPFlags = 0, 0
	j.Notices = []journey.Notice{{Code: "vip-arp-conflict", Summary: "x"}}
	got := jsonOf(t, j, false)
	for _, want := range []string{
		`"reject":{"by":"icmp","type":3,"code":0,"sent":false}`, `"flags":"","seq":0`, `"became":"0000000000000001"`,
		`"related":"0000000000000002"`, `"segments":3`, `"duplicate":true`, `"reply":"lost"`,
		`"notice":[{"code":"vip-arp-conflict","summary":"x"}]`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	j.Reject = &journey.Reject{By: journey.ByRST, Sent: true}
	if got := jsonOf(t, j, false); !strings.Contains(got, `"reject":{"by":"rst","sent":true}`) {
		t.Error(got)
	}
}

func TestADirectorsStepsSayWhatItDid(t *testing.T) {
	j := contractJourney()
	j.Steps = []journey.Step{
		{Place: event.IPVSSchedule, Dev: "eth0", Verdict: "no-destination"},
		{Place: event.IPVSXmit, Dev: "eth0", Method: "tunnel"},
	}
	j.Drop.Function, j.Drop.NfHook, j.Drop.Decider = "nf_hook_slow", "input", "ip_vs_in"
	got := jsonOf(t, j, false)
	for _, want := range []string{
		`{"t":0,"hook":"ip_vs_schedule","dev":"eth0","verdict":"no-destination"}`, `{"t":0,"hook":"ip_vs_xmit","dev":"eth0","method":"tunnel"}`,
		`"function":"nf_hook_slow"`, `"nf_hook":"input","decider":"ip_vs_in"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if text := textOf(t, TextOptions{}, j); !strings.Contains(text, "in nf_hook_slow (input, ip_vs_in)") || !strings.Contains(text, "ip_vs_schedule no-destination → ip_vs_xmit tunnel") {
		t.Error(text)
	}
}

func TestTheAccountIsTheContracts(t *testing.T) {
	for what, test := range map[string]struct {
		account journey.Account
		want    string
	}{
		"a run with losses": {account(), `{"type":"account","journeys":12,"arrived":9,"lost":3,"open":0,"unknown":0,"events":214,"lost_events":0,"missed":0,"untracked":0,` +
			`"probes":{"attached":["tcp_v4_rcv"],"skipped":[{"place":"ip_tunnel_rcv","why":"the module ip_tunnel is not loaded"},{"place":"tunnel4_rcv","why":"the module tunnel4 is not loaded"}]},` +
			`"losses":[{"fate":"dropped","function":"ip_rcv_finish_core","reason":"IP_RPFILTER","dev":"tunl0","count":3}]}`},
		"a run without a packet, on a kernel that does not count what it missed": {nothing(), `{"type":"account","journeys":0,"arrived":0,"lost":0,"open":0,"unknown":0,"events":214,"lost_events":0,"untracked":0,` +
			`"probes":{"attached":["tcp_v4_rcv"],"skipped":[{"place":"ip_tunnel_rcv","why":"the module ip_tunnel is not loaded"},{"place":"tunnel4_rcv","why":"the module tunnel4 is not loaded"}]},` +
			`"seen":{"ipip":120,"inner":[{"dst":"10.99.0.2","dport":80,"proto":"tcp","tunnelled":true,"count":100},{"dst":"10.99.0.1","dport":8080,"proto":"tcp","tunnelled":true,"count":20},{"dst":"10.0.1.5","proto":"icmp","tunnelled":false,"count":4}]}}`},
	} {
		t.Run(what, func(t *testing.T) {
			var b bytes.Buffer
			if err := NewJSON(&b).Account(test.account); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSuffix(b.String(), "\n"); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
