package read

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/bpf.h: commands, a kind of link and a place of attachment.
const (
	objGetInfoByFD = 15
	linkGetFDByID  = 30
	linkGetNextID  = 31
	linkTypeNetns  = 5
	skLookup       = 36
)

// linkInfo is struct bpf_link_info of a network namespace's link.
type linkInfo struct {
	kind, id, program, _ uint32
	netns, attachType    uint32
	_                    [10]uint64 // what later kernels say of others
}

// lookups reads the programs that choose the socket for a packet (BPF_SK_LOOKUP, Linux 5.9). They are attached
// by links only.
func (r *reader) lookups() error {
	var here unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &here); err != nil {
		return err
	}
	for id := uint32(0); r.ctx.Err() == nil; {
		next := struct{ start, next, flags uint32 }{start: id}
		if err := bpf(linkGetNextID, unsafe.Pointer(&next), unsafe.Sizeof(next)); err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // no more, or a kernel without links
				return nil
			}
			return fmt.Errorf("list BPF links: %w", err)
		}
		id = next.next
		info, err := bpfLink(id)
		if err != nil {
			continue // it has gone
		}
		if info.kind == linkTypeNetns && info.attachType == skLookup && uint64(info.netns) == here.Ino {
			r.s.Lookups = append(r.s.Lookups, host.Lookup{Link: id, Program: info.program})
		}
	}
	return r.ctx.Err()
}

func bpfLink(id uint32) (*linkInfo, error) {
	by := struct{ id, next, flags uint32 }{id: id}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, linkGetFDByID, uintptr(unsafe.Pointer(&by)), unsafe.Sizeof(by))
	if errno != 0 {
		return nil, errno
	}
	defer unix.Close(int(fd))
	info := new(linkInfo)
	ask := struct {
		fd, length uint32
		info       unsafe.Pointer
	}{uint32(fd), uint32(unsafe.Sizeof(*info)), unsafe.Pointer(info)}
	return info, bpf(objGetInfoByFD, unsafe.Pointer(&ask), unsafe.Sizeof(ask))
}

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size); errno != 0 {
		return errno
	}
	return nil
}
