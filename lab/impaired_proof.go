package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mami-project/labctl/topology"
)

// What is sent through an impaired network is sent so often that some of it arrives,
// but for one proof in a million, and at the most so often.
const (
	chanceOfNone = 1e-6
	mostRounds   = 10
)

// slack is what frames take beyond what the impairments hold them for, where it is not known which of them arrive.
const slack = 2 * time.Second

// doing is what a direction does to frames now.
type doing struct {
	Impairment
	now topology.Impair
}

// lookAtImpairments looks at each direction that frames pass.
func (e experiment) lookAtImpairments(ctx context.Context) ([]doing, error) {
	var all []doing
	for _, f := range e.flows {
		for _, d := range e.crossed(f.path) {
			if !slices.ContainsFunc(all, func(p doing) bool { return p.String() == d.String() }) {
				all = append(all, doing{Impairment: d})
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx) // a node takes its time to tell
	for i, d := range all {
		group.Go(func() (err error) {
			if all[i].now, err = d.Impairment.now(ctx); err != nil {
				return fmt.Errorf("look at the impairments: %s: %w", d, err)
			}
			return nil
		})
	}
	return all, group.Wait()
}

// allowFor has the experiment take what directions do for what they are to do.
func (e *experiment) allowFor(all []doing) {
	does := make(map[string]bool)
	for _, d := range all {
		if !d.now.IsZero() {
			does[d.String()] = true
			e.impaired = append(e.impaired, d.now)
		}
	}
	if e.impaired == nil {
		return
	}
	for k, f := range e.flows {
		e.flows[k].impaired = slices.ContainsFunc(e.crossed(f.path), func(d Impairment) bool { return does[d.String()] })
		e.flows[k].sizes = slices.Repeat(f.sizes, e.rounds(len(f.sizes)))
	}
}

// rounds is how often so many frames are sent.
func (e experiment) rounds(frames int) int {
	arrives := 1.0
	for _, i := range e.impaired {
		arrives *= 1 - i.Loss
	}
	if arrives <= 0 {
		return 1
	}
	need := math.Log(chanceOfNone) / math.Log(max(1-arrives, math.SmallestNonzeroFloat64))
	return min(max(1, int(math.Ceil(need/float64(frames)))), mostRounds)
}

// arrivesWithin is how long frames may take to arrive everywhere once they were sent.
func (e experiment) arrivesWithin() time.Duration {
	takes := arriveTime
	if e.chance() {
		takes = slack
	}
	return min(takes+e.held(), time.Minute)
}

// chance says whether it is chance which frames arrive, and how often: there is no time then at which all have.
func (e experiment) chance() bool {
	return slices.ContainsFunc(e.impaired, func(i topology.Impair) bool { return i.Loss > 0 || i.Duplicate > 0 || i.Corrupt > 0 })
}

// held is how long the impairments hold frames at the most.
func (e experiment) held() time.Duration {
	bytes := 0
	for _, f := range e.flows {
		for _, s := range f.sizes {
			bytes += s + frameHeader
		}
	}
	takes := time.Duration(0)
	for _, i := range e.impaired {
		takes += i.Delay + 4*i.Jitter
		if i.Rate > 0 {
			takes += time.Duration(float64(bytes) * 8 / float64(i.Rate) * float64(time.Second))
		}
	}
	return takes
}

// corrupts says whether frames may come with other bits than they were sent with.
func (e experiment) corrupts() bool {
	return slices.ContainsFunc(e.impaired, func(i topology.Impair) bool { return i.Corrupt > 0 })
}

// judgeImpaired says what is wrong with what was seen while the network under test
// loses, doubles and delays frames: each was sent once, some of each flow arrived unless
// all are to be lost, all of those that pass nothing impaired did, no NIC saw another
// network's, and each copy is that of its NIC.
func (e experiment) judgeImpaired(points []point) error {
	saw := make(map[place]map[mark]int)
	named := make(map[place]string)
	var wrong []error
	for _, p := range points {
		for i, v := range p.views {
			at := place{p.node.Name, i}
			saw[at], named[at] = v.times(p.saw), v.named
			wrong = append(wrong, v.fault(v.faults(p.saw)))
		}
	}
	for k, f := range e.flows {
		last := f.path[len(f.path)-1]
		once := f.path[:1] // where each frame is seen once: whatever is impaired comes later
		if !f.impaired {
			once = f.path
		}
		arrived := 0
		for _, m := range marks(k, f) {
			for _, at := range once {
				if n := saw[at][m.mark]; n != 1 {
					wrong = append(wrong, fmt.Errorf("%s saw %s %d times instead of once", named[at], m.mark, n))
				}
			}
			arrived += saw[last][m.mark]
		}
		if arrived == 0 && !e.losesAll() {
			wrong = append(wrong, fmt.Errorf("%s saw none of the %d frames of flow %d", named[last], len(f.sizes), k+1))
		}
	}
	for _, p := range points {
		for i := range p.views {
			copied, at := place{p.node.Name, i}, watches(e.Lab, p.node, i)
			if at == copied {
				continue
			}
			for k, f := range e.flows {
				for _, m := range marks(k, f) {
					if a, b := saw[at][m.mark], saw[copied][m.mark]; a != b {
						wrong = append(wrong, fmt.Errorf("%s saw %s %d times, and %s %d times", named[copied], m.mark, b, named[at], a))
					}
				}
			}
		}
	}
	if len(wrong) > wrongMost {
		wrong = append(wrong[:wrongMost:wrongMost], fmt.Errorf("and %d more of the kind", len(wrong)-wrongMost))
	}
	return errors.Join(wrong...)
}

// losesAll says whether hardly a frame is to arrive.
func (e experiment) losesAll() bool {
	return slices.ContainsFunc(e.impaired, func(i topology.Impair) bool { return i.Loss > 0.5 })
}
