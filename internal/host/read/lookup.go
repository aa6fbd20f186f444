package read

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// Of linux/bpf.h: commands, kinds of links and a place of attachment.
const (
	objGetInfoByFD = 15
	linkGetFDByID  = 30
	linkGetNextID  = 31
	linkTypeCgroup = 3
	linkTypeNetns  = 5
	skLookup       = 36
)

// linkInfo is struct bpf_link_info; what body is depends on the kind.
type linkInfo struct {
	kind, id, program, _ uint32
	body                 [11]uint64
}

// atNetns is where a network namespace's link is: the namespace's inode number, and the place.
func (l linkInfo) atNetns() (inode, attachType uint32) {
	return uint32(l.body[0]), uint32(l.body[0] >> 32)
}

// atCgroup is where a cgroup's link is: the cgroup's id, which is its directory's inode number, and the place.
func (l linkInfo) atCgroup() (inode uint64, attachType uint32) { return l.body[0], uint32(l.body[1]) }

// lookups reads the programs that choose the socket for a packet (BPF_SK_LOOKUP, Linux 5.9). They are attached
// by links only.
func (r *reader) lookups() error {
	var here unix.Stat_t
	if err := unix.Stat(r.files.path("/proc/thread-self/ns/net"), &here); err != nil {
		return err
	}
	links, err := r.bpfLinks()
	for _, l := range links {
		if inode, at := l.atNetns(); l.kind == linkTypeNetns && at == skLookup && uint64(inode) == here.Ino {
			r.s.Lookups = append(r.s.Lookups, host.Lookup{Link: l.id, Program: l.program})
		}
	}
	return err
}

// bpfLinks are the machine's BPF links; none on a kernel without.
func (r *reader) bpfLinks() (links []linkInfo, err error) {
	if r.bpf != nil {
		return r.bpf, nil
	}
	for id := uint32(0); r.ctx.Err() == nil; {
		next := struct{ start, next, flags uint32 }{start: id}
		if err := bpf(linkGetNextID, unsafe.Pointer(&next), unsafe.Sizeof(next)); err != nil {
			if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // no more, or a kernel without links
				r.bpf = links
				return links, nil
			}
			return links, fmt.Errorf("list BPF links: %w", err)
		}
		id = next.next
		if info, err := bpfLink(id); err == nil { // else it has gone
			links = append(links, *info)
		}
	}
	return links, r.ctx.Err()
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
