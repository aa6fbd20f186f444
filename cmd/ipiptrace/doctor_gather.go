package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	"ipiptrace/internal/host/read"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer"
	"ipiptrace/tracer/event"
)

// maxQuestions bounds the devices and VIPs that are asked about by ARP.
const maxQuestions = 16

// askARP asks who has the VIPs, if that is wanted, and says what is sent.
func (d *doctorCommand) askARP(ctx context.Context, ns read.Namespace, s *host.Snapshot, vips []netip.Addr) (all []doctor.Asked) {
	if !d.probeARP {
		return nil
	}
	questions := doctor.Questions(s, d.options(vips))
	for _, q := range questions[:min(len(questions), maxQuestions)] {
		d.progress(d.err, "sending %d ARP probes for %s by %s (RFC 5227: they change nobody's table)", read.ARPProbes, q.VIP, screen.Clean(q.Dev))
		a := doctor.Asked{VIP: q.VIP, Dev: q.Dev}
		macs, err := ns.WhoHas(ctx, q.Dev, q.VIP)
		if a.MACs = macs; err != nil {
			a.Why = err.Error()
		}
		all = append(all, a)
	}
	return all
}

// maxOthers bounds the namespaces in which a VIP is looked for.
const maxOthers = 256

// others are the other network namespaces of this machine that have one of the VIPs, if the one that is asked about lacks
// one: a container may be the real server.
func others(ctx context.Context, s *host.Snapshot, vips []netip.Addr) (all []doctor.Elsewhere) {
	if !slices.ContainsFunc(vips, func(vip netip.Addr) bool { return len(s.AddrOn(vip)) == 0 }) {
		return nil
	}
	for i, ns := range read.Namespaces(ctx) {
		if ns.Inode() == s.Netns || i >= maxOthers || ctx.Err() != nil {
			continue
		}
		state := ns.Addresses(ctx)
		if slices.ContainsFunc(vips, func(vip netip.Addr) bool { return len(state.AddrOn(vip)) > 0 }) {
			all = append(all, doctor.Elsewhere{State: state})
		}
	}
	return all
}

// places are those at which a trace could watch, tried as `ipiptrace probes` tries them; without the rights to they are foreseen.
func (d *doctorCommand) places(ctx context.Context) *doctor.Places {
	effective(everything)
	rows, err := tracer.Probes(ctx, "auto", d.log(d.err))
	effective(0)
	if err == nil {
		p := &doctor.Places{Rows: rows, Tried: true}
		if lacksTracefs(rows) {
			p.More = "more once kprobes can be made: " + mountTracefs
		}
		return p
	}
	if !errors.Is(err, tracer.ErrNotPermitted) {
		return &doctor.Places{Why: sentence(err)}
	}
	if rows, err = tracer.Foresee("auto"); err != nil {
		return &doctor.Places{Why: sentence(err)}
	}
	return &doctor.Places{Rows: rows}
}

// maxPeer is how long the other end's report may be, in bytes.
const maxPeer = 8 << 20

// peersFacts are those of the other end's report; nil if none was given.
func (d *doctorCommand) peersFacts(ctx context.Context) (*doctor.Facts, error) {
	if d.peer == "" {
		return nil, nil
	}
	wrong := func(err error) error { return usageError{fmt.Errorf("--peer %s: %w", screen.Quote(d.peer), err)} }
	file, err := openBeside(ctx, d.peer)
	if path := (*os.PathError)(nil); errors.As(err, &path) {
		return nil, wrong(fmt.Errorf("can't be read: %w", path.Err))
	}
	if err != nil {
		return nil, wrong(err)
	}
	defer file.Close()
	lines := json.NewDecoder(io.LimitReader(file, maxPeer))
	for {
		var line struct {
			Type  string        `json:"type"`
			VIPs  []netip.Addr  `json:"vips"`
			Facts *doctor.Facts `json:"facts"`
		}
		if err := lines.Decode(&line); err != nil {
			return nil, wrong(errors.New("not what ipiptrace doctor -o json prints: its last line is a report with facts"))
		}
		other := func(vip netip.Addr) bool { return !slices.Contains(line.VIPs, vip) }
		if line.Type == "report" && line.Facts != nil {
			if i := slices.IndexFunc(d.vips, other); i >= 0 {
				return nil, wrong(fmt.Errorf("it is about %s, not about %s: have doctor asked there with the same --vip", screen.Clean(join(line.VIPs)), d.vips[i]))
			}
			return line.Facts, nil
		}
	}
}

// sourceOf is whose state it is, for the other end.
func sourceOf(s *host.Snapshot) *doctor.Source {
	name, _ := os.Hostname()
	return &doctor.Source{Host: name, Netns: s.Netns, Name: s.Name, Time: s.Done.UTC().Format(time.RFC3339), Version: version}
}

// look traces for as long as was asked for.
func (d *doctorCommand) look(ctx context.Context, vips []netip.Addr, netns uint32) (*doctor.Watched, error) {
	if len(vips) > maxVIPs {
		return nil, fmt.Errorf("at most %d addresses can be watched at once: say which with --vip", maxVIPs)
	}
	f := following{duration: d.watch}
	opts := tracer.Options{
		Filter:  event.Filter{VIPs: vips, Ports: d.ports, Client: d.client.Prefix, Proto: protocols[d.proto.word], Netns: netns},
		Backend: "auto",
		Log:     d.log(d.err),
	}
	effective(everything)
	state := new(explaining).before(opts.Filter)
	live, err := attach(ctx, opts, &f, &d.talking, d.err)
	if err != nil {
		return nil, err
	}
	defer live.Close()
	from, inquiry := state.source(live)
	seen := &doctor.Watched{For: time.Duration(d.watch)}
	a := &audience{only: "all", stop: live.stop, take: seen.Take}
	patient := assembling{patience{span(journey.DefaultPatience)}}
	began := time.Now()
	err = follow(from, journey.New(patient.options(live.Run(), d.role.word)), inquiry, a)
	if ctx.Err() != nil { // it was told to end
		seen.For = time.Since(began).Round(100 * time.Millisecond)
	}
	return seen, err
}
