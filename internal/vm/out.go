package vm

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// receive unpacks the guest's /out, a tar archive, into a directory. Files keep
// their permissions, not their owner; devices and the like stay in the guest.
func receive(from io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	archive := tar.NewReader(from)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the guest's /out: %w", err)
		}
		if err := receiveFile(root, header, archive); err != nil {
			return fmt.Errorf("write %s: %w", header.Name, err)
		}
	}
}

func receiveFile(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	mode := header.FileInfo().Mode()
	switch header.Typeflag {
	case tar.TypeDir:
		err := root.Mkdir(name, mode.Perm()|0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	case tar.TypeSymlink:
		root.Remove(name) // of an earlier run
		return root.Symlink(header.Linkname, name)
	case tar.TypeLink:
		root.Remove(name)
		return root.Link(path.Clean(header.Linkname), name)
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode.Perm()|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		return errors.Join(err, file.Close())
	}
	return nil
}
