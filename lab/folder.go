package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/lab/kept"
)

// Folder is a lab's own folder, with the lab's mark in it: the first of its
// resources and the last to go, and the claim on its name and subnets.
type Folder struct {
	On   *host.Host
	Tag  host.Tag
	Made Made // what its mark says of it, or is to say
}

// markFile is the name of the mark inside the folder.
const markFile = "mark.xml"

func (f Folder) String() string { return "folder/" + f.Tag.Lab }

func (f Folder) dir() string { return f.On.LabDir(f.Tag.Lab) }

// mark reads the mark in the folder; false where there is none that is this lab's.
// One that is broken is this lab's, and says no more than that.
func (f Folder) mark() (host.Tag, Made, bool, error) {
	text, err := os.ReadFile(filepath.Join(f.dir(), markFile))
	if err != nil {
		return host.Tag{}, Made{}, false, gone(err)
	}
	t, marked, err := host.ReadTag(string(text))
	if !marked || err != nil {
		return host.Tag{Lab: f.Tag.Lab, Format: t.Format}, Made{}, strings.HasPrefix(string(text), "<lab"), nil
	}
	return t, readMade(text), t.Lab == f.Tag.Lab, nil
}

// bare says that nothing is in the folder but, at most, a mark half written.
func (f Folder) bare() (bool, error) {
	entries, err := os.ReadDir(f.dir())
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if e.Name() != markFile+host.PartExt {
			return false, nil
		}
	}
	return true, nil
}

// own refuses a folder of this name that has content and not this lab's mark.
func (f Folder) own() error {
	if _, _, marked, err := f.mark(); marked || err != nil {
		return err
	}
	bare, err := f.bare()
	if errors.Is(err, fs.ErrNotExist) || bare {
		return nil
	}
	return errors.Join(err, fmt.Errorf("folder %s is there and does not hold the mark of lab %s: it is left alone; move it away", f.dir(), f.Tag.Lab))
}

// State is Present where the folder holds its mark.
func (f Folder) State(context.Context) (host.State, error) {
	if _, err := os.Stat(f.dir()); err != nil {
		return host.Absent, gone(err)
	}
	if err := f.own(); err != nil {
		return host.Absent, err
	}
	_, _, marked, err := f.mark()
	if err != nil || !marked {
		return host.Partial, err
	}
	return host.Present, nil
}

// Create makes the folder, passable for QEMU and readable for root only, and
// writes the mark beside, then in its place.
func (f Folder) Create(context.Context) error {
	if err := f.own(); err != nil {
		return err
	}
	for made := false; !made; {
		if err := os.MkdirAll(filepath.Dir(f.dir()), 0o755); err != nil {
			return err
		}
		err := os.Mkdir(f.dir(), 0o711)
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made = !errors.Is(err, fs.ErrNotExist) // another lab's end took the folder of the labs
	}
	return f.write()
}

// write puts the mark into its place, in that of another one too.
func (f Folder) write() error {
	mark, err := folderMark{f.Tag, &f.Made}.xml()
	if err != nil {
		return err
	}
	return host.WriteFile(filepath.Join(f.dir(), markFile), mark, 0o600)
}

// Destroy removes the folder and all that is in it, and a state that was not saved whole.
func (f Folder) Destroy(context.Context) error {
	if err := f.own(); err != nil {
		return err
	}
	if err := (kept.Store{Dir: f.On.KeptDir()}).Unfinished(f.Tag.Lab); err != nil {
		return err
	}
	if err := os.RemoveAll(f.dir()); err != nil {
		return err
	}
	Tidy(f.On)
	return nil
}

// Tidy removes the folder of the labs if no lab is in it: with the last of them, and
// where labctl was killed before it made the first.
func Tidy(h *host.Host) {
	_ = os.Remove(filepath.Dir(h.LabDir("any"))) // refused while labs are there
}

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
