package tracer

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ipiptrace/tracer/event"
)

// record is one of struct event with a packet section, as the kernel half writes it.
func record() []byte {
	b := make([]byte, eventSize+packetSize)
	le, be := binary.LittleEndian, binary.BigEndian
	le.PutUint16(b, uint16(len(b)))
	b[2], b[3] = byte(event.NetifReceiveSkb), flagFirst
	le.PutUint64(b[8:], 1000)
	le.PutUint64(b[16:], 0xffff888000000100)
	s := b[eventSize:]
	le.PutUint16(s, sectionPacket)
	le.PutUint16(s[2:], packetSize)
	le.PutUint32(s[4:], packetTunnelled|packetPorts)
	copy(s[8:], "eth0")
	copy(s[24:], []byte{10, 0, 0, 2, 10, 0, 0, 11})
	copy(s[40:], []byte{10, 0, 0, 7, 10, 99, 0, 1})
	s[55] = 6
	be.PutUint16(s[56:], 41522)
	be.PutUint16(s[58:], 80)
	be.PutUint32(s[60:], 1)
	s[68] = byte(event.SYN)
	return b
}

func TestDecodeReadsWhatTheKernelHalfWrote(t *testing.T) {
	d := decoder{symbols: &symbols{proc: "testdata/none"}}
	e, err := d.decode(record())
	if err != nil {
		t.Fatal(err)
	}
	p := e.Packet
	if e.Place != event.NetifReceiveSkb || !e.First || e.Time != 1000 || e.Skb != 0xffff888000000100 {
		t.Errorf("header: %+v", e)
	}
	if p == nil || p.Dev != "eth0" || p.Outer == nil || p.Outer.Dst != netip.MustParseAddr("10.0.0.11") {
		t.Fatalf("outer: %+v", p)
	}
	if p.Inner.Dst != netip.MustParseAddr("10.99.0.1") || p.SrcPort != 41522 || p.DstPort != 80 || p.Seq != 1 || p.TCPFlags.String() != "S" {
		t.Errorf("inner: %+v", p)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(record())
	f.Add(record()[:eventSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		d := decoder{symbols: &symbols{proc: "testdata/none"}}
		e, err := d.decode(b)
		if err == nil && len(b) < eventSize {
			t.Errorf("%d bytes were decoded to %+v", len(b), e)
		}
	})
}

const kallsyms = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t ip_rcv_finish_core.constprop.0
ffffffff81000300 T ip_rcv
ffffffff81000400 d no_function
ffffffff81001000 T _etext
ffffffffc0000000 t tunnel4_rcv	[tunnel4]
`

func TestSymbolsNameTheFunctionOfAReturnAddress(t *testing.T) {
	s := &symbols{proc: t.TempDir()}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(s.proc, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("kallsyms", kallsyms)
	write("modules", "tunnel4 16384 1 ipip, Live 0xffffffffc0000000\n")
	for addr, want := range map[uint64]string{
		0xffffffff81000150: "ip_rcv_finish_core.constprop.0+0x50",
		0xffffffff81000300: "ip_rcv_finish_core.constprop.0+0x200", // a call was the last instruction
		0xffffffff81000301: "ip_rcv+0x1",
		0xffffffffc0000010: "tunnel4_rcv+0x10",
		0xffffffffc0009000: "0xffffffffc0009000", // behind the module
		0xffffffff81001001: "0xffffffff81001001", // behind the kernel
		0x10:               "0x10",
	} {
		if got := s.symbol(addr); got != want {
			t.Errorf("%#x is %s, want %s", addr, got, want)
		}
	}
	write("kallsyms", kallsyms+"ffffffffc0100000 t nft_do_chain\t[nf_tables]\n")
	write("modules", "nf_tables 16384 0 - Live 0xffffffffc0100000\ntunnel4 16384 1 ipip, Live 0xffffffffc0000000\n")
	if got := s.symbol(0xffffffffc0100020); got != "nft_do_chain+0x20" {
		t.Errorf("in a module that came later: %s", got)
	}
	write("kallsyms", kallsyms+"ffffffffc0002000 t sit_rcv\t[sit]\nffffffffc0100000 t nft_do_chain\t[nf_tables]\n")
	write("modules", "sit 4096 0 - Live 0xffffffffc0002000\nnf_tables 16384 0 - Live 0xffffffffc0100000\ntunnel4 16384 1 ipip, Live 0xffffffffc0000000\n")
	s.asked = s.asked.Add(-2 * modulesAge)
	if got := s.symbol(0xffffffffc0002010); got != "sit_rcv+0x10" {
		t.Errorf("in a module that came where another one seemed to be: %s", got)
	}
}

func TestPlainNameIsTheFunctionInC(t *testing.T) {
	for symbol, want := range map[string]string{
		"ip_rcv_finish_core.constprop.0":      "ip_rcv_finish_core",
		"ip_rcv_finish_core.constprop.0.cold": "ip_rcv_finish_core",
		"ip_vs_in.part.0":                     "ip_vs_in",
		"tcp_v4_rcv":                          "tcp_v4_rcv",
		"__netif_receive_skb_core.isra.12":    "__netif_receive_skb_core",
	} {
		if got := plainName(symbol); got != want {
			t.Errorf("%s is %s, want %s", symbol, got, want)
		}
	}
}

func TestStackBeginsWhereThePacketWasFreed(t *testing.T) {
	stack := []string{"bpf_prog_1+0x10", "bpf_trace_run3+0x9", "kfree_skb_reason+0x20", "kfree_skb_list_reason+0x1f", "__dev_queue_xmit+0x30"}
	if got := sinceFree(stack); len(got) != 1 || got[0] != "__dev_queue_xmit+0x30" {
		t.Errorf("stack is %v", got)
	}
}
