package vm

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// keyring signs every suite of Debian; package debian-archive-keyring.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// archive is an apt of our own: this machine's mirror and keyring, another suite,
// and nothing of this machine's apt is changed. apt verifies what it downloads.
type archive struct {
	dir, root string // debs arrive in dir, root is what they hold
	options   []string
}

func newArchive(ctx context.Context, suite, arch, dir string) (archive, error) {
	site, err := mirror(ctx, strings.HasSuffix(suite, "-security"))
	if err != nil {
		return archive{}, err
	}
	a := archive{dir: dir, root: filepath.Join(dir, "root")}
	for _, d := range []string{a.root, filepath.Join(dir, "state/lists/partial"), filepath.Join(dir, "cache/archives/partial")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return archive{}, err
		}
	}
	list := filepath.Join(dir, "sources.list")
	line := fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s main\n", arch, keyring, site, suite)
	if err := os.WriteFile(list, []byte(line), 0o644); err != nil {
		return archive{}, err
	}
	a.options = []string{
		"-o", "Dir::Etc::SourceList=" + list,
		"-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::Etc::Preferences=/dev/null",
		"-o", "Dir::Etc::PreferencesParts=/dev/null",
		"-o", "Dir::State=" + filepath.Join(dir, "state"),
		"-o", "Dir::State::status=/dev/null",
		"-o", "Dir::Cache=" + filepath.Join(dir, "cache"),
		"-o", "Acquire::Languages=none",
		"-o", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"-o", "APT::Sandbox::User=root", // apt's own user can't read a home directory
		"-q",
	}
	return a, nil
}

func (a archive) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return output(ctx, a.dir, name, append(a.options[:len(a.options):len(a.options)], args...)...)
}

// kernelPackages follows the metapackage to the packages of the newest kernel:
// one, or more where modules are a package of their own.
func (a archive) kernelPackages(ctx context.Context, meta string) ([]string, error) {
	packages := []string{meta}
	for i := 0; i < len(packages); i++ {
		out, err := a.run(ctx, "apt-cache", "depends", "--important", packages[i])
		if err != nil {
			return nil, err
		}
		for _, name := range kernelDepends(out) {
			if !slices.Contains(packages, name) {
				packages = append(packages, name)
			}
		}
	}
	if len(packages) == 1 {
		return nil, fmt.Errorf("%s depends on no kernel", meta)
	}
	return packages[1:], nil
}

// kernelParts are how the names of packages begin that a kernel is made of: one
// up to 6.x; the boot image, the modules and their index apart from 7.x on.
var kernelParts = []string{"linux-image-", "linux-binary-", "linux-modules-", "linux-base-"}

// kernelDepends picks what makes a kernel out of "apt-cache depends".
func kernelDepends(depends []byte) []string {
	var names []string
	lines := bufio.NewScanner(bytes.NewReader(depends))
	for lines.Scan() {
		name, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "Depends: ")
		isPart := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if ok && slices.ContainsFunc(kernelParts, isPart) {
			names = append(names, name)
		}
	}
	return names
}

// unpack lays the downloaded packages out and makes the module index, which
// Debian's packages leave to their installation.
func (a archive) unpack(ctx context.Context) error {
	debs, err := filepath.Glob(filepath.Join(a.dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if _, err := output(ctx, a.dir, "dpkg-deb", "-x", deb, a.root); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(a.root, "lib")); errors.Is(err, os.ErrNotExist) {
		if err := os.Symlink("usr/lib", filepath.Join(a.root, "lib")); err != nil {
			return err
		}
	}
	image, err := unpacked(a.root)
	if err != nil {
		return err
	}
	// Newer kernels compress each module, and busybox's modprobe can't read that.
	if _, err := output(ctx, image.Modules, "find", ".", "-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"); err != nil {
		return err
	}
	_, err = output(ctx, a.dir, "depmod", "-b", a.root, image.Release)
	return err
}

// mirror asks this machine's apt where it gets Debian, or Debian's security
// updates, from.
func mirror(ctx context.Context, security bool) (string, error) {
	const format = "$(SITE) $(RELEASE) $(LABEL)"
	for _, option := range []string{"--release-info", "--no-release-info"} { // the latter works before any "apt-get update"
		out, err := output(ctx, "", "apt-get", "indextargets", option, "--format", format, "Created-By: Packages")
		if err != nil {
			return "", err
		}
		if site := chooseMirror(string(out), security); site != "" {
			return site, nil
		}
	}
	return "", errors.New("this machine's apt has no Debian archive (apt-get indextargets)")
}

// chooseMirror reads lines of site, release and label. The label is known only
// after an "apt-get update"; before that the site's last folder has to do.
func chooseMirror(targets string, security bool) (site string) {
	var main string
	for line := range strings.Lines(targets) {
		field := strings.Fields(line)
		if len(field) < 3 {
			continue
		}
		site, label := strings.TrimSuffix(field[0], "/"), field[2]
		isSecurity := label == "Debian-Security" || strings.HasSuffix(site, "/debian-security")
		isMain := !isSecurity && (label == "Debian" || strings.HasSuffix(site, "/debian"))
		if security && isSecurity {
			return site
		}
		if isMain && main == "" {
			main = site
		}
	}
	if security && main != "" {
		return main + "-security"
	}
	return main
}

// output runs a command and returns its stdout; what it said on stderr becomes
// part of the error.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
