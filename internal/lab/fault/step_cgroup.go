package fault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"ipiptrace/internal/lab"
)

// The lab's own cgroup, below the root of cgroup v2.
const (
	cgroupRoot = "/sys/fs/cgroup"
	labCgroup  = cgroupRoot + "/ipiptrace-lab"
)

// Where an IPv4 header has its addresses.
const (
	ipSource, ipDestination = 12, 16
)

// dropWith is a cgroup's program that drops what has the VIP at the offset, and lets everything else pass.
func dropWith(offset int16) asm.Instructions {
	const data, dataEnd, drop, pass = 76, 80, 0, 1 // of struct __sk_buff; the verdicts
	vip := lab.VIP.As4()
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, data, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, dataEnd, asm.Word),
		asm.Mov.Imm(asm.R0, pass),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ipLen),
		asm.JGT.Reg(asm.R4, asm.R3, "end"),
		asm.LoadMem(asm.R5, asm.R2, offset, asm.Word),
		asm.JNE.Imm(asm.R5, int32(binary.NativeEndian.Uint32(vip[:])), "end"),
		asm.Mov.Imm(asm.R0, drop),
		asm.Return().WithSymbol("end"),
	}
}

// inCgroup starts the service anew in a cgroup that has the program. The whole process goes there: a socket
// belongs to the cgroup of whoever opens it, and ipiptrace looks where its owner is.
func inCgroup(attach ebpf.AttachType, offset int16, byLink bool) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("machine: %s, a cgroup with a program (%s) and the service in it", labCgroup, attach),
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := os.Mkdir(labCgroup, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			liftMemlock()
			p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
				Name: "lab_drop", Type: ebpf.CGroupSKB, AttachType: attach, License: "Dual BSD/GPL", Instructions: dropWith(offset),
			})
			if err != nil {
				return err
			}
			defer p.Close()
			held, err := attachTo(labCgroup, p, attach, byLink)
			if err != nil {
				return err
			}
			before, err := ownCgroup()
			if err != nil {
				return errors.Join(err, held.Close())
			}
			l.Remember(labCgroup, before)
			err = errors.Join(enterCgroup(labCgroup), l.Service.Restart())
			l.Service.Hold(held)
			return err
		},
	}
}

// attachTo puts the program in place of the one that is there; byLink as systemd does, and then it is there until
// what is returned is closed.
func attachTo(cgroup string, p *ebpf.Program, attach ebpf.AttachType, byLink bool) (io.Closer, error) {
	if byLink {
		return link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: attach, Program: p})
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		return nil, err
	}
	return dir, link.RawAttachProgram(link.RawAttachProgramOptions{Target: int(dir.Fd()), Program: p, Attach: attach})
}

// noCgroup takes the process back to where it was, and removes the cgroup and its program with it.
func noCgroup() lab.Step {
	return lab.Step{
		What: "machine: remove " + labCgroup,
		Do: func(_ context.Context, l *lab.Lab) error {
			before, ok := l.Recall(labCgroup)
			if !ok {
				return nil
			}
			return errors.Join(enterCgroup(before), l.Service.Restart(), os.Remove(labCgroup))
		},
	}
}

func ownCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return cgroupRoot + path, nil
		}
	}
	return "", errors.Join(errors.New("this process is in no cgroup v2"), err)
}

func enterCgroup(path string) error {
	return os.WriteFile(path+"/cgroup.procs", fmt.Appendf(nil, "%d", os.Getpid()), 0)
}
