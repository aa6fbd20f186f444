//go:build native

package read

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

var (
	oracleConfigurations = flag.Int("oracle.configurations", 60, "how many configurations are generated")
	oraclePackets        = flag.Int("oracle.packets", 16, "how many packets are sent into each")
	oracleFigures        = flag.String("oracle.figures", "", "a directory for the figures, where make adds them up")
	oracleFirst          = flag.Uint64("oracle.first", 300, "the seed of the first configuration")
)

// TestNativeTheModelTakesPacketsAsTheKernelDoes generates configurations of devices, addresses, routes, rules, VRFs and
// settings, sends packets into each of them, plain ones and ones in tunnels, and compares what the kernel then does with what
// the model says of the state as doctor reads it: whether the packet is delivered, forwarded and by which device, refused by
// the check of its source or by its route, and by which device the answer to it leaves.
func TestNativeTheModelTakesPacketsAsTheKernelDoes(t *testing.T) {
	sum := newTally()
	if err := sum.devices(); err != nil {
		t.Fatal(err)
	}
	for seed := *oracleFirst; seed < *oracleFirst+uint64(*oracleConfigurations) && len(sum.said) < 12; seed++ {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // for good: the thread ends with its namespace
			o := &oracle{Rand: rand.New(rand.NewPCG(13, seed)), tallied: sum, seed: seed}
			done <- o.play()
		}()
		if err := <-done; err != nil {
			t.Fatalf("configuration %d: %v", seed, err)
		}
	}
	for _, said := range sum.said {
		t.Error(said)
	}
	t.Log(sum)
	if err := sum.write(*oracleFigures, *oracleFirst); err != nil {
		t.Error(err)
	}
	for _, kind := range sum.lacking() {
		t.Errorf("no packet met the kind %q", kind)
	}
}

// oracle plays one configuration.
type oracle struct {
	*rand.Rand
	*tallied
	*place
	seed uint64
	// extra are the devices beside the usual ones, without the one that has no carrier.
	extra   []string
	without string
	marks   []markRule
	// commands are to be run, said were.
	commands, said []string
	shown          bool
	s              *host.Snapshot
	sockets        []listening
}

// pick is one of some words, chance true once in so many times.
func (o *oracle) pick(words ...string) string { return words[o.IntN(len(words))] }
func (o *oracle) chance(in int) bool          { return o.IntN(in) == 0 }

func (o *oracle) play() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if o.place, err = newPlace(); err != nil {
		return err
	}
	defer o.close()
	defer o.silence()
	if err := o.setting(); err != nil {
		return err
	}
	if err := o.serve(); err != nil {
		return err
	}
	if err := o.read(); err != nil {
		return err
	}
	o.tallied.configurations++
	for n := range *oraclePackets {
		if err := o.packet(o.newPacket(uint16(n))); err != nil {
			return fmt.Errorf("%w\n%s", err, strings.Join(o.said, "\n"))
		}
	}
	return nil
}

// read reads the state as doctor does, when the kernel knows which devices have no carrier.
func (o *oracle) read() error {
	var stat syscall.Stat_t
	if err := syscall.Stat("/proc/thread-self/ns/net", &stat); err != nil {
		return err
	}
	ns, err := Netns(uint32(stat.Ino))
	if err != nil {
		return err
	}
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(100 * time.Millisecond) {
		o.s = &host.Snapshot{Sysctls: map[string]string{}}
		options := Options{VIPs: []netip.Addr{netip.MustParseAddr(vip)}}
		if err := ns.on(func() error { return read(context.Background(), o.s, ns, options, ofRouting()) }); err != nil {
			return err
		}
		if !o.settled(o.s) {
			continue
		}
		if len(o.s.Unread) > 0 {
			return fmt.Errorf("not everything was read: %v", o.s.Unread)
		}
		for i, sock := range o.s.Sockets { // without inet_diag they say themselves where they are bound, as diagnose has it
			if sock.Told != 0 {
				o.s.Sockets[i].Device = sock.Told
			}
		}
		o.s.Index()
		for _, l := range o.s.Links {
			o.names[l.Index] = l.Name
		}
		return nil
	}
	return errors.New("the carriers are not as they were set")
}

// ofRouting are the parts that doctor asks of routing, as Snapshot reads them: no program is run for any of them.
func ofRouting() []part {
	of := []host.Part{host.PartSockets, host.PartLinks, host.PartAddrs, host.PartRoutes, host.PartRules, host.PartSysctls, host.PartXFRM}
	return slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return !slices.Contains(of, p.name) })
}

// devices finds out which kinds of devices this kernel makes, and which are in every namespace.
func (s *tallied) devices() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- errors.Join(unix.Unshare(unix.CLONE_NEWNET), feed("link set lo up\n", "ip", "-batch", "-"))
		for kind, words := range map[string]string{"dummy": "link add x type dummy", "vrf": "link add x type vrf table 9", "ipip": "link add x type ipip remote 10.0.0.1"} {
			s.kinds[kind] = exec.Command("ip", strings.Fields(words)...).Run() == nil
			_ = exec.Command("ip", "link", "del", "x").Run()
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		return err
	}
	return <-done
}
