package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ipiptrace/internal/doctor"
	"ipiptrace/internal/host"
	"ipiptrace/internal/host/read"
	"ipiptrace/internal/render"
	"ipiptrace/internal/screen"
)

// doctorCommand is `ipiptrace doctor`.
type doctorCommand struct {
	streams
	talking
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
What can't be read, or can't be told from the state, is said. The commands of a repair are for the network namespace that
was looked at: with --netns the report says how to get a shell there.

It changes nothing, sends nothing (but with --probe-arp) and needs no privileges for what everybody may read: ` + "`?`" + ` marks the rest.

Steps of --only and --skip: ` + stepWords() + `.

Exit status: 0 no fault was found among what --only and --skip leave, and with --watch no packet was lost; 1 one was;
2 wrong usage; 3 nothing could be read or told, or nothing was asked.`,
		Example: `  ipiptrace doctor --vip 192.0.2.10 --port 80
  ipiptrace doctor --vip 192.0.2.10 --port 80 --director 10.0.0.2 --client 203.0.113.0/24`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.Var(&d.vips, "vip", "virtual IPs (IPv4); without it all that this machine has: on tunnels, on lo and dummies (/32), and in IPVS")
	flags.Var(&d.ports, "port", "service ports of TCP and UDP, each of which is asked about; without it those that are served, and where none is only what no port decides is asked")
	flags.Var(d.proto, "proto", "only this protocol; any: TCP and UDP, as far as they are served, and TCP for a port that is not")
	flags.Var(&d.client, "client", "where clients are, a network or an address; without it samples are taken")
	flags.StringVar(&d.netns, "netns", "", "the network namespace to look at, `NAME|PATH|PID`; without it one's own")
	flags.Var(d.role, "role", "what this machine is; auto: told from its state")
	flags.Var(&d.director, "director", "who sends the IPIP packets; without it samples are taken")
	flags.Var(&d.only, "only", "only these steps (numbers or names) and codes")
	flags.Var(&d.skip, "skip", "not these steps and codes")
	flags.Var(&d.watch, "watch", "trace the services for so long (10s), and join what is seen; without the rights to trace the rest is asked all the same")
	flags.BoolVar(&d.probeARP, "probe-arp", false, "ask, on the devices that face clients, who has the VIPs: it sends ARP probes, and says so")
	flags.StringVar(&d.peer, "peer", "", "the other end's doctor -o json, in `FILE`: what only both ends together show")
	flags.VarP(d.format, "output", "o", "text: for people; json: one object a line")
	flags.BoolVarP(&d.verbose, "verbose", "v", false, "say on stderr how long reading and asking took, and why a place can't be watched")
	flags.BoolVarP(&d.quiet, "quiet", "q", false, "nothing on stderr but errors")
	complete(cmd, "proto", d.proto.words)
	complete(cmd, "role", d.role.words)
	complete(cmd, "output", d.format.words)
	complete(cmd, "only", choosable())
	complete(cmd, "skip", choosable())
	_ = cmd.RegisterFlagCompletionFunc("netns", completeOneNetns)
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
		isNumber := len(word) == 1 && word >= "1" && word <= fmt.Sprint(len(doctor.Steps()))
		if !isNumber && !slices.Contains(choosable(), word) {
			return fmt.Errorf("neither a step (%s) nor a code (ipiptrace explain --list)%s", stepWords(), like(word, "", choosable()))
		}
		*c = append(*c, word)
	}
	return nil
}

// choosable are the steps, the codes, and what the table calls what has no code.
func choosable() []string {
	all := slices.Concat(doctor.Steps(), codes(), doctor.Codes())
	slices.Sort(all)
	return slices.Compact(all)
}

// The times of reading for doctor: as a whole, and a part of the state.
const (
	doctorTime = 3 * time.Minute
	doctorPart = 20 * time.Second
	// doctorThink bounds what the asking takes once all was read, if reading has not taken longer: a machine on which that is
	// slow is slow, or large.
	doctorThink = 20 * time.Second
)

func (d *doctorCommand) run(ctx context.Context) error {
	if err := d.talking.check(); err != nil {
		return err
	}
	if err := d.agree(); err != nil {
		return err
	}
	peer, err := d.peersFacts(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	effective(everything)
	ns, err := d.namespace()
	if err != nil {
		return err
	}
	reading, cancel := context.WithTimeout(ctx, doctorTime)
	defer cancel()
	s, vips := d.read(reading, ns)
	elsewhere := others(reading, s, vips)
	asked := d.askARP(reading, ns, s, vips)
	effective(0)
	if ctx.Err() != nil {
		return errors.New("doctor was told to end before it had read the state")
	}
	if !slices.ContainsFunc(host.Parts(), s.Knows) {
		return fmt.Errorf("%w: %s", errNothingRead, s.Unread[0].Why)
	}
	if len(vips) == 0 {
		return usageError{errors.New("--vip is missing, and no address here looks like a service's (on a tunnel, on lo or a dummy as /32, or in IPVS): say which, like --vip 192.0.2.10")}
	}
	if peer != nil && peer.IsOwn(s, vips) {
		return usageError{fmt.Errorf("--peer %s: it is what this machine says of itself, and not the other end: run doctor -o json there", screen.Quote(d.peer))}
	}
	options := d.options(vips)
	options.Peer, options.Elsewhere, options.Asked = peer, elsewhere, asked
	d.tell("the state was read", began)
	think := max(doctorThink, time.Since(began))
	began = time.Now()
	options.Late = func() bool { return ctx.Err() != nil || time.Since(began) > think }
	if options.Asks(9) {
		options.Places = d.places(ctx)
	}
	r := doctor.Examine(s, options)
	r.Facts.Of = sourceOf(s)
	r.Netns = d.entered()
	d.tell("it was asked", began)
	if d.watch > 0 {
		if seen, err := d.look(ctx, vips, ns.Inode()); err != nil {
			r.Unwatched(sentence(err), options)
		} else {
			r.Join(seen, options)
		}
	}
	return d.report(r)
}

// agree refuses flags that contradict each other.
func (d *doctorCommand) agree() error {
	switch {
	case d.director.IsValid() && slices.Contains(d.vips, d.director.Addr):
		return usageError{fmt.Errorf("--director %s: that is the VIP: give the address from which the director sends", d.director.Addr)}
	case d.director.IsValid() && d.client.IsSingleIP() && d.client.Addr() == d.director.Addr:
		return usageError{fmt.Errorf("--director %s: that is the client of --client", d.director.Addr)}
	case d.client.IsSingleIP() && slices.Contains(d.vips, d.client.Addr()):
		return usageError{fmt.Errorf("--client %s: that is the VIP: give the address of somebody who asks for it", d.client.Addr())}
	case d.proto.word == "icmp" && len(d.ports) > 0:
		return usageError{fmt.Errorf("--port %s: ICMP has no ports: leave out --port or --proto icmp", join(d.ports))}
	}
	return nil
}

// tell says with -v how long something took.
func (d *doctorCommand) tell(what string, began time.Time) {
	if log := d.log(d.err); log != nil {
		log.Info(what, "in", time.Since(began).Round(time.Millisecond))
	}
}

// slow is how long somebody waits before being told for what.
const slow = 2 * time.Second

// read reads the state, and what the VIPs are: without --vip those that it has.
func (d *doctorCommand) read(ctx context.Context, ns read.Namespace) (*host.Snapshot, []netip.Addr) {
	if lookOf(d.err).terminal {
		defer time.AfterFunc(slow, func() { d.progress(d.err, "reading the state of this machine …") }).Stop()
	}
	// Sockets of all ports are read: NAT may give packets to another one.
	o := read.Options{VIPs: d.vips, Client: d.client.Prefix, PartTime: doctorPart, Exceptions: true}
	s := read.Snapshot(ctx, ns, o)
	if len(d.vips) > 0 {
		return s, d.vips
	}
	if o.VIPs = doctor.VIPs(s); len(o.VIPs) > 0 { // what is read of connections is read of the VIPs
		read.Narrow(ctx, s, ns, o)
	}
	return s, o.VIPs
}

// namespace is the one to look at.
func (d *doctorCommand) namespace() (ns read.Namespace, err error) {
	name := d.netns
	switch name {
	case "all":
		return ns, usageError{errors.New(`--netns "all": doctor looks at one network namespace: ` + oneNetns)}
	case "":
		name = "/proc/self/ns/net"
	}
	inode, err := findNetns(name)
	if err != nil {
		return ns, netnsError(d.netns, err, oneNetns)
	}
	return read.Netns(inode)
}

// entered is the file of the namespace that --netns names; empty without it.
func (d *doctorCommand) entered() string {
	if d.netns == "" {
		return ""
	}
	path, _ := netnsPath(d.netns)
	if whole, err := filepath.Abs(path); err == nil {
		path = whole
	}
	return path
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
	if len(r.Checks) == 0 {
		return nothingAsked(r)
	}
	err := printed(d.out, func(w io.Writer) error {
		if d.format.word == "json" {
			return render.DoctorJSON(w, r)
		}
		look := lookOf(d.out)
		return render.DoctorText(w, r, render.TextOptions{Color: look.colour, Width: look.width})
	})
	switch {
	case err != nil:
		return err
	case r.Faults() > 0:
		return errLost
	case !r.Told():
		return errors.New("nothing of what was asked could be told: the report says why")
	}
	return nil
}

// nothingAsked is no health: the report would say that no fault was found.
func nothingAsked(r doctor.Report) error {
	var why []string
	for _, u := range r.Unasked {
		if u.Why != doctor.LeftOut {
			why = append(why, fmt.Sprintf("%d %s: %s", u.Step, doctor.StepName(u.Step), u.Why))
		}
	}
	if len(why) == 0 {
		why = []string{"--only and --skip leave nothing"}
	}
	return errors.New("nothing was asked: " + strings.Join(why, "; "))
}
