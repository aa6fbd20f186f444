package main

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/tracer/event"
)

var fewProbes = []event.Probe{
	{Name: "kfree_skb", Mechanism: "tracepoint", Symbol: "kfree_skb"},
	{Name: "ip_rcv", Mechanism: "kprobe", Symbol: "ip_rcv_core.isra.0"},
	{Name: "tunnel4_rcv", Why: "not in this kernel"},
	{Name: "hostile", Why: "\x1b[31m\nred"},
}

func TestProbesAreATableForPeople(t *testing.T) {
	var b strings.Builder
	if err := probesTable(&b, fewProbes); err != nil {
		t.Fatal(err)
	}
	want := `place        mechanism   symbol              why not
kfree_skb    tracepoint  kfree_skb           -
ip_rcv       kprobe      ip_rcv_core.isra.0  -
tunnel4_rcv  -           -                   not in this kernel
hostile      -           -                   \x1b[31m\nred
2 of 4 places can be watched
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestProbesAreAnObjectALine(t *testing.T) {
	var b strings.Builder
	if err := probesJSON(&b, fewProbes); err != nil {
		t.Fatal(err)
	}
	want := `{"type":"probe","place":"kfree_skb","mechanism":"tracepoint","symbol":"kfree_skb"}
{"type":"probe","place":"ip_rcv","mechanism":"kprobe","symbol":"ip_rcv_core.isra.0"}
{"type":"probe","place":"tunnel4_rcv","why":"not in this kernel"}
{"type":"probe","place":"hostile","why":"\u001b[31m\nred"}
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestProbesThatCannotBeWrittenAreAnError(t *testing.T) {
	for _, write := range []func(io.Writer, []event.Probe) error{probesTable, probesJSON} {
		if write(broken{unix.ENOSPC}, fewProbes) == nil {
			t.Error("a full disk was not noticed")
		}
	}
}
