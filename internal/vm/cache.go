package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Image is a kernel unpacked in the cache.
type Image struct {
	Release string // as uname -r says it
	Vmlinuz string // what qemu boots
	Modules string // the directory with kernel/ and modules.dep
}

// Fetch puts the named kernel into the cache if it isn't there, telling progress
// what it waits for, and returns where it is. Several processes may do so at once.
func Fetch(ctx context.Context, name string, progressTo io.Writer) (Image, error) {
	kernel, err := lookup(name)
	if err != nil {
		return Image{}, err
	}
	return fetch(ctx, kernel, progress{progressTo})
}

func fetch(ctx context.Context, k Kernel, say progress) (Image, error) {
	arch, err := thisMachine()
	if err != nil {
		return Image{}, err
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return Image{}, err
	}
	cache := filepath.Join(base, "ipiptrace", "kernels")
	dir := filepath.Join(cache, k.Name+"-"+arch.debian)
	if image, err := unpacked(dir); err == nil {
		return image, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Image{}, err
	}
	unlock, err := lock(dir+".lock", say)
	if err != nil {
		return Image{}, err
	}
	defer unlock()
	if image, err := unpacked(dir); err == nil {
		return image, nil // someone else was faster
	}
	if err := download(ctx, k, arch, dir, say); err != nil {
		return Image{}, err
	}
	return unpacked(dir)
}

// unpacked finds the kernel in a directory that packages were unpacked into.
func unpacked(dir string) (Image, error) {
	found, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(found) != 1 {
		return Image{}, fmt.Errorf("%s: modules of %d kernels, not of one", dir, len(found))
	}
	image := Image{Release: filepath.Base(found[0]), Modules: found[0]}
	for _, place := range []string{filepath.Join(dir, "boot/vmlinuz-"+image.Release), filepath.Join(image.Modules, "vmlinuz")} {
		if _, err := os.Stat(place); err == nil {
			image.Vmlinuz = place
			return image, nil
		}
	}
	return Image{}, fmt.Errorf("%s: no boot image of Linux %s", dir, image.Release)
}

// lock waits until no other process holds the file.
func lock(path string, say progress) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		say.linef("waiting for another process that fetches the same kernel")
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

// download fills a directory beside dir and renames it when it is complete.
func download(ctx context.Context, k Kernel, arch machine, dir string, say progress) error {
	work := dir + ".new"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	a, err := newArchive(ctx, k.Suite, arch.debian, work)
	if err != nil {
		return err
	}
	say.linef("reading Debian's list of packages in %s", k.Suite)
	if _, err := a.run(ctx, "apt-get", "update"); err != nil {
		return err
	}
	packages, err := a.kernelPackages(ctx, "linux-image-cloud-"+arch.debian)
	if err != nil {
		return err
	}
	say.linef("downloading %s", strings.Join(packages, " "))
	if _, err := a.run(ctx, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	say.linef("unpacking")
	if err := a.unpack(ctx); err != nil {
		return err
	}
	return os.Rename(a.root, dir)
}
