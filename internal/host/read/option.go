package read

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"ipiptrace/internal/host"
)

// askOptions asks a process's socket for options that neither inet_diag nor /proc show. It borrows the socket
// for that (pidfd_getfd, Linux 5.6); where that is not permitted they stay unknown.
func askOptions(s *host.Socket, pid, fd int) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(process)
	borrowed, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return
	}
	defer unix.Close(borrowed)
	if s.Proto == "tcp" {
		s.Segments = segmentsOf(borrowed)
	}
	if s.Remote.IsValid() {
		return
	}
	if ttl, err := unix.GetsockoptInt(borrowed, unix.SOL_IP, unix.IP_MINTTL); err == nil {
		s.MinTTL = uint8(ttl)
	}
	if only, err := unix.GetsockoptInt(borrowed, unix.SOL_IPV6, unix.IPV6_V6ONLY); err == nil && s.V6 {
		s.V6Only = only != 0
	}
	mark, err1 := unix.GetsockoptInt(borrowed, unix.SOL_SOCKET, unix.SO_MARK)
	tos, err2 := unix.GetsockoptInt(borrowed, unix.SOL_IP, unix.IP_TOS)
	transparent, err3 := unix.GetsockoptInt(borrowed, unix.SOL_IP, unix.IP_TRANSPARENT)
	if errors.Join(err1, err2, err3) == nil {
		s.Mark, s.TOS, s.Transparent, s.Untold = uint32(mark), uint8(tos), transparent != 0, false
	}
	if device, err := unix.GetsockoptInt(borrowed, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err == nil {
		s.Unbound, s.Told = device == 0, uint32(device)
	}
	s.Filter = hasFilter(borrowed)
}

// tcpListen is TCP_LISTEN. assumedMSS is TCP_MSS_DEFAULT: what a kernel before 6.3 says of a listener whatever it was told, and
// the most that any takes for the length of its peer's segments before it has seen some (tcp_initialize_rcv_mss). A connection
// with the option for timestamps (TCPI_OPT_TIMESTAMPS) takes its length from the MSS that it has announced (tcp_rcv_state_process).
const (
	tcpListen      = 10
	assumedMSS     = 536
	withTimestamps = 1
	timestamps     = 12
)

// segmentsOf asks a TCP socket how long its segments are.
func segmentsOf(socket int) (s host.Segments) {
	info, err := unix.GetsockoptTCPInfo(socket, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return s
	}
	if info.State != tcpListen {
		s = host.Segments{Announced: info.Advmss, Sent: info.Snd_mss, Received: info.Rcv_mss, MTU: info.Pmtu}
		if info.Options&withTimestamps != 0 {
			s.Announced += timestamps
		}
		if s.Received <= assumedMSS {
			s.Received = 0
		}
		return s
	}
	if most, err := unix.GetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_MAXSEG); err == nil && most != assumedMSS {
		s.Announced = uint32(most)
	}
	return s
}

// hasFilter asks for the length of the socket's filter (SO_GET_FILTER). One that is no classic BPF can't be
// copied, which the kernel says (EACCES in sk_get_filter).
func hasFilter(socket int) bool {
	const soGetFilter = unix.SO_ATTACH_FILTER
	var instructions uint32
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(socket), unix.SOL_SOCKET, soGetFilter, 0, uintptr(unsafe.Pointer(&instructions)), 0)
	return errors.Is(errno, unix.EACCES) || errno == 0 && instructions > 0
}
