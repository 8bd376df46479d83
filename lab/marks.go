package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
)

// Marks is everything on the host that bears a lab's mark.
type Marks struct {
	Folders  []Folder
	Networks []networks.Found
	Domains  []domains.Found
	Unread   []host.Unreadable // whose mark cannot be read
}

// FindMarks looks for the marks of every lab on the host.
func FindMarks(h *host.Host) (Marks, error) {
	folders, ferr := findFolders(h)
	nets, nerr := networks.Find(h)
	machines, derr := domains.Find(h)
	unread, err := unreadable(errors.Join(ferr, nerr, derr))
	return Marks{folders, nets, machines, unread}, err
}

// unreadable parts marks that cannot be read from what else is wrong.
func unreadable(err error) (unread []host.Unreadable, rest error) {
	if u, ok := err.(host.Unreadable); ok { //nolint:errorlint // one by one, below
		return []host.Unreadable{u}, nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	for _, e := range joined.Unwrap() {
		u, r := unreadable(e)
		unread, rest = append(unread, u...), errors.Join(rest, r)
	}
	return unread, rest
}

// findFolders lists the labs' folders: those with a mark, and those that were cut
// short before it was written. Any other is none of labctl's. What cannot be read
// is an error beside the folders that were found.
func findFolders(h *host.Host) ([]Folder, error) {
	entries, err := os.ReadDir(filepath.Dir(h.LabDir("any")))
	if err != nil {
		return nil, gone(err)
	}
	var folders []Folder
	var errs []error
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		f := Folder{On: h, Tag: host.Tag{Lab: e.Name()}}
		tag, made, marked, err := f.mark()
		if err != nil {
			errs = append(errs, host.Unreadable{Kind: "folder", Object: e.Name(), Err: err})
			continue
		}
		if marked {
			f.Tag, f.Made = tag, made
		} else if bare, err := f.bare(); err != nil || !bare {
			continue
		}
		folders = append(folders, f)
	}
	return folders, errors.Join(errs...)
}

// Labs are the names of the labs that have anything on the host, sorted.
func (m Marks) Labs() []string {
	var names []string
	for _, t := range m.tags() {
		names = append(names, t.Lab)
	}
	sort.Strings(names)
	return slices.Compact(names)
}

// labOf is the lab whose mark cannot be read, as far as the name of what bears it
// tells; "" where it tells of none.
func labOf(u host.Unreadable) string {
	if u.Kind == "folder" {
		return u.Object
	}
	rest, ours := strings.CutPrefix(u.Object, "labctl.")
	lab, _, named := strings.Cut(rest, ".")
	if !ours || !named {
		return ""
	}
	return lab
}

// Of are the marks of one lab.
func (m Marks) Of(lab string) Marks {
	var own Marks
	for _, f := range m.Folders {
		if f.Tag.Lab == lab {
			own.Folders = append(own.Folders, f)
		}
	}
	for _, n := range m.Networks {
		if n.Tag.Lab == lab {
			own.Networks = append(own.Networks, n)
		}
	}
	for _, d := range m.Domains {
		if d.Tag.Lab == lab {
			own.Domains = append(own.Domains, d)
		}
	}
	for _, u := range m.Unread {
		if labOf(u) == lab {
			own.Unread = append(own.Unread, u)
		}
	}
	return own
}

// made is what the marks of one lab tell of when it was made: nothing where its
// folder is gone or is an older labctl's.
func (m Marks) made(h *host.Host) Made {
	folders := slices.Clone(m.Folders)
	for _, t := range m.Tags() { // the folder may be in another one than this labctl's
		folders = append(folders, Folder{On: h.In(t.Dir), Tag: t})
	}
	for _, f := range folders {
		if _, made, marked, err := f.mark(); marked && err == nil {
			return made
		}
	}
	return Made{}
}

// newer is an error where a mark of the lab is of a newer format than this labctl's.
func (m Marks) newer() error {
	for _, t := range m.tags() {
		if t.Format > host.Format {
			return Newer{t.Lab, t.Format}
		}
	}
	return nil
}

// Tags are the different marks there are that hold a file: one a lab, unless a
// replacement was cut short.
func (m Marks) Tags() []host.Tag {
	var different []host.Tag
	for _, t := range m.tags() {
		t.Borrowed = nil // the marked object's own matter
		if t.File != "" && !slices.ContainsFunc(different, t.Equal) {
			different = append(different, t)
		}
	}
	return different
}

func (m Marks) tags() []host.Tag {
	var tags []host.Tag
	for _, f := range m.Folders {
		tags = append(tags, f.Tag)
	}
	for _, n := range m.Networks {
		tags = append(tags, n.Tag)
	}
	for _, d := range m.Domains {
		tags = append(tags, d.Tag)
	}
	return tags
}
