package main

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ipiptrace/tracer/event"
)

func TestVerboseIsForPeople(t *testing.T) {
	var b strings.Builder
	log := slog.New(verbose{&sync.Mutex{}, &b})
	log.Debug("place skipped", "place", event.IPRcv, "err", errors.New(
		"load fentry/ip_rcv_core: program fentry_seen: load program: operation not permitted"+memlock+"\n"+
			`attach kprobe/ip_rcv_core: creating tracefs event (arch-specific fallback for "ip_rcv_core"): creating probe entry on tracefs: `+
			"checking trace event ebpf_d03a681fbbfd3ee1/ip_rcv_core: neither debugfs nor tracefs are mounted"))
	log.Debug("a module came", "place", event.IPVSIn, "why", "", "err", nil)
	const want = `place skipped, place ip_rcv:
    load fentry/ip_rcv_core: operation not permitted
    attach kprobe/ip_rcv_core: neither debugfs nor tracefs are mounted
a module came, place ip_vs_in
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

func TestWhatCanNotBeToldIsSaidAtTheStart(t *testing.T) {
	probes := []event.Probe{
		{Place: event.KfreeSkb, Mechanism: "tracepoint"},
		{Place: event.TCPConnRequest, Why: "refused by the kernel"},
		{Place: event.IPRouteOutput, Why: "tracefs is not mounted"},
		{Place: event.NftRule, Why: "module nf_tables is not loaded"},
	}
	if got := untold(probes); !strings.HasSuffix(got, ": SYNs that a listener refuses, answers that find no route") {
		t.Error(got)
	}
	if got := untold(probes[:1]); got != "" {
		t.Error(got)
	}
}

func TestRightsThatTheStateLacksAreSaidAtTheStart(t *testing.T) {
	if got := stateLacks(1<<unix.CAP_BPF | 1<<unix.CAP_PERFMON | 1<<unix.CAP_SYSLOG | 1<<unix.CAP_NET_ADMIN); !strings.Contains(got, "without CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_NET_RAW: ") {
		t.Error(got)
	}
	if got := stateLacks(everything); got != "" {
		t.Error(got)
	}
}
