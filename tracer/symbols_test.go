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

// TestHiddenSymbolsAreReadOnce looks at what kallsyms says with kernel.kptr_restrict=2, and shows the symbols afterwards:
// who sees them now has read again.
func TestHiddenSymbolsAreReadOnce(t *testing.T) {
	write := func(t *testing.T, s *symbols, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.proc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const hidden = "0000000000000000 T _stext\n0000000000000000 T ip_forward\n0000000000000000 T _etext\n"
	t.Run("from the beginning", func(t *testing.T) {
		s := &symbols{proc: t.TempDir()}
		write(t, s, "kallsyms", hidden)
		if got := s.symbol(0xffffffff81000064); got != "0xffffffff81000064" {
			t.Errorf("a hidden symbol is %s", got)
		}
		write(t, s, "kallsyms", compiled)
		if got := s.symbol(0xffffffff81000064); got != "0xffffffff81000064" || s.variant("ip_defrag") != "" {
			t.Errorf("they were read again: %s", got)
		}
	})
	t.Run("no kallsyms at all", func(t *testing.T) {
		s := &symbols{proc: t.TempDir()}
		if s.load() == nil {
			t.Error("no error")
		}
		write(t, s, "kallsyms", compiled)
		if s.load() == nil {
			t.Error("they were looked for again")
		}
	})
	t.Run("under way", func(t *testing.T) {
		s := compiledSymbols(t)
		write(t, s, "modules", "ipip 4096 0 - Live 0xffffffffc0a00000\n")
		if got := s.symbol(0xffffffff81000064); got != "ip_forward+0x4" {
			t.Fatalf("a symbol is %s", got)
		}
		write(t, s, "modules", "ipip 4096 0 - Live 0x0000000000000000\n")
		write(t, s, "kallsyms", hidden)
		if got := s.symbol(0xffffffffc0b00004); got != "0xffffffffc0b00004" {
			t.Errorf("an unknown symbol is %s", got)
		}
		write(t, s, "kallsyms", compiled+"ffffffffc0b00000 t late\t[ipip]\n")
		write(t, s, "modules", "ipip 4096 0 - Live 0xffffffffc0b00000\n")
		if got := s.symbol(0xffffffffc0b00004); got != "0xffffffffc0b00004" {
			t.Errorf("they were read again: %s", got)
		}
		if got := s.symbol(0xffffffff81000064); got != "ip_forward+0x4" {
			t.Errorf("what was known is forgotten: %s", got)
		}
	})
}

// TestAnAddressOfNobodyIsLookedForOnce: the tracing's own frames are on every stack, and each look reads /proc/modules.
func TestAnAddressOfNobodyIsLookedForOnce(t *testing.T) {
	const own, late = 0xffffffffc0b00004, 0xffffffffc0c00004
	s := compiledSymbols(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.proc, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.symbol(own); got != "0xffffffffc0b00004" {
		t.Fatalf("an address of nobody is %s", got)
	}
	write("kallsyms", compiled+"ffffffffc0b00000 t came\t[ipip]\nffffffffc0c00000 t later\t[ipip]\n")
	write("modules", "ipip 2097152 0 - Live 0xffffffffc0b00000\n")
	if got := s.symbol(own); got != "0xffffffffc0b00004" {
		t.Errorf("it was looked for again: %s", got)
	}
	if got := s.symbol(late); got != "later+0x4" {
		t.Errorf("an address in a module that came is %s", got)
	}
	if got := s.symbol(own); got != "came+0x4" {
		t.Errorf("once modules have come, %s", got)
	}
}

// FuzzSymbols reads any text for the kernel's lists of symbols and modules: every address is found or has no name.
func FuzzSymbols(f *testing.F) {
	f.Add(compiled, "tunnel4 16384 1 ipip, Live 0xffffffff810000c0\n", uint64(0xffffffff81000025))
	f.Fuzz(func(t *testing.T, kallsyms, modules string, addr uint64) {
		dir := t.TempDir()
		for name, text := range map[string]string{"kallsyms": kallsyms, "modules": modules} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		s := &symbols{proc: dir}
		if name, offset := s.function(addr); name == "" && offset != 0 {
			t.Errorf("%#x in nothing", offset)
		}
		s.variant("ip_rcv_core")
		parseUevent([]byte(kallsyms))
	})
}
