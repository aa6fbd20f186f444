//go:build native

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestNativeTier runs the real binary against real packets of this machine's kernel, with what every
// kernel offers: tracepoints.
func TestNativeTier(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: it makes network namespaces and traces packets")
	}
	binary := build(t)
	n := newNetwork(t)
	n.serve(t)

	t.Run("nothing of healthy connections is lost", func(t *testing.T) {
		tr := startTrace(t, binary, n)
		for range 5 {
			n.exchange(t, "tcp", port, 3000)
			n.exchange(t, "udp", port, 200)
		}
		ended := tr.end(t, syscall.SIGINT)
		if ended.status != statusArrived || ended.account.Lost != 0 {
			t.Errorf("status %d, account %+v", ended.status, ended.account)
		}
		for _, want := range []struct {
			what string
			seen func(seen) bool
		}{
			{"SYNs delivered", func(j seen) bool { return j.is("request", "tcp", "delivered") && j.Inner.Flags == "S" }},
			{"payloads delivered", func(j seen) bool {
				return j.is("request", "tcp", "delivered") && strings.HasPrefix(j.Inner.Flags, "P")
			}},
			{"FINs delivered", func(j seen) bool {
				return j.is("request", "tcp", "delivered") && strings.HasPrefix(j.Inner.Flags, "F")
			}},
			{"SYN/ACKs forwarded", func(j seen) bool { return j.is("reply", "tcp", "forwarded") && j.Inner.Flags == "SA" }},
			{"UDP replies forwarded", func(j seen) bool { return j.is("reply", "udp", "forwarded") }},
			// No tracepoint sees a datagram taken by its socket; some kernels free it without an event.
			{"UDP requests", func(j seen) bool {
				return j.is("request", "udp", "delivered") || j.is("request", "udp", "unknown") || j.is("request", "udp", "open")
			}},
		} {
			if got := ended.count(want.seen); got != 5 {
				t.Errorf("%d %s, not 5", got, want.what)
				ended.dump(t, func(seen) bool { return true })
			}
		}
	})

	for _, fault := range []struct {
		name          string
		break_, mend  func(*testing.T)
		packet        func(*testing.T)
		want          seen
		wantTunnelled bool
	}{
		{
			name:   "a SYN that nobody listens for is rejected with an RST",
			packet: func(t *testing.T) { n.knock(t, deafPort) },
			want:   seen{Fate: "rejected", Drop: &drop{Function: "tcp_v4_rcv", Reason: "NO_SOCKET"}, Reject: &reject{By: "rst", Sent: true}},
		},
		{
			name:   "a datagram that nobody listens for is rejected with an ICMP error",
			packet: func(t *testing.T) { n.throw(t, deafPort) },
			want:   seen{Fate: "rejected", Drop: &drop{Function: "__udp4_lib_rcv", Reason: "NO_SOCKET"}, Reject: &reject{By: "icmp", Type: 3, Code: 3, Sent: true}},
		},
		{
			name: "a packet that a rule in input drops is dropped there",
			break_: func(t *testing.T) {
				n.on(t, n.server, "nft", "add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i udp dport 8080 drop")
			},
			mend:   func(t *testing.T) { n.on(t, n.server, "nft", "delete table ip t") },
			packet: func(t *testing.T) { n.throw(t, port) },
			want:   seen{Fate: "dropped", Drop: &drop{Function: "nft_do_chain", Reason: "NETFILTER_DROP", NfHook: "input"}},
		},
		{
			name: "a packet that the reverse-path filter refuses is dropped",
			break_: func(t *testing.T) {
				n.on(t, n.server, "sysctl", "-qw", "net.ipv4.conf.wire.rp_filter=1")
			},
			mend:   func(t *testing.T) { n.on(t, n.server, "sysctl", "-qw", "net.ipv4.conf.wire.rp_filter=0") },
			packet: func(t *testing.T) { n.throwFrom(t, farClient, port) },
			want:   seen{Fate: "dropped", Drop: &drop{Function: "ip_rcv_finish_core", Reason: "IP_RPFILTER"}},
		},
		{
			name:          "an IPIP packet to a host without ipip is rejected with an ICMP error",
			packet:        func(t *testing.T) { n.throwTunnelled(t) },
			want:          seen{Fate: "rejected", Drop: &drop{Function: "ip_local_deliver_finish", Reason: "IP_NOPROTO"}, Reject: &reject{By: "icmp", Type: 3, Code: 2, Sent: true}},
			wantTunnelled: true,
		},
	} {
		t.Run(fault.name, func(t *testing.T) {
			if fault.break_ != nil {
				fault.break_(t)
				defer fault.mend(t)
			}
			tr := startTrace(t, binary, n)
			fault.packet(t)
			ended := tr.end(t, syscall.SIGTERM)
			found := ended.count(func(j seen) bool { return j.Direction == "request" && j.matches(fault.want) })
			if found != 1 {
				t.Errorf("%d journeys ended so, not 1", found)
				ended.dump(t, func(seen) bool { return true })
			}
			if ended.status != statusLost || ended.account.Lost != 1 {
				t.Errorf("status %d, %d lost; want %d, 1", ended.status, ended.account.Lost, statusLost)
			}
			if tunnelled := ended.count(func(j seen) bool { return j.Outer != nil }) > 0; tunnelled != fault.wantTunnelled {
				t.Errorf("an outer header: %v", tunnelled)
			}
		})
	}

	t.Run("a reader that goes away ends the run quietly", func(t *testing.T) {
		tr := startTrace(t, binary, n)
		n.throw(t, deafPort)
		tr.awaitJourneys(t, 1)
		tr.stdout.Close()
		ended := tr.wait(t)
		if ended.status != statusLost || strings.Contains(ended.stderr, "broken") || !strings.HasPrefix(ended.lastStderr(), "journeys ") && !strings.Contains(ended.stderr, "\njourneys ") {
			t.Errorf("status %d, stderr: %s", ended.status, ended.stderr)
		}
	})

	t.Run("two runs at once see the same", func(t *testing.T) {
		one, two := startTrace(t, binary, n), startTrace(t, binary, n)
		n.throw(t, deafPort)
		a, b := one.end(t, syscall.SIGINT), two.end(t, syscall.SIGINT)
		if a.account.Journeys == 0 || a.account.Journeys != b.account.Journeys || a.journeys[0].ID != b.journeys[0].ID {
			t.Errorf("one saw %+v, two %+v", a.journeys, b.journeys)
		}
	})

	t.Run("a run that is killed leaves nothing behind", func(t *testing.T) {
		tr := startTrace(t, binary, n)
		before := linksOf(t, tr.cmd.Process.Pid)
		if len(before) == 0 {
			t.Fatal("no link of the running process was found")
		}
		tr.cmd.Process.Kill()
		tr.wait(t)
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			left := slices.DeleteFunc(allLinks(t), func(l bpfLink) bool { return !slices.Contains(before, l.ID) })
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d links are left", len(left))
			}
		}
	})

	t.Run("--count and --duration end a run", func(t *testing.T) {
		tr := startTrace(t, binary, n, "--count", "1")
		n.throw(t, deafPort)
		n.throw(t, deafPort)
		if ended := tr.wait(t); len(ended.journeys) != 1 || ended.status != statusLost || ended.account.Journeys != 1 || ended.account.Lost != 1 {
			t.Errorf("status %d, %d journeys, account %+v", ended.status, len(ended.journeys), ended.account)
		}
		for _, short := range []string{"100ms", "1ns"} { // the second is over before anything is read
			if ended := startTrace(t, binary, n, "--duration", short).wait(t); ended.status != statusArrived || len(ended.journeys) != 0 {
				t.Errorf("%s: status %d, %d journeys, without a packet", short, ended.status, len(ended.journeys))
			}
		}
	})

	t.Run("a recording says what the run said", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "seen.jsonl")
		ready := filepath.Join(t.TempDir(), "ready")
		record := exec.Command(binary, "record", file, "--vip", vip, "--netns", n.server, "--backend", "tracepoint", "--ready-file", ready)
		var stderr bytes.Buffer
		record.Stderr = &stderr
		if err := record.Start(); err != nil {
			t.Fatal(err)
		}
		defer record.Process.Kill()
		awaitFile(t, ready)
		n.throw(t, deafPort)
		n.exchange(t, "tcp", port, 3000)
		time.Sleep(settled)
		record.Process.Signal(syscall.SIGINT)
		record.Wait()
		var out, replayErr bytes.Buffer
		replay := exec.Command(binary, "replay", file, "-o", "json")
		replay.Stdout, replay.Stderr = &out, &replayErr
		replay.Run()
		if record.ProcessState.ExitCode() != statusLost || replay.ProcessState.ExitCode() != statusLost {
			t.Errorf("record ended with %s, replay with %s", record.ProcessState, replay.ProcessState)
		}
		if lastAccount(stderr.String()) != lastAccount(replayErr.String()) {
			t.Errorf("record: %s\nreplay: %s", stderr.String(), replayErr.String())
		}
		if !strings.Contains(out.String(), `"NO_SOCKET"`) {
			t.Errorf("replay: %s", out.String())
		}
	})
}

// lastAccount is the line that sums up.
func lastAccount(stderr string) string {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "journeys ") {
			return line
		}
	}
	return "no account in: " + stderr
}
