package lab

import (
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/domains"
)

// sources are what disks and machines are made from, base images and a ready state. They are read whole beside what
// is made first: no machine runs before all of it is known to be as it was written. None are nothing to read.
type sources struct {
	verified func() error // waits until they are read
	release  func()       // lets base images go, once disks stand on them
}

// checked waits until they are known to be as they were written, and lets base images go.
func (s sources) checked() error {
	if s.verified == nil {
		return nil
	}
	defer s.release()
	return s.verified()
}

// begin has something done meanwhile, and returns what waits for it.
func begin(do func() error) (wait func() error) {
	var group errgroup.Group
	group.Go(do)
	return group.Wait
}

// parted is the plan until machines are made, and from there.
func (p Plan) parted() (before, after Plan) {
	machines := slices.IndexFunc(p.Stages, func(stage []Step) bool {
		return slices.ContainsFunc(stage, func(s Step) bool { _, is := s.Resource.(domains.Machine); return is })
	})
	if machines < 0 {
		return p, Plan{}
	}
	return Plan{p.Stages[:machines]}, Plan{p.Stages[machines:]}
}
