package fault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ipiptrace/internal/lab"
)

// The messages and attributes of linux/netfilter/nfnetlink_queue.h, and the verdicts of linux/netfilter.h.
const (
	nfnlSubsysQueue           = 3
	nfqnlVerdict, nfqnlConfig = 1, 2

	nfqaPacketHeader, nfqaVerdictHeader    = 1, 2
	nfqnlBind, nfqnlCopyMeta, nfqaFailOpen = 1, 1, 1
	nfDrop, nfAccept                       = 0, 1

	nfqaConfigCommand, nfqaConfigParams, nfqaConfigLength, nfqaConfigMask, nfqaConfigFlags = 1, 2, 3, 4, 5
)

// queueNumber is the queue that the lab's programs read, discard a port that nobody is concerned with.
const queueNumber, discard = 7, 9

// toQueue is a rule that hands the decapsulated packet to them.
func toQueue() lab.Step {
	return nftIn(lab.RealServer, "ip", fmt.Sprintf(`
			chain input {
				type filter hook input priority filter; policy accept;
				ip daddr %s queue num %d
			}`, lab.VIP, queueNumber))
}

// stuck has a program read the queue that never decides: there is room for one packet, and one is there. The flags are
// those of the queue.
func stuck(flags uint32) lab.Step {
	word := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	return reads("is stuck", func(s *nl.NetlinkSocket) error {
		err := errors.Join(
			s.Send(queueRequest(nfqnlConfig, nl.NewRtAttr(nfqaConfigLength, word(1)))),
			s.Send(queueRequest(nfqnlConfig, nl.NewRtAttr(nfqaConfigMask, word(nfqaFailOpen)), nl.NewRtAttr(nfqaConfigFlags, word(flags)))))
		if err != nil {
			return err
		}
		c, err := net.Dial("udp4", netip.AddrPortFrom(lab.VIP, discard).String())
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("first"))
		return errors.Join(err, c.Close())
	})
}

// decides has a program read the queue, and give the same verdict on whatever comes.
func decides(verdict uint32) lab.Step {
	return reads(map[uint32]string{nfDrop: "drops", nfAccept: "accepts"}[verdict]+" all", func(s *nl.NetlinkSocket) error {
		go decideAll(s, verdict)
		return nil
	})
}

// reads has a program read the queue, until the service starts anew.
func reads(what string, then func(*nl.NetlinkSocket) error) lab.Step {
	return lab.Step{
		What: fmt.Sprintf("real-server: a program reads queue %d, and %s", queueNumber, what),
		Do: func(_ context.Context, l *lab.Lab) error {
			if err := l.Service.Restart(); err != nil {
				return err
			}
			return l.RealServer.Do(func() error {
				s, err := bindQueue()
				if err != nil {
					return err
				}
				l.Service.Hold(closer(s.Close))
				return then(s)
			})
		},
	}
}

// closer ends something.
type closer func()

// Close ends it.
func (c closer) Close() error {
	c()
	return nil
}

// bindQueue reads the queue of this thread's namespace.
func bindQueue() (*nl.NetlinkSocket, error) {
	s, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	copies := binary.BigEndian.AppendUint32(nil, 0)
	for _, attribute := range []*nl.RtAttr{
		nl.NewRtAttr(nfqaConfigCommand, []byte{nfqnlBind, 0, 0, unix.AF_INET}),
		nl.NewRtAttr(nfqaConfigParams, append(copies, nfqnlCopyMeta)),
	} {
		if err := s.Send(queueRequest(nfqnlConfig, attribute)); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// queueRequest is a message about the queue.
func queueRequest(message int, attributes ...*nl.RtAttr) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(nfnlSubsysQueue<<8|message, 0)
	number := binary.BigEndian.AppendUint16(nil, queueNumber)
	request.AddData(&nl.Nfgenmsg{ResId: binary.NativeEndian.Uint16(number)})
	for _, a := range attributes {
		request.AddData(a)
	}
	return request
}

// decideAll answers every packet until the socket is closed.
func decideAll(s *nl.NetlinkSocket, verdict uint32) {
	for {
		messages, _, err := s.Receive()
		if err != nil {
			return
		}
		for _, m := range messages {
			if len(m.Data) < nl.SizeofNfgenmsg {
				continue
			}
			attributes, _ := nl.ParseRouteAttr(m.Data[nl.SizeofNfgenmsg:])
			for _, a := range attributes {
				if a.Attr.Type != nfqaPacketHeader || len(a.Value) < 4 {
					continue
				}
				decision := append(binary.BigEndian.AppendUint32(nil, verdict), a.Value[:4]...) // and the packet's number
				if s.Send(queueRequest(nfqnlVerdict, nl.NewRtAttr(nfqaVerdictHeader, decision))) != nil {
					return
				}
			}
		}
	}
}
