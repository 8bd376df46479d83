package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
)

func runImageExport(c *cli.Context) error {
	names, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	release, err := images.Hold(c.Context, imageDir(c), func(what string) { fmt.Fprintln(c.App.ErrWriter, what) })
	if err != nil {
		return err
	}
	defer release()
	b, err := findImage(c, names[0])
	if err != nil {
		return err
	}
	switch file := c.String("o"); file {
	case "-":
		return images.Export(c.Context, b, c.App.Writer)
	case "":
		file = b.ID() + ".tar"
		fallthrough
	default:
		if err := writeNew(file, func(w io.Writer) error { return images.Export(c.Context, b, w) }); err != nil {
			return fmt.Errorf("export %s: %w", b.ID(), err)
		}
		fmt.Fprintf(c.App.Writer, "%s is in %s\n", b.ID(), file)
		return nil
	}
}

// writeNew writes a file which is not there yet beside its place, and puts it there
// once it is whole.
func writeNew(file string, write func(io.Writer) error) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is there already\n  remove it, or name another by -o", file))
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*"+host.PartExt)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		// who made it meanwhile keeps it
		err = unix.Renameat2(unix.AT_FDCWD, f.Name(), unix.AT_FDCWD, file, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) { // a file system that cannot say so
			err = os.Rename(f.Name(), file)
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return host.Sync(filepath.Dir(file))
}

func runImageImport(c *cli.Context) error {
	names, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	if err := needRoot(c); err != nil {
		return err
	}
	from := c.App.Reader
	if names[0] != "-" {
		f, err := os.Open(names[0])
		if err != nil {
			return err
		}
		defer f.Close()
		from = f
	}
	show := newDisplay(c)
	defer show.close()
	b, err := lab.ImportBase(c.Context, imageDir(c), names[0], from, show.tell)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s is in %s, %d MiB\n", b.Recipe, b.Dir, b.Bytes()>>20)
	return nil
}
