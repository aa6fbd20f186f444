package event

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
)

const head = `{"type":"recording","version":1,"start":"2026-01-02T03:04:05Z"}` + "\n"

// packetOf is a line of a sighting whose inner source is that text.
func packetOf(src string) string {
	return head + fmt.Sprintf(`{"t":1,"p":"ip_rcv","pk":{"i":{"s":%q,"d":"10.99.0.1"}}}`, src) + "\n"
}

func TestWhatCanNotHaveBeenIsRefused(t *testing.T) {
	run := func(key, value string) string {
		return fmt.Sprintf(`{"type":"recording","version":1,"start":"2026-01-02T03:04:05Z",%q:%s}`, key, value) + "\n"
	}
	for what, test := range map[string]struct{ data, says string }{
		"an address with a zone":             {packetOf("fe80::1%a;touch x"), "no IPv4 address"},
		"a mapped address with a zone":       {packetOf("::ffff:10.0.0.1%x"), "no IPv4 address"},
		"an IPv6 address":                    {packetOf("2001:db8::1"), "no IPv4 address"},
		"a word for an address":              {packetOf("web.example"), "web.example"},
		"no address":                         {packetOf(""), "no IPv4 address"},
		"an outer address with a zone":       {head + `{"t":1,"p":"ip_rcv","pk":{"o":{"s":"::1%x","d":"10.0.0.1"},"i":{"s":"10.0.0.1","d":"10.99.0.1"}}}` + "\n", "no IPv4 address"},
		"a destination with a zone":          {head + `{"k":"end","t":1,"to":{"inner":[{"addr":"::1%x"}]}}` + "\n", "no IPv4 address"},
		"a VIP with a zone":                  {run("filter", `{"vips":["fe80::1%x"]}`), "no IPv4 address"},
		"a client that is no IPv4 network":   {run("filter", `{"client":"2001:db8::/32"}`), "no IPv4 network"},
		"the last moment there is":           {head + `{"k":"tick","t":9223372036854775807}` + "\n", "line 2: 9223372036854775807 is no time"},
		"a time before the machine's start":  {head + `{"k":"tick","t":-1}` + "\n", "line 2: -1 is no time"},
		"a first sight at the end of time":   {head + `{"p":"ip_rcv","at":4611686018427387904}` + "\n", "is no time"},
		"a start before the machine's":       {run("mono", "-1"), "line 1: -1 is no time"},
		"a start in another age":             {`{"type":"recording","version":1,"start":"0001-01-01T00:00:00Z"}` + "\n", "line 1: a start in the year 1"},
		"a negative count":                   {head + `{"k":"lost","t":1,"ct":-1}` + "\n", "line 2"},
		"a count beyond 64 bits":             {head + `{"k":"lost","t":1,"ct":18446744073709551616}` + "\n", "line 2"},
		"more probes than places":            {run("probes", "["+strings.Repeat("{},", maxProbes)+"{}]"), "more than 1024 probes"},
		"more VIPs than are followed":        {run("filter", `{"vips":[`+strings.Repeat(`"10.0.0.1",`, maxFilter)+`"10.0.0.1"]}`), "more than 64 VIPs"},
		"a device no kernel has":             {head + `{"t":1,"p":"ip_rcv","pk":{"d":"0123456789abcdef","i":{"s":"10.0.0.1","d":"10.99.0.1"}}}` + "\n", "the device is longer than 15 bytes"},
		"a stack no kernel has":              {head + `{"t":1,"p":"kfree_skb","d":{"st":[` + strings.Repeat(`"f",`, maxFrames) + `"f"]}}` + "\n", "more than 256 frames"},
		"a function's name that is a book":   {head + `{"t":1,"p":"kfree_skb","d":{"f":"` + strings.Repeat("f", maxName+1) + `"}}` + "\n", "longer than 1024 bytes"},
		"an event that is longer than a few": {head + `{"k":"tick","t":1,"x":"` + strings.Repeat("x", maxEventLine) + `"}` + "\n", "longer than 1048576 bytes"},
		"a text that is longer than a rule":  {head + `{"k":"state","t":1,"h":"` + strings.Repeat("x", maxString+1) + `"}` + "\n", "a text longer than"},
		"values in values in values":         {head + `{"t":1,"k":"state","h":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + "}\n", "more than 64 deep"},
	} {
		t.Run(what, func(t *testing.T) {
			_, _, err := read(t, []byte(test.data))
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line with %q", err, test.says)
			}
		})
	}
}

// TestEmptyValuesDoNotFillTheMemory reads a line that is small, and was large once it was unpacked: 5 million probes
// in 15 MB took more than a gigabyte.
func TestEmptyValuesDoNotFillTheMemory(t *testing.T) {
	many := strings.Repeat("{},", 5_000_000) + "{}"
	for what, data := range map[string]string{
		"probes of the run":    `{"type":"recording","version":1,"start":"2026-01-02T03:04:05Z","probes":[` + many + "]}\n",
		"probes that come":     head + `{"k":"watch","t":1,"pr":[` + many + "]}\n",
		"links of a snapshot":  head + `{"k":"state","t":1,"h":{"links":[` + many + "]}}\n",
		"expressions of rules": head + `{"k":"state","t":1,"h":{"nft":[{"chains":[{"rules":[{"exprs":[` + many + "]}]}]}]}}\n",
	} {
		var before, after runtime.MemStats
		in := []byte(data)
		runtime.ReadMemStats(&before)
		_, _, err := read(t, in)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "too many values") {
			t.Errorf("%s: %v, want too many values", what, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 8*uint64(len(in)) {
			t.Errorf("%s: %d MiB were allocated for %d MiB", what, took>>20, len(in)>>20)
		}
	}
}

// TestWhatFitsIsRead asks of snapshots whether they fit, and reads them.
func TestWhatFitsIsRead(t *testing.T) {
	for what, test := range map[string]struct {
		snapshot string
		fits     bool
	}{
		"a small one":          {`{"netns":1}`, true},
		"too many values":      {`{"links":[` + strings.Repeat("{},", 1<<20) + "{}]}", false},
		"too long":             {`{"links":[` + strings.Repeat(" ", maxLine) + "]}", false},
		"values without a end": {`{"links":` + strings.Repeat("[", 2*maxDepth), false},
	} {
		fits := Fits([]byte(test.snapshot)) == nil
		_, _, err := read(t, []byte(head+`{"k":"state","t":1,"h":`+test.snapshot+"}\n"))
		if fits != test.fits || fits != (err == nil) {
			t.Errorf("%s: fits %v, read: %v", what, fits, err)
		}
	}
}

// TestALargeSnapshotIsRead has ten thousand rules, a thousand sockets and four thousand tracked connections.
func TestALargeSnapshotIsRead(t *testing.T) {
	list := func(n int, one string) string { return strings.Repeat(one+",", n-1) + one }
	rule := `{"handle":7,"text":"ip saddr 10.0.0.1 tcp dport 80 counter packets 0 bytes 0 drop","exprs":[` +
		list(3, `{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"10.0.0.1"}}`) + `,{"counter":{"packets":0,"bytes":0}},{"drop":null}]}`
	data := head + `{"k":"state","t":1,"n":1,"h":{"netns":1,` +
		`"nft":[{"family":"ip","name":"filter","chains":[{"name":"input","rules":[` + list(10_000, rule) + `]}]}],` +
		`"sockets":[` + list(1000, `{"proto":"tcp","local":"10.0.0.1:80","remote":"10.0.0.2:41522","state":"established","recv_queue":0,"send_queue":0}`) + `],` +
		`"conntrack":{"count":1,"max":2,"conns":[` + list(4096, `{"proto":6,"from":"10.0.0.1:1","to":"10.0.0.2:2","back":"10.0.0.2:2","back_to":"10.0.0.1:1"}`) + "]}}}\n"
	if _, events, err := read(t, []byte(data)); err != nil || len(events) != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
}

func TestCountsStopAtTheLargestNumber(t *testing.T) {
	for _, c := range []struct{ a, b, want uint64 }{{1, 2, 3}, {math.MaxUint64, 1, math.MaxUint64}, {1 << 63, 1 << 63, math.MaxUint64}} {
		if got := Sum(c.a, c.b); got != c.want {
			t.Errorf("%d + %d = %d", c.a, c.b, got)
		}
	}
}
