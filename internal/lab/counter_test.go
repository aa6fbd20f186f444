package lab

import (
	"os"
	"strings"
	"testing"
)

func TestPerCPUCounterIsHexadecimalAndSummed(t *testing.T) {
	stat := "entries  found drop\n00000003  00000000 0000000a\n00000003  00000001 00000006\n"
	if n, err := perCPUCounter(strings.NewReader(stat), Conntrack, "drop"); err != nil || n != 16 {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := perCPUCounter(strings.NewReader(stat), Conntrack, "insert"); err == nil {
		t.Error("a counter that is not there was found")
	}
}

func TestCounterIsFoundUnderItsName(t *testing.T) {
	snmp := "Ip: Forwarding InReceives\nIp: 2 17\nIcmp: InMsgs InDestUnreachs\nIcmp: 5 4\n"
	if n, err := counter(strings.NewReader(snmp), "Icmp:", "InDestUnreachs"); err != nil || n != 4 {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := counter(strings.NewReader(snmp), "Icmp:", "OutRsts"); err == nil {
		t.Error("a counter that is not there was found")
	}
}

func TestOutcomeTellsSilenceFromRefusal(t *testing.T) {
	if o := outcome(os.ErrDeadlineExceeded); o != TimedOut {
		t.Errorf("deadline is %s", o)
	}
	if o := outcome(nil); o != Answered {
		t.Errorf("no error is %s", o)
	}
}
