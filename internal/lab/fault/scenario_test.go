package fault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"ipiptrace/internal/ipv4"
	"ipiptrace/internal/lab"
)

func TestScenarioIsOneWordWithOneSentence(t *testing.T) {
	word := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, s := range Scenarios() {
		if !word.MatchString(s.Name) || seen[s.Name] {
			t.Errorf("%q is not a word of its own", s.Name)
		}
		seen[s.Name] = true
		if !strings.HasSuffix(s.Summary, ".") {
			t.Errorf("%s: %q is not a sentence", s.Name, s.Summary)
		}
		if (s.Code == "") != strings.HasPrefix(s.Name, "healthy") {
			t.Errorf("%s expects the cause %q", s.Name, s.Code)
		}
		if len(s.Traffic) == 0 {
			t.Errorf("%s has no traffic", s.Name)
		}
		if len(s.Inject) > 0 && len(s.Undo) == 0 {
			t.Errorf("%s can't be undone", s.Name)
		}
	}
}

func TestTrafficIsBounded(t *testing.T) {
	for _, s := range Scenarios() {
		for _, tr := range s.Traffic {
			if tr.Count <= 0 || tr.Count > 100 {
				t.Errorf("%s: %d × %s", s.Name, tr.Count, tr.Proto)
			}
			if strings.HasPrefix(string(tr.Proto), string(lab.Crafted)) != (tr.Frame != nil) {
				t.Errorf("%s: frames are for crafted traffic only", s.Name)
			}
		}
	}
}

func TestCraftedFrameIsRightButForItsFault(t *testing.T) {
	for name, want := range map[string]struct {
		frame       []byte
		tcp         bool
		innerLength uint16
	}{
		"a healthy SYN":      {tunnelledSYN(7), true, 40},
		"a wrong checksum":   {wrongTCPChecksum(7), false, 40},
		"a length too great": {innerTooShort(7), true, 140},
		"a stray ACK":        {strayACK(7), true, 40},
		"a segment":          {tunnelledSegment(7, segment{port: 30001, seq: 5, ack: 6, timestamp: 7}), true, 60},
		"from loopback":      {fromLoopback(7), true, 40},
	} {
		t.Run(name, func(t *testing.T) {
			outer, inner := want.frame[ethLen:][:ipLen], want.frame[ethLen+ipLen:][:ipLen]
			if ipv4.Sum(0, outer) != 0xffff || ipv4.Sum(0, inner) != 0xffff {
				t.Error("header checksum is wrong")
			}
			if got := binary.BigEndian.Uint16(inner[2:]); got != want.innerLength {
				t.Errorf("inner length is %d, want %d", got, want.innerLength)
			}
			if !bytes.Equal(inner[16:20], lab.VIP.AsSlice()) {
				t.Error("inner destination is not the VIP")
			}
			tcp := want.frame[ethLen+2*ipLen:]
			src, _ := netip.AddrFromSlice(inner[12:16])
			if right := ipv4.Sum(pseudo(src, lab.VIP, 6, len(tcp)), tcp) == 0xffff; right != want.tcp {
				t.Errorf("TCP checksum right: %v, want %v", right, want.tcp)
			}
		})
	}
}

func TestHalfOpenConnectionIsNotForTheVIP(t *testing.T) {
	f := halfOpen(3)
	ip, tcp := f[ethLen:][:ipLen], f[ethLen+ipLen:]
	if ipv4.Sum(0, ip) != 0xffff {
		t.Error("header checksum is wrong")
	}
	if !bytes.Equal(ip[12:16], nobody.AsSlice()) || !bytes.Equal(ip[16:20], lab.RealServerAddr.AsSlice()) {
		t.Errorf("from %v to %v", ip[12:16], ip[16:20])
	}
	if ipv4.Sum(pseudo(nobody, lab.RealServerAddr, 6, tcpLen), tcp) != 0xffff {
		t.Error("TCP checksum is wrong")
	}
}

func TestFaultOfTheWholeMachineNeedsPermission(t *testing.T) {
	for _, s := range Scenarios() {
		if !s.WholeMachine {
			continue
		}
		var out bytes.Buffer
		status, err := Run(t.Context(), Command{Name: s.Name, Stdout: &out, Stderr: &out})
		if status != exitUsage || err == nil || !strings.Contains(err.Error(), "--change-this-machine") {
			t.Errorf("%s: status %d, %v", s.Name, status, err)
		}
		if out.Len() > 0 {
			t.Errorf("%s: says %q", s.Name, out.String())
		}
	}
}

func TestStepMayFindItsWorkDone(t *testing.T) {
	gone := lab.Step{Do: func(context.Context, *lab.Lab) error { return errors.New("exit status 2: No such process") }}
	if err := unless("No such process", gone).Do(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if unless("File exists", gone).Do(t.Context(), nil) == nil {
		t.Error("another error was swallowed")
	}
}

func TestCraftedDatagramIsRightButForItsChecksum(t *testing.T) {
	for name, want := range map[string]struct {
		frame []byte
		right bool
	}{
		"right":      {tunnelledDatagram(7, 20), true},
		"wrong":      {wrongUDPChecksum(7), false},
		"long, too":  {wrongLongUDPChecksum(7), false},
		"long, fine": {tunnelledDatagram(7, 201), true},
	} {
		udp := want.frame[ethLen+2*ipLen:]
		if right := ipv4.Sum(pseudo(lab.ClientAddr, lab.VIP, 17, len(udp)), udp) == 0xffff; right != want.right {
			t.Errorf("%s: checksum right: %v", name, right)
		}
	}
}

func TestOddHeadersAreSealed(t *testing.T) {
	for name, f := range map[string][]byte{
		"congestion": congested(7), "a source route": sourceRouted(7), "a wrong option": wrongOption(7), "a fragment": firstFragment(7), "the next one": overlappingFragment(7),
	} {
		if ipv4.Sum(0, f[ethLen:][:ipLen]) != 0xffff {
			t.Errorf("%s: the outer checksum is wrong", name)
		}
	}
	inner := sourceRouted(7)[ethLen+ipLen:]
	if length := int(inner[0]&0xf) * 4; length <= ipLen || ipv4.Sum(0, inner[:length]) != 0xffff {
		t.Errorf("header of %d bytes, or its checksum is wrong", length)
	}
	first, next := firstFragment(7)[ethLen:], overlappingFragment(7)[ethLen:]
	if first[6] != 0x20 || next[6] != 0 || int(next[7])*8 >= len(first)-ipLen {
		t.Errorf("fragments at %v and %v, the first has %d bytes", first[6:8], next[6:8], len(first)-ipLen)
	}
}

func TestEveryFaultSaysHowItsJourneysEnd(t *testing.T) {
	for _, s := range Scenarios() {
		if s.Code == "" && len(s.Losses) > 0 {
			t.Errorf("%s loses packets without a cause", s.Name)
		}
		if s.Code == "" {
			continue
		}
		if len(s.Losses) != len(s.Traffic) {
			t.Errorf("%s: %d losses for %d kinds of traffic", s.Name, len(s.Losses), len(s.Traffic))
		}
		for _, traffic := range s.Traffic {
			want, ok := s.Loss(traffic.Proto)
			if !ok || want.Fate == "" {
				t.Errorf("%s does not say how %s ends", s.Name, traffic.Proto)
			}
			if s.Notice != (want.Notice != "") {
				t.Errorf("%s, %s: the notice is %q", s.Name, traffic.Proto, want.Notice)
			}
		}
	}
}
