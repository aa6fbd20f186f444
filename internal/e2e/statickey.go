package main

import (
	"bufio"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// staticKeys are the kernel's static keys that are on, a line each: what turns one on makes code run for every packet
// of the machine. They are found by the kernel's own table of jumps (include/linux/jump_label.h), in its memory.
func staticKeys() (string, error) {
	symbols, err := kernelSymbols()
	if err != nil {
		return "", err
	}
	memory, err := openMemory()
	if err != nil {
		return "", err
	}
	defer memory.Close()
	first, last := symbols.at["__start___jump_table"], symbols.at["__stop___jump_table"]
	if first == 0 || last <= first {
		return "", errors.New("no table of jumps in /proc/kallsyms")
	}
	const entry = 16 // code, target: 32 bits, relative; key: 64 bits, relative, flags in the lowest two
	table := make([]byte, last-first)
	if err := memory.read(table, first); err != nil {
		return "", err
	}
	keys := map[uint64]bool{}
	for at := uint64(0); at+entry <= uint64(len(table)); at += entry {
		keys[(first+at+8+binary.LittleEndian.Uint64(table[at+8:]))&^3] = true
	}
	if trace := symbols.at["nft_trace_enabled"]; trace != 0 {
		keys[trace] = true // a module's
	}
	var on strings.Builder
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		enabled := make([]byte, 4)
		if err := memory.read(enabled, key); err != nil {
			return "", err
		}
		name, n := symbols.name(key), int32(binary.LittleEndian.Uint32(enabled))
		if n != 0 && !strings.HasPrefix(name, "___once_key") { // DO_ONCE: off when somebody has been there
			fmt.Fprintf(&on, "%s %d\n", name, n)
		}
	}
	if on.Len() == 0 {
		return "", errors.New("no static key is on: that is no table of jumps")
	}
	return on.String(), nil
}

// symbols are the kernel's.
type symbols struct {
	at     map[string]uint64
	names  map[uint64]string
	sorted []uint64
}

func kernelSymbols() (symbols, error) {
	file, err := os.Open("/proc/kallsyms")
	if err != nil {
		return symbols{}, err
	}
	defer file.Close()
	s := symbols{at: map[string]uint64{}, names: map[uint64]string{}}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if address, err := strconv.ParseUint(words[0], 16, 64); err == nil && len(words) > 2 {
			s.at[words[2]], s.names[address] = address, words[2]
		}
	}
	s.sorted = slices.Sorted(maps.Keys(s.names))
	return s, lines.Err()
}

// name is that of the symbol in which an address is.
func (s symbols) name(address uint64) string {
	i, exact := slices.BinarySearch(s.sorted, address)
	switch {
	case exact:
		return s.names[address]
	case i == 0:
		return fmt.Sprintf("%x", address)
	}
	return fmt.Sprintf("%s+%#x", s.names[s.sorted[i-1]], address-s.sorted[i-1])
}

// memory is the kernel's, by its addresses.
type memory struct {
	*os.File
	segments []elf.ProgHeader
}

func openMemory() (memory, error) {
	file, err := os.Open("/proc/kcore")
	if err != nil {
		return memory{}, err
	}
	core, err := elf.NewFile(file)
	if err != nil {
		file.Close()
		return memory{}, err
	}
	m := memory{File: file}
	for _, p := range core.Progs {
		m.segments = append(m.segments, p.ProgHeader)
	}
	return m, nil
}

func (m memory) read(to []byte, address uint64) error {
	for _, s := range m.segments {
		if s.Type == elf.PT_LOAD && s.Vaddr <= address && address+uint64(len(to)) <= s.Vaddr+s.Memsz {
			_, err := m.ReadAt(to, int64(s.Off+address-s.Vaddr))
			return err
		}
	}
	return fmt.Errorf("no memory at %x in /proc/kcore", address)
}
