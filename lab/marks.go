package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
)

// Marks is everything on the host that bears a lab's mark.
type Marks struct {
	Folders  []Folder
	Networks []networks.Found
	Domains  []domains.Found
}

// FindMarks looks for the marks of every lab on the host.
func FindMarks(h *host.Host) (Marks, error) {
	folders, ferr := findFolders(h)
	nets, nerr := networks.Find(h, "")
	machines, derr := domains.Find(h)
	return Marks{folders, nets, machines}, errors.Join(ferr, nerr, derr)
}

// findFolders lists the labs' folders. One without its mark was cut short before
// anything else was made: its name is all there is to know of it.
func findFolders(h *host.Host) ([]Folder, error) {
	entries, err := os.ReadDir(filepath.Dir(h.LabDir("any")))
	if err != nil {
		return nil, gone(err)
	}
	var folders []Folder
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		tag := host.Tag{Lab: e.Name()}
		text, err := os.ReadFile(filepath.Join(h.LabDir(e.Name()), markFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if t, marked, err := host.ReadTag(string(text)); err == nil && marked && t.Lab == e.Name() {
			tag = t
		}
		folders = append(folders, Folder{h, tag})
	}
	return folders, nil
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
	return own
}

// Tags are the different marks there are that hold a file: one a lab, unless a
// replacement was cut short.
func (m Marks) Tags() []host.Tag {
	var different []host.Tag
	for _, t := range m.tags() {
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
