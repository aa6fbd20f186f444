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
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	"ipiptrace/internal/host/read"
	"ipiptrace/internal/journey"
	"ipiptrace/internal/render"
	"ipiptrace/internal/screen"
	"ipiptrace/tracer"
	"ipiptrace/tracer/event"
)

// doctorCommand is `ipiptrace doctor`.
type doctorCommand struct {
	streams
	vips     addrs
	ports    ports
	client   prefix
	proto    *choice
	netns    string
	role     *choice
	director director
	only     checks
	skip     checks
	watch    span
	probeARP bool
	peer     string
	format   *choice
}

func newDoctor(s streams) *cobra.Command {
	d := &doctorCommand{streams: s, proto: oneOf("any", "tcp", "udp", "icmp"), role: oneOf("auto", "real-server", "director"), format: oneOf("text", "json")}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what in this machine's configuration would lose a service's packets, without waiting for one",
		Long: `doctor supposes a request of a client, the IPIP packet around it and the reply, and asks the machine's state
what each of them would meet: tunnels, rules of netfilter, routes and settings, the service's socket, and on a
director IPVS. A fault loses packets now, a risk under a condition that is named, a note is worth knowing.
What can't be read, or can't be told from the state, is said.

It changes nothing, sends nothing (but with --probe-arp) and needs no privileges for what everybody may read: ` + "`?`" + ` marks the rest.

Steps of --only and --skip: ` + stepWords() + `.

Exit status: 0 no fault was found; 1 one was; 2 wrong usage; 3 nothing could be read.`,
		Example: `  ipiptrace doctor --vip 192.0.2.10 --port 80
  ipiptrace doctor --vip 192.0.2.10 --port 80 --director 10.0.0.2 --client 203.0.113.0/24`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.Var(&d.vips, "vip", "virtual IPs (IPv4); without it those that this machine has")
	flags.Var(&d.ports, "port", "service ports of TCP and UDP; without it those that are served, and where none is only what no port decides is asked")
	flags.Var(d.proto, "proto", "only this protocol; any: TCP and UDP, as far as they are served")
	flags.Var(&d.client, "client", "where clients are, a network or an address; without it samples are taken")
	flags.StringVar(&d.netns, "netns", "", "the network namespace to look at, `NAME|PATH|PID`; without it one's own")
	flags.Var(d.role, "role", "what this machine is; auto: told from its state")
	flags.Var(&d.director, "director", "who sends the IPIP packets; without it samples are taken")
	flags.Var(&d.only, "only", "only these steps (numbers or names) and codes")
	flags.Var(&d.skip, "skip", "not these steps and codes")
	flags.Var(&d.watch, "watch", "trace the services for so long (10s), and join what is seen: it needs trace's rights")
	flags.BoolVar(&d.probeARP, "probe-arp", false, "ask, on the devices that face clients, who has the VIPs: it sends ARP probes, and says so")
	flags.StringVar(&d.peer, "peer", "", "the other end's doctor -o json, in `FILE`: what only both ends together show")
	flags.VarP(d.format, "output", "o", "text: for people; json: one object a line")
	complete(cmd, "proto", d.proto.words)
	complete(cmd, "role", d.role.words)
	complete(cmd, "output", d.format.words)
	complete(cmd, "only", append(doctor.Steps(), codes()...))
	complete(cmd, "skip", append(doctor.Steps(), codes()...))
	_ = cmd.RegisterFlagCompletionFunc("netns", completeNetns)
	return cmd
}

func stepWords() string {
	var words []string
	for n, name := range doctor.Steps() {
		words = append(words, fmt.Sprintf("%d %s", n+1, name))
	}
	return strings.Join(words, ", ")
}

// director is the value of --director.
type director struct{ netip.Addr }

func (d *director) Type() string { return "ADDR" }

func (d *director) String() string {
	if !d.IsValid() {
		return ""
	}
	return d.Addr.String()
}

func (d *director) Set(s string) (err error) {
	d.Addr, err = parseAddr(s)
	return err
}

// checks is the value of --only and --skip.
type checks []string

func (c *checks) Type() string { return "STEP|CODE[,...]" }

func (c *checks) String() string { return join(*c) }

func (c *checks) Set(s string) error {
	for _, word := range strings.Split(s, ",") {
		isStep := slices.ContainsFunc(doctor.Steps(), func(name string) bool { return name == word })
		isNumber := len(word) == 1 && word >= "1" && word <= fmt.Sprint(len(doctor.Steps()))
		if !isStep && !isNumber && !slices.Contains(codes(), word) {
			return fmt.Errorf("neither a step (%s) nor a code (ipiptrace explain --list)", stepWords())
		}
		*c = append(*c, word)
	}
	return nil
}

// The times of reading for doctor: as a whole, and a part of the state.
const (
	doctorTime = 2 * time.Minute
	doctorPart = 20 * time.Second
	// doctorThink bounds what the asking takes once all was read.
	doctorThink = 20 * time.Second
)

func (d *doctorCommand) run(ctx context.Context) error {
	peer, err := d.peersFacts(ctx)
	if err != nil {
		return err
	}
	effective(everything)
	ns, err := d.namespace()
	if err != nil {
		return err
	}
	reading, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	// Sockets of all ports are read: NAT may give packets to another one.
	o := read.Options{VIPs: d.vips, Client: d.client.Prefix, PartTime: doctorPart, Exceptions: true}
	s := read.Snapshot(reading, ns, o)
	if len(d.vips) == 0 {
		// What is read of connections is read of the VIPs.
		if o.VIPs = doctor.VIPs(s); len(o.VIPs) > 0 {
			s = read.Snapshot(reading, ns, o)
		}
	}
	elsewhere := others(reading, s, o.VIPs)
	asked := d.askARP(reading, ns, s, o.VIPs)
	effective(0)
	if !slices.ContainsFunc(host.Parts(), s.Knows) {
		return fmt.Errorf("nothing of this machine's state could be read: %s", s.Unread[0].Why)
	}
	if len(o.VIPs) == 0 {
		return usageError{errors.New("--vip is missing, and no address here looks like a service's (on a tunnel, on lo or a dummy as /32, or in IPVS): say which, like --vip 192.0.2.10")}
	}
	options := d.options(o.VIPs)
	options.Peer, options.Elsewhere, options.Asked = peer, elsewhere, asked
	began := time.Now()
	options.Late = func() bool { return ctx.Err() != nil || time.Since(began) > doctorThink }
	if options.Asks(9) {
		options.Places = foreseen()
	}
	r := doctor.Examine(s, options)
	if d.watch > 0 {
		seen, err := d.look(ctx, o.VIPs, ns.Inode())
		if err != nil {
			return err
		}
		r.Join(seen, options)
	}
	return d.report(r)
}

// maxQuestions bounds the devices and VIPs that are asked about by ARP.
const maxQuestions = 16

// askARP asks who has the VIPs, if that is wanted, and says what is sent.
func (d *doctorCommand) askARP(ctx context.Context, ns read.Namespace, s *host.Snapshot, vips []netip.Addr) (all []doctor.Asked) {
	if !d.probeARP {
		return nil
	}
	questions := doctor.Questions(s, d.options(vips))
	for _, q := range questions[:min(len(questions), maxQuestions)] {
		fmt.Fprintf(d.err, "sending %d ARP probes for %s by %s (RFC 5227: they change nobody's table)\n", read.ARPProbes, q.VIP, screen.Clean(q.Dev))
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

// foreseen are the places at which a trace could watch.
func foreseen() *doctor.Places {
	rows, err := tracer.Foresee("auto")
	if err != nil {
		return &doctor.Places{Why: err.Error()}
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
			Facts *doctor.Facts `json:"facts"`
		}
		if err := lines.Decode(&line); err != nil {
			return nil, wrong(errors.New("not what ipiptrace doctor -o json prints: its last line is a report with facts"))
		}
		if line.Type == "report" && line.Facts != nil {
			return line.Facts, nil
		}
	}
}

// look traces for as long as was asked for.
func (d *doctorCommand) look(ctx context.Context, vips []netip.Addr, netns uint32) (*doctor.Watched, error) {
	f := following{duration: d.watch}
	opts := tracer.Options{
		Filter:  event.Filter{VIPs: vips, Ports: d.ports, Client: d.client.Prefix, Proto: protocols[d.proto.word], Netns: netns},
		Backend: "auto",
	}
	effective(everything)
	state := new(explaining).before(opts.Filter)
	live, err := attach(ctx, opts, &f, &talking{quiet: true}, d.err)
	if err != nil {
		return nil, err
	}
	defer live.Close()
	from, inquiry := state.source(live)
	seen := &doctor.Watched{For: time.Duration(d.watch)}
	a := &audience{only: "all", stop: live.stop, take: seen.Take}
	patient := assembling{patience{span(journey.DefaultPatience)}}
	return seen, follow(from, journey.New(patient.options(live.Run(), d.role.word)), inquiry, a)
}

// namespace is the one to look at.
func (d *doctorCommand) namespace() (ns read.Namespace, err error) {
	name := d.netns
	switch name {
	case "all":
		return ns, usageError{errors.New(`--netns "all": doctor looks at one network namespace: give a name that "ip netns" lists, a path like /proc/PID/ns/net, or a process`)}
	case "":
		name = "/proc/self/ns/net"
	}
	inode, err := findNetns(name)
	if err != nil {
		return ns, netnsError(d.netns, err)
	}
	return read.Netns(inode)
}

func (d *doctorCommand) options(vips []netip.Addr) doctor.Options {
	o := doctor.Options{
		VIPs: vips, Ports: d.ports, Proto: protocols[d.proto.word], Client: d.client.Prefix, Director: d.director.Addr,
		Only: d.only, Skip: d.skip,
	}
	if d.role.word != "auto" {
		o.Role = d.role.word
	}
	return o
}

func (d *doctorCommand) report(r doctor.Report) error {
	err := printed(d.out, func(w io.Writer) error {
		if d.format.word == "json" {
			return render.DoctorJSON(w, r)
		}
		return render.DoctorText(w, r, render.TextOptions{Color: lookOf(d.out).colour})
	})
	switch {
	case err == nil && len(r.Checks) == 0:
		return fmt.Errorf("nothing was asked: what --only and --skip leave has no check for a %s here", strings.ReplaceAll(r.Role, "-", " "))
	case err == nil && r.Faults() > 0:
		return errLost
	}
	return err
}
