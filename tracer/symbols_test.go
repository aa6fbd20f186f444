package tracer

import (
	"os"
	"path/filepath"
	"testing"
)

const compiled = `ffffffff81000000 T _stext
ffffffff81000010 t ip_rcv_core.part.0
ffffffff81000020 t ip_rcv_core.isra.0
ffffffff81000030 t ip_rcv_core.constprop.0.cold
ffffffff81000040 t ip_rcv_finish_core.constprop.0
ffffffff81000050 t ip_error.part.0
ffffffff81000060 T ip_forward
ffffffff81000070 t ip_forward_options.isra.0
ffffffff81000080 t ip_defrag.isra.0.constprop.0.part.0
ffffffff81000090 t ip_defrag.isra.0.constprop.0.cold
ffffffff810000a0 t ip_defrag.isra.0.constprop.0
ffffffff810000b0 t nf_hook_slow.cold
ffffffff810000c0 t tunnel4_rcv.constprop.12	[tunnel4]
ffffffff81001000 T _etext
`

func compiledSymbols(t *testing.T) *symbols {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kallsyms"), []byte(compiled), 0o644); err != nil {
		t.Fatal(err)
	}
	return &symbols{proc: dir}
}

func TestAFunctionIsFoundUnderTheNameThatTheCompilerLeftIt(t *testing.T) {
	s := compiledSymbols(t)
	for name, want := range map[string]string{
		"ip_rcv_core":        "ip_rcv_core.isra.0",
		"ip_rcv_finish_core": "ip_rcv_finish_core.constprop.0",
		"ip_defrag":          "ip_defrag.isra.0.constprop.0", // taken apart twice
		"tunnel4_rcv":        "tunnel4_rcv.constprop.12",     // in a module
		"ip_error":           "",                             // a piece is not the function
		"nf_hook_slow":       "",
		"ip_forward":         "", // not another one with a longer name
		"tcp_v4_rcv":         "",
	} {
		if got := s.variant(name); got != want {
			t.Errorf("%s is kept as %q, want %q", name, got, want)
		}
	}
}

func TestAnAddressIsOfTheFunctionBeforeIt(t *testing.T) {
	s := compiledSymbols(t)
	for addr, want := range map[uint64]string{
		0xffffffff81000044: "ip_rcv_finish_core.constprop.0+0x4",
		0xffffffff81000050: "ip_rcv_finish_core.constprop.0+0x10", // a return address behind the last instruction
		0xffffffff82000000: "0xffffffff82000000",
	} {
		if got := s.symbol(addr); got != want {
			t.Errorf("%#x is %s, want %s", addr, got, want)
		}
	}
}
