package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"ipiptrace/internal/ipv4"
)

func TestFrameIsWhatADirectorSends(t *testing.T) {
	f := newFrame(vip).number(0x1234)
	for name, header := range map[string][]byte{"outer": f.outer()[:ipLen], "inner": f.inner()[:ipLen]} {
		sent := bytes.Clone(header)
		if ipv4.Seal(header); !bytes.Equal(sent, header) {
			t.Errorf("%s header: its checksum is not that of its bytes", name)
		}
		if header[4] != 0x12 || header[5] != 0x34 {
			t.Errorf("%s header: id % x", name, header[4:6])
		}
	}
	if got, want := int(f.outer()[2])<<8|int(f.outer()[3]), len(f)-ethLen; got != want {
		t.Errorf("outer length %d, want %d", got, want)
	}
	if got := f.inner()[16:20]; !bytes.Equal(got, vip.AsSlice()) {
		t.Errorf("inner destination %v", got)
	}
}

func TestFirstFragmentIsNotWhole(t *testing.T) {
	if f := newFrame(vip).firstFragment(); f.inner()[6]&0x20 == 0 || f.outer()[6]&0x20 != 0 {
		t.Errorf("more-fragments: outer %#x, inner %#x", f.outer()[6], f.inner()[6])
	}
}

func TestMedianIgnoresThePacketsThatAnInterruptFellUpon(t *testing.T) {
	if got := median([]int64{11144, 13396, 11144, 1073281, 11144}); got != 11144 {
		t.Errorf("median %d", got)
	}
}

func TestAccountOfTheTracerIsRead(t *testing.T) {
	got, err := parseAccount("watching 10.99.0.1\njourneys 12 (9 arrived, 3 lost, 0 open, 0 unknown) · events 214 · lost events 7 · missed 0 · probes 24/26 attached\n")
	if err != nil || got != (account{214, 7}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseAccount("ipiptrace: no usable back-end\n"); err == nil {
		t.Error("no account, and no error")
	}
}

func TestOnlyAMuchDearerBuildIsWorse(t *testing.T) {
	for name, c := range map[string]struct {
		before, now int64
		worse       bool
	}{
		"the same":           {3000, 3000, false},
		"cheaper":            {3000, 100, false},
		"five per cent":      {3000, 3150, false},
		"more than that":     {3000, 3151, true},
		"something for free": {0, 1, true},
	} {
		pair := comparison{cost{Instructions: c.before}, cost{Instructions: c.now}}
		if pair.worse() != c.worse {
			t.Errorf("%s: %+.3f is worse: %v", name, pair.change(), pair.worse())
		}
	}
	for now, worse := range map[int64]bool{114_000: false, 116_000: true} {
		if pair := (comparison{cost{Case: inAll, Instructions: 100_000}, cost{Case: inAll, Instructions: now}}); pair.worse() != worse {
			t.Errorf("with the reader %+.3f is worse: %v", pair.change(), pair.worse())
		}
	}
}

func TestOnlyTheSameCaseIsCompared(t *testing.T) {
	costs := []cost{
		{Case: untraced, Instructions: 11144},
		{Build: buildBefore, Backend: "fentry", Case: nothing, Instructions: 3000},
		{Build: buildNow, Backend: "fentry", Case: nothing, Instructions: 3300},
		{Build: buildNow, Backend: "fentry", Case: kernelHalf, Instructions: 9000},
		{Build: buildBefore, Backend: "kprobe-multi", Unusable: "not in this kernel"},
		{Build: buildNow, Backend: "kprobe-multi", Case: nothing, Instructions: 2000},
	}
	pairs := compare(of(buildBefore, costs), of(buildNow, costs))
	if len(pairs) != 1 || pairs[0].now.Instructions != 3300 {
		t.Fatalf("pairs: %+v", pairs)
	}
	var said bytes.Buffer
	if worse, err := writeComparison(&said, pairs); err != nil || !worse || !strings.Contains(said.String(), "+10.0 %   worse") {
		t.Errorf("worse %v, %v:\n%s", worse, err, &said)
	}
}

func TestOnlyTheReaderMayDifferBetweenGuests(t *testing.T) {
	first := []cost{{Case: nothing, Instructions: 3000}, {Case: inAll, Instructions: 100000}}
	for name, c := range map[string]struct {
		again []cost
		same  bool
	}{
		"the same":         {[]cost{{Case: nothing, Instructions: 3000}, {Case: inAll, Instructions: 100000}}, true},
		"another reader":   {[]cost{{Case: nothing, Instructions: 3000}, {Case: inAll, Instructions: 100700}}, true},
		"a probe differs":  {[]cost{{Case: nothing, Instructions: 3001}, {Case: inAll, Instructions: 100000}}, false},
		"a case is absent": {[]cost{{Case: nothing, Instructions: 3000}}, false},
	} {
		if got := writeRepeat(io.Discard, first, c.again); got != c.same {
			t.Errorf("%s: same %v", name, got)
		}
	}
}

func TestTableHasARowForEachBackend(t *testing.T) {
	var out bytes.Buffer
	err := writeTable(&out, []cost{
		{Kernel: "6.1.0", Case: untraced, Packets: 2000, Instructions: 11144},
		{Backend: "fentry", Case: nothing, Instructions: 3016},
		{Backend: "fentry", Case: bystander, Instructions: 4002},
		{Backend: "fentry", Case: kernelHalf, Instructions: 8991, Events: 9, Places: []share{{"ip_rcv", "fentry_seen", 2, 900}}},
		{Backend: "fentry", Case: inAll, Instructions: 137437, Events: 9, Lost: 3},
		{Backend: "kprobe-multi", Unusable: "not in this kernel"},
	})
	want := `Linux 6.1.0 · 2000 packets · an untraced packet takes 11144 instructions; more of them with ipiptrace:
   back-end   nothing matches   another is followed   everything, kernel   everything, in all   events   lost
     fentry             +3016                 +4002                +8991              +137437      9.0      3
kprobe-multi: not in this kernel

fentry, everything, kernel: +8991
  900    2.00 hits   ip_rcv                                                      fentry_seen
  8091               the way into the programs, less the cost of these figures   
`
	if err != nil || out.String() != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, &out, want)
	}
}

func TestCostsComeOutOfTheGuestAsTheyWentIn(t *testing.T) {
	var lines bytes.Buffer
	json.NewEncoder(&lines).Encode(cost{Build: onlyBuild, Case: nothing, Instructions: 3016})
	costs, err := readCosts(&lines)
	if err != nil || len(costs) != 1 || costs[0].Instructions != 3016 || costs[0].Build != "" {
		t.Errorf("%v, %+v", err, costs)
	}
	if _, err := readCosts(strings.NewReader("Killed\n")); err == nil {
		t.Error("no costs, and no error")
	}
}

func TestWrongFlagsAreUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"-o", "xml"}, {"--packets", "0"}, {"--repeat", "0"}, {"something"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
