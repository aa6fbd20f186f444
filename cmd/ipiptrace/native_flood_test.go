//go:build native

package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sinkPort is where datagrams are taken and nobody answers; dropPort is where a rule drops them: exactly
// two events each.
const (
	sinkPort = 8082
	dropPort = 8083
)

// underWay is how long the last packets of a flood may take from the driver to the filter: a run that ends
// meanwhile calls them open, and is right.
const underWay = 500 * time.Millisecond

// TestNativeFlood sends more than is comfortable. Nothing may be lost without being counted, and nothing
// may be called lost that isn't.
func TestNativeFlood(t *testing.T) {
	binary := build(t)
	n := newNetwork(t)
	n.sink(t)
	n.on(t, n.server, "nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport "+strconv.Itoa(dropPort)+" drop")

	t.Run("what the ring has no room for is counted to the event, and nothing vanishes for it", func(t *testing.T) {
		const packets = 3000
		tr := startTrace(t, binary, n, "--ring-bytes", "65536", "--patience", "1s")
		tr.cmd.Process.Signal(syscall.SIGSTOP)
		n.flood(t, dropPort, packets)
		tr.cmd.Process.Signal(syscall.SIGCONT)
		time.Sleep(2 * time.Second) // longer than patience
		a := tr.end(t, syscall.SIGINT).account
		if a.LostEvents == 0 || a.Events+a.LostEvents != 2*packets {
			t.Errorf("%d events and %d lost ones of %d", a.Events, a.LostEvents, 2*packets)
		}
		if a.vanished() != 0 {
			t.Errorf("%d journeys vanished: their end was lost, they are unknown: %+v", a.vanished(), a)
		}
		t.Logf("events %d, lost events %d, journeys %d: %d lost, %d unknown, %d open", a.Events, a.LostEvents, a.Journeys, a.Lost, a.Unknown, a.Open)
	})

	t.Run("20,000 datagrams whose memory is used again and again are 20,000 journeys", func(t *testing.T) {
		const packets = 20_000
		tr := startTrace(t, binary, n)
		n.flood(t, dropPort, packets)
		a := tr.end(t, syscall.SIGINT).account
		if a.Journeys != packets || a.Lost != packets || a.vanished() != 0 || a.LostEvents != 0 || a.Untracked != 0 {
			t.Errorf("of %d: %+v", packets, a)
		}
	})

	t.Run("20,000 datagrams that leave without an event are no loss", func(t *testing.T) {
		const packets = 20_000
		tr := startTrace(t, binary, n, "--patience", "1s")
		n.flood(t, sinkPort, packets)
		time.Sleep(1500 * time.Millisecond)
		a := tr.end(t, syscall.SIGINT).account
		if a.Journeys != packets || a.Lost != 0 || a.LostEvents != 0 || a.Untracked != 0 {
			t.Errorf("of %d: %+v", packets, a)
		}
	})

	t.Run("two runs at once see every packet of a flood", func(t *testing.T) {
		const packets = 2000
		one, two := startTrace(t, binary, n), startTrace(t, binary, n)
		n.flood(t, dropPort, packets)
		time.Sleep(underWay)
		a, b := one.end(t, syscall.SIGINT).account, two.end(t, syscall.SIGINT).account
		if a.Lost != packets || b.Lost != packets {
			t.Errorf("of %d, one saw %+v, two %+v", packets, a, b)
		}
	})

	t.Run("10,000 packets that wait in a queue are neither lost nor much memory", func(t *testing.T) {
		const packets = 10_000
		n.queue(t, "1500kbit")
		tr := startTrace(t, binary, n, "--netns", "all", "--patience", "1s")
		witness := startTrace(t, binary, n, "--netns", "all", "--patience", "1s")
		before := n.sent(t)
		n.flood(t, dropPort, packets)
		waiting := packets - (n.sent(t) - before)
		for deadline := time.Now().Add(8 * time.Second); n.sent(t)-before < packets && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(underWay)
		peak := min(peakMemory(t, tr.cmd.Process.Pid), peakMemory(t, witness.cmd.Process.Pid)) // the machine may be busy
		ended, other := tr.end(t, syscall.SIGINT), witness.end(t, syscall.SIGINT)
		a := ended.account
		if a.Journeys != packets || a.vanished() != 0 || a.LostEvents != 0 || a.Untracked != 0 {
			t.Errorf("of %d: %+v", packets, a)
		}
		// A kernel may run no program of anybody while certain tasks are on a CPU, and not count that. What an interrupt
		// handles then is seen by no run at all: what only one of two misses is our own fault.
		unseen := ended.unseenEnds()
		if !maps.Equal(unseen, other.unseenEnds()) || len(unseen) > packets/20 {
			t.Errorf("of %d, the end of %d was not seen, by the other run of %d", packets, len(unseen), len(other.unseenEnds()))
			t.Logf("one: %+v, the other: %+v", a, other.account)
		}
		if peak > 64<<20 || waiting < packets/2 {
			t.Errorf("%d MiB of memory with %d packets waiting", peak>>20, waiting)
		}
		t.Logf("%d packets were waiting at once; peak memory %d MiB; the kernel kept the end of %d to itself", waiting, peak>>20, len(unseen))
	})
}

// unseenEnds are the journeys whose drop was not seen, by id.
func (e ended) unseenEnds() map[string]bool {
	ids := map[string]bool{}
	for _, j := range e.journeys {
		if j.Fate != "dropped" {
			ids[j.ID] = true
		}
	}
	return ids
}

// sink takes datagrams and does not answer.
func (n *network) sink(t *testing.T) {
	t.Helper()
	in(t, n.server, func() error {
		c, err := net.ListenPacket("udp4", service(sinkPort))
		if err != nil {
			return err
		}
		t.Cleanup(func() { c.Close() })
		if err := c.(*net.UDPConn).SetReadBuffer(64 << 20); err != nil {
			return err
		}
		go func() {
			b := make([]byte, 64)
			for {
				if _, _, err := c.ReadFrom(b); err != nil {
					return
				}
			}
		}()
		return nil
	})
}

// flood sends datagrams to the service, a thousand at a time.
func (n *network) flood(t *testing.T, port, packets int) {
	t.Helper()
	in(t, n.client, func() error {
		c, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(vip), Port: port})
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20) })
		for i := 0; i < packets && err == nil; i++ {
			if i%1000 == 999 {
				time.Sleep(20 * time.Millisecond)
			}
			if _, err = c.Write([]byte("hello")); errors.Is(err, unix.ECONNREFUSED) {
				i, err = i-1, nil // an earlier datagram was refused, and this one was not sent
			}
		}
		return err
	})
}

// sent is how many packets the client's device has sent.
func (n *network) sent(t *testing.T) (packets int) {
	t.Helper()
	in(t, n.client, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/dev")
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 10 && fields[0] == "wire:" {
				packets, err = strconv.Atoi(fields[10])
			}
		}
		return err
	})
	return packets
}

// peakMemory is the most memory that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) (bytes int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &bytes); n == 1 {
			return bytes << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
