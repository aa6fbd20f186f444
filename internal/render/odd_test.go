package render

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"ipiptrace/internal/diagnose"
	"ipiptrace/tracer/event"
)

func TestWhatIsNoIPv4PacketIsNamedByItsOuterHeader(t *testing.T) {
	j := contractJourney()
	nothing := netip.AddrFrom4([4]byte{})
	j.Packet = event.Packet{NoInner: true, Outer: j.Outer, Inner: event.Header{Src: nothing, Dst: nothing}}
	j.Steps = nil
	var text, line bytes.Buffer
	if err := NewText(&text, TextOptions{}).Journey(diagnose.Verdict{Journey: j}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text.String(), "10.0.1.2 → 10.0.1.5  IPIP without an IPv4 packet  dropped on tunl0") {
		t.Errorf("%s", text.String())
	}
	if err := NewJSON(&line).Journey(diagnose.Verdict{Journey: j}); err != nil {
		t.Fatal(err)
	}
	if s := line.String(); strings.Contains(s, `"inner"`) || !strings.Contains(s, `"outer":{"src":"10.0.1.2"`) {
		t.Errorf("%s", s)
	}
	a := account()
	a.Totals = &event.Totals{NotIPv4: 3}
	line.Reset()
	if err := NewJSON(&line).Account(a); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(line.String(), `"not_ipv4":3`) || !strings.Contains(accountLine(a), "· IPIP without an IPv4 packet 3 ·") {
		t.Errorf("%s%s", line.String(), accountLine(a))
	}
}
