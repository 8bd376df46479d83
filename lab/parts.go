package lab

import (
	"path/filepath"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab/kept"
	"github.com/mami-project/labctl/networks"
)

func (b Build) folder() Folder { return Folder{b.On, b.Tag, b.Made} }

func (b Build) dir(names ...string) string {
	return filepath.Join(append([]string{b.On.LabDir(b.Lab.Name)}, names...)...)
}

// keys are the lab's, as far as they can be those of its kept states.
func (b Build) keys() images.Keys {
	return images.Keys{Dir: b.dir("keys"), Lab: b.Lab, From: b.kept().Keys(b.Lab.Name)}
}

func (b Build) kept() kept.Store { return kept.Store{Dir: b.On.KeptDir()} }

func (b Build) segments() []networks.Segment {
	var ss []networks.Segment
	for _, n := range b.Lab.Networks {
		for _, s := range n.Segments {
			if s.Existing {
				continue
			}
			ss = append(ss, networks.Segment{On: b.On, Network: n, Segment: s, Tag: b.Tag})
		}
	}
	return ss
}

// Mirrors are the copies that capture NICs receive.
func (b Build) Mirrors() []networks.Mirror {
	var ms []networks.Mirror
	for _, n := range b.Lab.Nodes {
		to, ok := n.Capture()
		if !ok {
			continue
		}
		from, _ := b.Lab.Node(to.Mirror)
		ms = append(ms, networks.Mirror{Node: to.Mirror, From: to.Point, To: to.Link, Bridge: mirrored(from, to).Bridge})
	}
	return ms
}
