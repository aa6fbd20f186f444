package read

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// xfrm reads the policies if somebody has made any by netlink: else the kernel would load a module for us.
func (r *reader) xfrm() error {
	if there, err := r.modules.has("xfrm_user"); !there {
		return err
	}
	all, err := netlink.XfrmPolicyList(unix.AF_INET)
	for _, p := range all {
		action := "allow"
		if p.Action != netlink.XFRM_POLICY_ALLOW {
			action = "block"
		}
		r.s.XFRM = append(r.s.XFRM, host.Policy{
			Dir: strings.TrimPrefix(p.Dir.String(), "dir "), Action: action, Src: anyPrefix(prefix(p.Src)), Dst: anyPrefix(prefix(p.Dst)), Proto: uint8(p.Proto),
			Sport: uint16(p.SrcPort), Dport: uint16(p.DstPort), Priority: uint32(p.Priority), Index: uint32(p.Index), Templates: len(p.Tmpls),
			Optional: len(p.Tmpls) > 0 && !slices.ContainsFunc(p.Tmpls, func(t netlink.XfrmPolicyTmpl) bool { return t.Optional == 0 }), Beyond: beyond(p),
		})
	}
	return err
}

// beyond names the parts of a policy's selector that are no addresses, protocols or ports.
func beyond(p netlink.XfrmPolicy) string {
	var words []string
	if p.Mark != nil && (p.Mark.Value != 0 || p.Mark.Mask != 0) {
		words = append(words, fmt.Sprintf("mark %d", p.Mark.Value))
	}
	if p.Ifid != 0 {
		words = append(words, fmt.Sprintf("if_id %d", p.Ifid))
	}
	if p.Ifindex != 0 {
		words = append(words, fmt.Sprintf("dev %d", p.Ifindex))
	}
	return strings.Join(words, ", ")
}

func anyPrefix(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return p
}

// filters reads queueing disciplines and tc's filters.
func (r *reader) filters() error {
	qdiscs, err := r.rt.QdiscList(nil)
	errs := []error{err}
	for _, q := range qdiscs {
		a := q.Attrs()
		to := host.Qdisc{Link: uint32(a.LinkIndex), Kind: q.Type(), Handle: handle(a.Handle), Parent: parentOf(a.Parent)}
		if st := a.Statistics; st != nil && st.Queue != nil {
			to.Dropped, to.Backlog = uint64(st.Queue.Drops), st.Queue.Backlog
		}
		switch q := q.(type) {
		case *netlink.Netem:
			to.Loss, to.Limit = float64(q.Loss)*100/(1<<32-1), q.Limit
		case *netlink.Tbf:
			to.Limit = q.Limit
		}
		r.s.Qdiscs = append(r.s.Qdiscs, to)
		switch {
		case q.Type() == "clsact" || q.Type() == "ingress":
			errs = append(errs, r.filtersOf(a.LinkIndex, map[string]uint32{"ingress": netlink.HANDLE_MIN_INGRESS, "egress": netlink.HANDLE_MIN_EGRESS}))
		case slices.Contains(classful, q.Type()) && a.Handle != 0:
			errs = append(errs, r.filtersOf(a.LinkIndex, map[string]uint32{handle(a.Handle): a.Handle}))
		}
	}
	return errors.Join(append(errs, r.limits())...)
}

func handle(h uint32) string {
	if h&0xffff == 0 {
		return fmt.Sprintf("%x:", h>>16)
	}
	return fmt.Sprintf("%x:%x", h>>16, h&0xffff)
}

func parentOf(p uint32) string {
	switch p {
	case netlink.HANDLE_ROOT:
		return "root"
	case netlink.HANDLE_INGRESS:
		return "ingress"
	}
	return handle(p)
}

// classful are the queueing disciplines that ask filters for a packet's class.
var classful = []string{"prio", "htb", "hfsc", "drr", "qfq", "ets", "multiq", "cbq", "dsmark", "atm", "sfb", "sfq", "fq_codel", "cake"}

// filtersOf reads the filters at the sides of a device, or at its queueing disciplines.
func (r *reader) filtersOf(index int, sides map[string]uint32) error {
	link, err := r.rt.LinkByIndex(index)
	if err != nil {
		return err
	}
	var errs []error
	for side, parent := range sides {
		all, err := r.rt.FilterList(link, parent)
		errs = append(errs, err)
		for _, f := range all {
			if t, ok := filterOf(f); ok {
				t.Link, t.Side = uint32(index), side
				r.s.Filters = append(r.s.Filters, t)
			}
		}
	}
	return errors.Join(errs...)
}

// verdicts are TC_ACT_* (linux/pkt_cls.h).
var verdicts = map[netlink.TcAct]string{0: "ok", 1: "reclassify", 2: "drop", 3: "pipe", 4: "drop", 5: "drop", 7: "redirect"}

// magicBlock is TCM_IFINDEX_MAGIC_BLOCK: the filter's parent is the number of a block (tcf_fill_node).
const magicBlock = -1

// filterOf reads a filter; ok is false for the head of a list, which the kernel shows like one.
func filterOf(f netlink.Filter) (to host.Filter, ok bool) {
	a := f.Attrs()
	to = host.Filter{Kind: f.Type(), Pref: a.Priority, Protocol: a.Protocol, Handle: fmt.Sprintf("%#x", a.Handle)}
	if a.Chain != nil {
		to.Chain = *a.Chain
	}
	if a.LinkIndex == magicBlock {
		to.Block = a.Parent
	}
	var actions []netlink.Action
	switch f := f.(type) {
	case *netlink.U32:
		if actions = f.Actions; f.Police != nil { // as kernels before 2.6.9 have it, and tc still writes it
			actions = append(actions, f.Police)
		}
		if len(actions) == 0 {
			return to, false
		}
	case *netlink.Flower:
		actions = f.Actions
	case *netlink.MatchAll:
		actions = f.Actions
	case *netlink.BpfFilter:
		to.Program, to.ProgramID = f.Name, uint32(f.Id)
	}
	for _, action := range actions {
		to.Actions = append(to.Actions, action.Type()+" "+wordOf(action))
		if m, ok := action.(*netlink.MirredAction); ok && wordOf(m) == "redirect" {
			to.Target = uint32(m.Ifindex)
		}
		if st := action.Attrs().Statistics; st != nil && st.Queue != nil {
			to.Dropped += uint64(st.Queue.Drops)
		}
	}
	return to, a.Handle != 0
}

// wordOf says what an action does with a packet. What is redirected ends here as if it were dropped (TC_ACT_STOLEN), and goes
// on at another device.
func wordOf(action netlink.Action) string {
	if m, ok := action.(*netlink.MirredAction); ok && m.Attrs().Action == netlink.TC_ACT_STOLEN {
		return "redirect"
	}
	return verdicts[verdictOf(action)]
}

// verdictOf is what an action does with a packet, a policer with one that is too much.
func verdictOf(action netlink.Action) netlink.TcAct {
	if police, ok := action.(*netlink.PoliceAction); ok {
		return netlink.TcAct(police.ExceedAction)
	}
	return action.Attrs().Action
}

const cgroupRoot = "/sys/fs/cgroup"

// attachments are the attach types of bpf(2) that may refuse a packet, with their names: of those that change addresses the
// one that is asked before a socket of UDP sends (udp_sendmsg).
var attachments = map[uint32]string{0: "ingress", 1: "egress", 14: "sendmsg4"}

// maxCgroups bounds the cgroups that are asked about.
const maxCgroups = 256

// cgroups asks for the programs at the cgroups of the service's processes, and of those above them.
func (r *reader) cgroups() error {
	if _, err := os.Stat(r.files.path(cgroupRoot, "cgroup.controllers")); err != nil {
		return r.files.elsewhere()
	}
	var (
		links []linkInfo
		errs  []error
	)
	paths := r.cgroupPaths()
	if len(paths) == maxCgroups {
		errs = append(errs, fmt.Errorf("no more than %d cgroups are asked", maxCgroups))
	}
	for _, path := range paths {
		for number, name := range attachments {
			ids, err := r.files.attachedAt(path, number)
			errs = append(errs, err)
			if len(ids) > 0 && links == nil {
				links, err = r.bpfLinks()
				errs = append(errs, err)
			}
			for _, id := range ids {
				r.s.Cgroups = append(r.s.Cgroups, host.CgroupBPF{Path: path, Attach: name, ID: id, Link: r.files.linkAt(links, path, number, id)})
			}
		}
	}
	return errors.Join(errs...)
}

// elsewhere says so if cgroup v2 is in use, and not where it is looked for. A process is in a cgroup "0::…" from when it was
// mounted first (cgrp_dfl_visible).
func (files root) elsewhere() error {
	text, err := os.ReadFile(files.path("/proc/self/cgroup"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without cgroups
		return err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "0::") {
			return errors.New("cgroup v2 is not mounted at " + cgroupRoot)
		}
	}
	return nil
}

// cgroupPaths are those of the sockets' owners, and of all above them.
func (r *reader) cgroupPaths() []string {
	paths := []string{"/"}
	for _, s := range r.s.Sockets {
		for _, o := range s.Owners {
			text, _ := os.ReadFile(r.files.path(fmt.Sprintf("/proc/%d/cgroup", o.PID)))
			for line := range strings.Lines(string(text)) {
				path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
				for ; ok && path != "/" && path != "." && len(paths) < maxCgroups; path = filepath.Dir(path) {
					if !slices.Contains(paths, path) {
						paths = append(paths, path)
					}
				}
			}
		}
	}
	return paths
}

// linkAt is the link by which a program is at a cgroup, 0 if it was attached without one.
func (files root) linkAt(links []linkInfo, path string, attachType, program uint32) uint32 {
	var dir unix.Stat_t
	if unix.Stat(files.path(cgroupRoot, path), &dir) != nil {
		return 0
	}
	for _, l := range links {
		if inode, at := l.atCgroup(); l.kind == linkTypeCgroup && inode == dir.Ino && at == attachType && l.program == program {
			return l.id
		}
	}
	return 0
}

// query is bpf_attr.query (linux/bpf.h).
type query struct {
	target, attachType, flags, attachFlags uint32
	ids                                    uint64
	count, _                               uint32
	_                                      [3]uint64
}

// attachedAt are the ids of the programs at a cgroup itself.
func (files root) attachedAt(path string, attachType uint32) ([]uint32, error) {
	fd, err := unix.Open(files.path(cgroupRoot, path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // it has gone
	}
	if err != nil {
		return nil, fmt.Errorf("programs of cgroup %s: %w", path, err)
	}
	defer unix.Close(fd)
	ids := make([]uint32, 64)
	q := query{target: uint32(fd), attachType: attachType, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids))}
	const progQuery = 16
	_, _, errno := unix.Syscall(unix.SYS_BPF, progQuery, uintptr(unsafe.Pointer(&q)), unsafe.Sizeof(q))
	if errno != 0 {
		return nil, fmt.Errorf("programs of cgroup %s: %w", path, errno)
	}
	return ids[:min(int(q.count), len(ids))], nil
}
