package read

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
)

func TestAnARPProbeNamesNoSender(t *testing.T) {
	got := hex.EncodeToString(arpProbe(net.HardwareAddr{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("10.99.0.1")))
	if want := "ffffffffffff" + "020000000001" + "0806" + "0001080006040001" + "020000000001" + "00000000" + "000000000000" + "0a630001"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhoSaysToHaveAnAddressIsHeard(t *testing.T) {
	vip := netip.MustParseAddr("10.99.0.1")
	frame := func(op, sender string) []byte {
		b, err := hex.DecodeString("020000000001" + "020000000002" + "0806" + "00010800060400" + op + "020000000002" + sender + "020000000001" + "00000000" + "000000000000")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for what, test := range map[string]struct {
		frame []byte
		want  string
	}{
		"an answer":           {frame("02", "0a630001"), "02:00:00:00:00:02"},
		"an announcement":     {frame("01", "0a630001"), "02:00:00:00:00:02"},
		"of another address":  {frame("02", "0a630002"), ""},
		"another operation":   {frame("08", "0a630001"), ""},
		"one that is cut off": {frame("02", "0a630001")[:40], ""},
		"nothing":             {nil, ""},
	} {
		if got := claims(test.frame, vip); got != test.want {
			t.Errorf("%s: %q", what, got)
		}
	}
}
