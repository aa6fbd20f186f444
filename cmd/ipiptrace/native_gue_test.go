//go:build native

package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNativeTunnelsOverUDPAreKnownByTheirShape has packets of the service come by GUE and FOU to ports of no meaning, and what
// looks alike and is none.
func TestNativeTunnelsOverUDPAreKnownByTheirShape(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces and traces packets")
	}
	udp := make([]byte, 8, 13)
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], 13)
	inner := ipv4(farClient, vip, unix.IPPROTO_UDP, append(udp, "hello"...))
	gue := func(first byte, options int) []byte {
		return append(append([]byte{first, unix.IPPROTO_IPIP, 0, 0}, make([]byte, options)...), inner...)
	}
	n := newNetwork(t)
	for what, test := range map[string]struct {
		to      string
		payload []byte
		outer   string // what is said of the tunnel; empty: there is none
		none    bool   // no packet of the service
	}{
		"GUE to any port":                        {to: serverAddr, payload: gue(0, 0), outer: `"proto":"gue","sport":`},
		"GUE with options":                       {to: serverAddr, payload: gue(2, 8), outer: `"proto":"gue","sport":`},
		"FOU":                                    {to: serverAddr, payload: inner, outer: `"proto":"fou","sport":`},
		"a message of GUE that holds no data":    {to: serverAddr, payload: gue(0x20, 0), none: true},
		"what FOU has is longer":                 {to: serverAddr, payload: append(inner[:len(inner):len(inner)], 0), none: true},
		"a datagram of the service that is GUE":  {to: vip, payload: gue(0, 0)},
		"a datagram of the service that is IPv4": {to: vip, payload: inner},
	} {
		t.Run(what, func(t *testing.T) {
			tr := startTrace(t, build(t), n)
			in(t, n.client, func() error {
				c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(test.to), Port: 5555})
				if err != nil {
					return err
				}
				defer c.Close()
				_, err = c.Write(test.payload)
				return err
			})
			ended := tr.end(t, syscall.SIGINT)
			right := func(j seen) bool {
				return j.is("request", "udp", "rejected") && j.Reject != nil && *j.Reject == (reject{"icmp", 3, 3, true}) && (j.Outer != nil) == (test.outer != "") && strings.Contains(j.line, test.outer) &&
					(test.outer == "" || strings.Contains(j.line, `"dport":5555`) && strings.Contains(j.line, `"code":"tunnel-mode-mismatch"`))
			}
			if want := map[bool]int{false: 1}[test.none]; ended.count(right) != want || ended.account.Journeys != want {
				t.Errorf("%d journeys that are right, of %d; want %d", ended.count(right), ended.account.Journeys, want)
				ended.dump(t, func(seen) bool { return true })
			}
		})
	}
}

// TestNativeAProgramMayTakeWhatIsTunnelled has one listen behind the port of GUE.
func TestNativeAProgramMayTakeWhatIsTunnelled(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces and traces packets")
	}
	n := newNetwork(t)
	in(t, n.server, func() error {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(serverAddr), Port: 5555})
		if err == nil {
			t.Cleanup(func() { c.Close() })
			go io.Copy(io.Discard, c)
		}
		return err
	})
	tr := startTrace(t, build(t), n)
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], 8)
	in(t, n.client, func() error {
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(serverAddr), Port: 5555})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(append([]byte{0, unix.IPPROTO_IPIP, 0, 0}, ipv4(farClient, vip, unix.IPPROTO_UDP, udp)...))
		return err
	})
	ended := tr.end(t, syscall.SIGINT)
	taken := func(j seen) bool {
		return j.is("request", "udp", "delivered") && strings.Contains(j.line, `"notice":[{"code":"tunnel-mode-mismatch","summary":"a program has UDP port 5555, to which `+clientAddr+` sends`)
	}
	if ended.count(taken) != 1 || ended.account.Journeys != 1 {
		t.Errorf("%d journeys that are right, of %d; want 1", ended.count(taken), ended.account.Journeys)
		ended.dump(t, func(seen) bool { return true })
	}
}
