package read

import (
	"encoding/hex"
	"errors"
	"testing"

	"ipiptrace/internal/host"
)

// message is a queueing discipline of eth0 as the kernel says it, on x86: struct tcmsg, TCA_KIND and TCA_OPTIONS.
func message(t *testing.T, kind, options string) []byte {
	t.Helper()
	attr := func(number byte, value []byte) []byte {
		b := append([]byte{byte(4 + len(value)), 0, number, 0}, value...)
		return append(b, make([]byte, (4-len(b)%4)%4)...)
	}
	head, err1 := hex.DecodeString("00000000" + "02000000" + "00000180" + "ffffffff" + "02000000")
	value, err2 := hex.DecodeString(options)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return append(append(head, attr(tcaKind, append([]byte(kind), 0))...), attr(tcaOptions, value)...)
}

func TestLimitsOfQueuesAreRead(t *testing.T) {
	for what, test := range map[string]struct {
		kind, options string
		limit         uint32
		noRoom        bool
	}{
		"bfifo limit 1":           {"bfifo", "01000000", 1, false},
		"pfifo limit 0":           {"pfifo", "00000000", 0, true},
		"pfifo limit 1000":        {"pfifo", "e8030000", 1000, false},
		"fq limit 0":              {"fq", "08000100" + "00000000" + "08000200" + "64000000", 0, true},
		"fq as it is":             {"fq", "08000100" + "10270000", 10000, false},
		"fq_codel memory_limit 1": {"fq_codel", "08000200" + "00280000" + "08000900" + "01000000", 1, true},
		"cake memlimit 1":         {"cake", "08000a00" + "01000000", 1, true},
		"cake without a limit":    {"cake", "08000a00" + "00000000", 0, false},
		"netem has another form":  {"netem", "00000000", 0, false},
		"a fifo that says none":   {"pfifo", "", 0, false},
	} {
		to := []host.Qdisc{{Link: 2, Kind: test.kind, Handle: "8001:", Parent: "root"}, {Link: 3, Kind: test.kind, Handle: "8001:", Parent: "root"}}
		if err := limitOf(message(t, test.kind, test.options), to); err != nil || to[0].Limit != test.limit || to[0].NoRoom != test.noRoom || to[1].NoRoom {
			t.Errorf("%s: %v: %+v", what, err, to)
		}
	}
	if err := limitOf(make([]byte, 12), nil); err == nil {
		t.Error("half a header is taken for a queueing discipline")
	}
}
