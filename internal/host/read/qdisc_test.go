package read

import (
	"encoding/hex"
	"testing"

	"ipiptrace/internal/host"
)

// TestLimitOfAFifoIsRead: `tc qdisc add dev eth0 root handle 8001: bfifo limit 1` as the kernel says it, on x86.
func TestLimitOfAFifoIsRead(t *testing.T) {
	bfifo, err := hex.DecodeString(
		"00000000" + "02000000" + "00000180" + "ffffffff" + "02000000" + // struct tcmsg
			"0a000100" + "626669666f00" + "0000" + // TCA_KIND
			"08000200" + "01000000") // TCA_OPTIONS
	if err != nil {
		t.Fatal(err)
	}
	to := []host.Qdisc{{Link: 2, Kind: "bfifo", Handle: "8001:", Parent: "root"}, {Link: 3, Kind: "bfifo", Handle: "8001:", Parent: "root"}}
	if err := fifoLimit(bfifo, to); err != nil || to[0].Limit != 1 || to[1].Limit != 0 {
		t.Errorf("%v: %+v", err, to)
	}
	if err := fifoLimit(bfifo[:12], to); err == nil {
		t.Error("half a header is taken for a queueing discipline")
	}
}
