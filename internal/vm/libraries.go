package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// libraries finds what dynamic executables need to start, as ld.so(8) would.
type libraries struct {
	dirs []string // where this machine keeps its libraries
}

// libraryDirs are ld.so's directories: its own and those of /etc/ld.so.conf.
func libraryDirs() []string {
	dirs := []string{}
	confs, _ := filepath.Glob("/etc/ld.so.conf.d/*.conf") // the pattern is well formed
	for _, conf := range confs {
		content, err := os.ReadFile(conf)
		if err != nil {
			continue // not ours to complain about: a library that is missed says so itself
		}
		for line := range strings.Lines(string(content)) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "/") {
				dirs = append(dirs, line)
			}
		}
	}
	return append(dirs, "/lib", "/usr/lib", "/lib64", "/usr/lib64")
}

// closure returns every library that the file needs, directly or not: soname to
// path. The loader is in it under its absolute path. Not an ELF file: nothing.
func (l libraries) closure(path string) (map[string]string, error) {
	found := map[string]string{}
	return found, l.add(found, path)
}

func (l libraries) add(found map[string]string, path string) error {
	file, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) || isShort(path) {
			return nil
		}
		return err
	}
	defer file.Close()
	if loader := interpreter(file); loader != "" {
		found[loader] = loader
	}
	needed, err := file.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, soname := range needed {
		if _, ok := found[soname]; ok {
			continue
		}
		library, err := l.find(soname, path, file)
		if err != nil {
			return err
		}
		found[soname] = library
		if err := l.add(found, library); err != nil {
			return err
		}
	}
	return nil
}

// find looks for a library first where the file that needs it says.
func (l libraries) find(soname, path string, file *elf.File) (string, error) {
	var dirs []string
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		values, _ := file.DynString(tag) // a file without the tag has none
		for _, value := range values {
			value = strings.ReplaceAll(value, "$ORIGIN", filepath.Dir(path))
			dirs = append(dirs, filepath.SplitList(value)...)
		}
	}
	for _, dir := range append(dirs, l.dirs...) {
		candidate := filepath.Join(dir, soname)
		lib, err := elf.Open(candidate)
		if err != nil {
			continue
		}
		fits := lib.Machine == file.Machine && lib.Class == file.Class
		lib.Close()
		if fits {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%s needs %s, which is not here", path, soname)
}

func interpreter(file *elf.File) string {
	section := file.Section(".interp")
	if section == nil {
		return ""
	}
	data, err := section.Data()
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(data), "\x00")
}

// isShort tells files that are too short to be ELF.
func isShort(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() < 64
}
