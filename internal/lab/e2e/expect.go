package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"ipiptrace/internal/lab"
)

// loss is how a journey must end under a scenario. The kernel may choose among functions and reasons;
// an empty field must be empty in the journey, too, but for dev, where it says nothing.
type loss struct {
	scenario  string
	proto     lab.Proto
	fate      string
	functions []string
	reasons   []string
	dev, hook string
	reject    string
}

// losses are from the kernel facts: 6.1 and later; 5.10 has the functions, but no reasons.
func losses() []loss {
	nft := []string{"nft_do_chain", "nf_hook_slow"}
	return []loss{
		{"rp-filter", lab.TCP, "dropped", []string{"ip_rcv_finish_core"}, []string{"IP_RPFILTER"}, "tunl0", "", ""},
		{"rp-filter", lab.UDP, "dropped", []string{"ip_rcv_finish_core"}, []string{"IP_RPFILTER"}, "tunl0", "", ""},
		{"vip-missing", lab.TCP, "dropped", []string{"ip_error"}, []string{"IP_INADDRERRORS"}, "tunl0", "", ""},
		{"vip-missing", lab.UDP, "dropped", []string{"ip_error"}, []string{"IP_INADDRERRORS"}, "tunl0", "", ""},
		{"tunnel-down", lab.TCP, "rejected", []string{"tunnel4_rcv"}, []string{"NOT_SPECIFIED"}, "eth0", "", "icmp 3/3"},
		{"tunnel-down", lab.UDP, "rejected", []string{"tunnel4_rcv"}, []string{"NOT_SPECIFIED"}, "eth0", "", "icmp 3/3"},
		{"no-listener", lab.TCP, "rejected", []string{"tcp_v4_rcv"}, []string{"NO_SOCKET"}, "tunl0", "", "rst 0/0"},
		{"no-listener", lab.UDP, "rejected", []string{"__udp4_lib_rcv", "udp_rcv"}, []string{"NO_SOCKET"}, "tunl0", "", "icmp 3/3"},
		{"firewall-input", lab.TCP, "dropped", nft, []string{"NETFILTER_DROP"}, "tunl0", "input", ""},
		{"firewall-input", lab.UDP, "dropped", nft, []string{"NETFILTER_DROP"}, "tunl0", "input", ""},
		{"firewall-outer", lab.TCP, "dropped", nft, []string{"NETFILTER_DROP"}, "eth0", "prerouting", ""},
		{"firewall-outer", lab.UDP, "dropped", nft, []string{"NETFILTER_DROP"}, "eth0", "prerouting", ""},
		{"firewall-legacy", lab.TCP, "dropped", []string{"nf_hook_slow"}, []string{"NETFILTER_DROP"}, "tunl0", "input", ""},
		{"firewall-legacy", lab.UDP, "dropped", []string{"nf_hook_slow"}, []string{"NETFILTER_DROP"}, "tunl0", "input", ""},
		{"bad-checksum", lab.Crafted, "dropped", []string{"tcp_v4_rcv"}, []string{"TCP_CSUM"}, "tunl0", "", ""},
		{"malformed-inner", lab.Crafted, "dropped", []string{"ip_rcv_core"}, []string{"IP_INHDR", "PKT_TOO_SMALL"}, "tunl0", "", ""},
	}
}

// wire is the protocol that the traffic has on the wire.
func wire(p lab.Proto) string {
	if p == lab.Crafted {
		return string(lab.TCP)
	}
	return string(p)
}

// tier attaches once and plays every scenario under it.
func (o options) tier(ctx context.Context, r *report, l *lab.Lab, only *regexp.Regexp, tier string) error {
	w, err := start(ctx, l, o.ipiptrace, tier)
	if err != nil {
		return err
	}
	r.note("%s: ready after %v, peak memory %s", tier, w.ready.Round(time.Millisecond), w.peakRSS())
	for _, s := range lab.Scenarios() {
		if s.Code == "" || !only.MatchString(s.Name) {
			continue
		}
		mark := w.mark()
		r.check(tier+"/"+s.Name+"/client", o.play(ctx, r, l, s))
		for _, t := range s.Traffic {
			r.check(fmt.Sprintf("%s/%s/%s", tier, s.Name, t.Proto), o.verdict(w, mark, s, t))
		}
		r.check(tier+"/"+s.Name+"/undo", o.repair(ctx, r, l, s))
		w.settle(500 * time.Millisecond)
	}
	if err := o.healthy(ctx, r, l, tier, w); err != nil {
		return err
	}
	r.note("%s: peak memory %s", tier, w.peakRSS())
	account, err := w.stop()
	r.check(tier+"/account", errors.Join(err, complete(account)))
	return nil
}

// complete checks that the account admits no gap.
func complete(a line) error {
	if a.LostEvents != 0 {
		return fmt.Errorf("%d events were lost", a.LostEvents)
	}
	if m := string(a.Missed); m != "" && m != "0" && m != `"unknown"` {
		return fmt.Errorf("missed: %s", m)
	}
	return nil
}

// verdict checks that as many requests as were sent were lost, and each of them as expected.
func (o options) verdict(w *watch, mark int, s lab.Scenario, t lab.Traffic) error {
	expected := slices.IndexFunc(losses(), func(e loss) bool { return e.scenario == s.Name && e.proto == t.Proto })
	if expected < 0 {
		return errors.New("no row says how its journeys end")
	}
	want := losses()[expected]
	found := w.await(mark, t.Count, func(l line) bool {
		return l.lost() && l.Inner.Proto == wire(t.Proto) && l.Inner.Dst == lab.VIP.String() && l.Inner.Dport == lab.Port
	})
	if len(found) < t.Count {
		return fmt.Errorf("%d requests were lost, %d journeys say so; all journeys: %v", t.Count, len(found), w.since(mark))
	}
	for _, l := range found {
		if err := o.match(l, want, s.Code); err != nil {
			return fmt.Errorf("%w\nin %s", err, l.raw)
		}
	}
	return nil
}

func (o options) match(l line, want loss, code string) error {
	if l.Drop == nil {
		return fmt.Errorf("%s: no drop", l)
	}
	var reject, cause string
	if l.Reject != nil {
		reject = fmt.Sprintf("%s %d/%d", l.Reject.By, l.Reject.Type, l.Reject.Code)
	}
	if l.Cause != nil {
		cause = l.Cause.Code
	}
	reasons := want.reasons
	if !o.reasons {
		reasons = []string{""}
	}
	var errs []error
	for _, c := range []struct {
		what, got string
		want      []string
		ask       bool
	}{
		{"fate", l.Fate, []string{want.fate}, true},
		{"function", l.Drop.Function, want.functions, true},
		{"reason", l.Drop.Reason, reasons, true},
		{"dev", l.Drop.Dev, []string{want.dev}, want.dev != ""},
		{"nf_hook", l.Drop.NfHook, []string{want.hook}, true},
		{"reject", reject, []string{want.reject}, true},
		{"cause", cause, []string{code}, o.causes},
	} {
		if c.ask && !slices.Contains(c.want, c.got) {
			errs = append(errs, fmt.Errorf("%s is %q, want %q", c.what, c.got, c.want))
		}
	}
	return errors.Join(errs...)
}

// healthy sends many connections with payload and close, and checks that nothing was lost: neither
// for the client nor, if w is watching, for ipiptrace, which must have seen every packet delivered.
func (o options) healthy(ctx context.Context, r *report, l *lab.Lab, name string, w *watch) error {
	for _, t := range []struct {
		lab.Traffic
		group, counter string
	}{
		{lab.Traffic{Proto: lab.TCP, Count: o.connections, Request: 3000, Answer: 9000, Deadline: 20 * time.Second}, "Tcp:", "InSegs"},
		{lab.Traffic{Proto: lab.UDP, Count: o.connections, Request: 200, Deadline: 20 * time.Second}, "Udp:", "InDatagrams"},
	} {
		before, err := l.Counter(lab.RealServer, t.group, t.counter)
		if err != nil {
			return err
		}
		mark := 0
		if w != nil {
			w.settle(time.Second)
			mark = w.mark()
		}
		began := time.Now()
		got, err := l.Traffic(ctx, t.Traffic)
		if err != nil {
			return err
		}
		// The last packets of a connection are on their way when the client is done.
		time.Sleep(500 * time.Millisecond)
		after, err := l.Counter(lab.RealServer, t.group, t.counter)
		if err != nil {
			return err
		}
		r.note("healthy %s: %s; %d packets reached the real server's sockets in %v", t.Proto, got, after-before, time.Since(began).Round(time.Millisecond))
		r.check(fmt.Sprintf("%s/healthy/%s/client", name, t.Proto), got.Saw(lab.Answered))
		if w != nil {
			r.check(fmt.Sprintf("%s/healthy/%s", name, t.Proto), w.allArrived(r, mark, t.Proto, after-before))
		}
	}
	return nil
}

// allArrived checks that at least so many requests were delivered and that no journey ended otherwise than it should.
func (w *watch) allArrived(r *report, mark int, p lab.Proto, packets int) error {
	delivered := w.await(mark, packets, func(l line) bool {
		return l.Direction == "request" && l.Fate == "delivered" && l.Inner.Proto == wire(p)
	})
	w.settle(time.Second)
	fates := map[string]int{}
	var others []line
	for _, l := range w.since(mark) {
		fates[l.Direction+" "+l.Fate]++
		if !l.arrived() || l.Gaps > 0 {
			others = append(others, l)
		}
	}
	r.note("journeys: %v", fates)
	if len(others) > 0 {
		return fmt.Errorf("%d journeys did not arrive, the first: %s\n%s", len(others), others[0], others[0].raw)
	}
	if len(delivered) < packets {
		return fmt.Errorf("%d packets reached sockets, %d journeys say so", packets, len(delivered))
	}
	return nil
}
