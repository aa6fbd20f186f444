package tracer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"sync"
)

// symbols finds the function that contains an address. They are read in the background: the first drop
// waits for them, the start does not.
type symbols struct {
	once  sync.Once
	err   error
	addrs []uint64
	// spans are where the name of each address is in names.
	spans []uint32
	names []byte
}

var errNoSymbols = errors.New("no kernel symbols: kernel.kptr_restrict or a missing CAP_SYSLOG hides them")

// usualSymbols is about how many functions a kernel has.
const usualSymbols = 130_000

// suffix is what compilers append to the name of a function that they have taken apart.
var suffix = regexp.MustCompile(`(\.(isra|constprop|part|cold)(\.\d+)?)+$`)

// plainName is the name of the C function that a symbol was made of.
func plainName(symbol string) string { return suffix.ReplaceAllString(symbol, "") }

// load reads /proc/kallsyms, once.
func (s *symbols) load() error {
	s.once.Do(func() {
		f, err := os.Open("/proc/kallsyms")
		if err != nil {
			s.err = fmt.Errorf("read kernel symbols: %w", err)
			return
		}
		defer f.Close()
		s.read(bufio.NewReaderSize(f, 1<<18))
		if len(s.addrs) == 0 {
			s.err = errNoSymbols
		}
	})
	return s.err
}

func (s *symbols) read(r *bufio.Reader) {
	sorted := true
	s.addrs, s.spans, s.names = make([]uint64, 0, usualSymbols), make([]uint32, 0, usualSymbols), make([]byte, 0, 24*usualSymbols)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			break
		}
		addr, name, ok := parseSymbol(line)
		if !ok {
			continue
		}
		sorted = sorted && (len(s.addrs) == 0 || s.addrs[len(s.addrs)-1] <= addr)
		s.addrs, s.spans = append(s.addrs, addr), append(s.spans, uint32(len(s.names)))
		s.names = append(append(s.names, name...), '\n')
	}
	if !sorted { // modules come behind the kernel, wherever they are
		sort.Stable(byAddress{s})
	}
}

// byAddress sorts symbols in place: there are a hundred thousand of them.
type byAddress struct{ *symbols }

func (s byAddress) Len() int           { return len(s.addrs) }
func (s byAddress) Less(i, j int) bool { return s.addrs[i] < s.addrs[j] }
func (s byAddress) Swap(i, j int) {
	s.addrs[i], s.addrs[j] = s.addrs[j], s.addrs[i]
	s.spans[i], s.spans[j] = s.spans[j], s.spans[i]
}

// parseSymbol reads "ffffffff81000000 T name\t[module]" and keeps functions only.
func parseSymbol(line []byte) (addr uint64, name []byte, ok bool) {
	digits, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 3 || (rest[0]|0x20 != 't' && rest[0]|0x20 != 'w') || rest[1] != ' ' {
		return 0, nil, false
	}
	addr, err := strconv.ParseUint(string(digits), 16, 64) // the compiler keeps the string off the heap
	name = rest[2:]
	if end := bytes.IndexAny(name, "\t\n"); end >= 0 {
		name = name[:end]
	}
	return addr, name, err == nil && addr != 0
}

// function is the symbol that contains the instruction before a return address, and the offset of the address in it.
func (s *symbols) function(addr uint64) (name string, offset uint64) {
	if s.load() != nil || len(s.addrs) == 0 || addr == 0 {
		return "", 0
	}
	i, found := slices.BinarySearch(s.addrs, addr-1)
	if !found {
		i--
	}
	if i < 0 {
		return "", 0
	}
	rest := s.names[s.spans[i]:]
	return string(rest[:bytes.IndexByte(rest, '\n')]), addr - s.addrs[i]
}

// symbol is an address as people write it: name+0x1f4, or the number where there is no name.
func (s *symbols) symbol(addr uint64) string {
	name, offset := s.function(addr)
	if name == "" {
		return fmt.Sprintf("%#x", addr)
	}
	return fmt.Sprintf("%s+%#x", name, offset)
}
