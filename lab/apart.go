package lab

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/flows"
)

// apartMost is how far apart clocks may be without being told (ms).
const apartMost = 1.0

// How long nodes' clocks may take to agree, and how often they are looked at.
const (
	agreeTime  = 40 * time.Second
	agreePause = 500 * time.Millisecond
)

// WaitClocks waits until the chronyds of all nodes that have one keep the lab's time,
// and the nodes' clocks are not known to be more than 1 ms apart. Where that takes
// too long it warns of what is missing. It returns the last offsets that it saw.
func (b Build) WaitClocks(ctx context.Context, tell Tell) []flows.Offset {
	return waitClocks(ctx, b.clocks, b.lacksChronyd, agreeTime, tell)
}

func waitClocks(
	ctx context.Context, read func(context.Context) []clock, lacks func(ctx context.Context, node string) bool, most time.Duration, tell Tell,
) []flows.Offset {
	deadline, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	without, said, told := make(map[string]bool), "", ""
	for {
		clocks := read(ctx)
		var missing []string
		for _, c := range clocks {
			if !c.answers && !without[c.Node] {
				without[c.Node] = lacks(ctx, c.Node)
			}
			switch {
			case without[c.Node]:
			case !c.answers:
				missing = append(missing, "node "+c.Node+"'s chronyd does not answer")
			case !c.kept:
				missing = append(missing, "node "+c.Node+"'s chronyd has not got the lab's time")
			case c.Failed != "":
				missing = append(missing, unknown(c.Offset))
			}
		}
		all, kind := offsets(clocks), strings.Join(missing, "; ")
		if len(missing) == 0 {
			kind = "apart" // whose figures change with every look
			missing = apart(slices.DeleteFunc(slices.Clone(all), func(o flows.Offset) bool { return without[o.Node] }))
		}
		if len(missing) == 0 {
			return all
		}
		said = strings.Join(missing, "; ")
		if kind != told {
			told = kind
			tell.Note("waiting for the clocks: " + said)
		}
		select {
		case <-deadline.Done():
			if ctx.Err() == nil {
				tell.warn(fmt.Sprintf("the clocks do not agree after %v: %s", most, said))
			}
			return all
		case <-time.After(agreePause):
		}
	}
}

// lacksChronyd says whether a node is known to have no chronyd.
func (b Build) lacksChronyd(ctx context.Context, name string) bool {
	n, _ := b.Lab.Node(name)
	r, err := domains.Agent{On: b.On, Node: n}.Exec(ctx, nil, "/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; command -v chronyd")
	return err == nil && r.Code != 0
}

// between is how far apart two nodes' clocks are.
type between struct {
	a, b                string
	distance, uncertain float64 // ms
}

func (p between) String() string {
	return fmt.Sprintf("%s and %s are %.3f ms apart (± %.3f ms)", p.a, p.b, p.distance, p.uncertain)
}

// pairs are all pairs of the nodes whose offset is known.
func pairs(all []flows.Offset) []between {
	var ps []between
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.Failed == "" && b.Failed == "" {
				ps = append(ps, between{a.Node, b.Node, math.Abs(a.Milli - b.Milli), a.Uncertainty + b.Uncertainty})
			}
		}
	}
	return ps
}

// apart are the pairs of nodes whose clocks are more than 1 ms apart, whatever the uncertainty.
func apart(all []flows.Offset) []string {
	return tellPairs(pairs(all), ": more than 1 ms",
		func(p between) bool { return p.distance-p.uncertain > apartMost },
		func(p between) float64 { return p.distance })
}

// untold are those whose clocks may be: the uncertainty is too large to know.
func untold(all []flows.Offset) []string {
	return tellPairs(pairs(all), ": whether that is more than 1 ms cannot be told",
		func(p between) bool { return math.Abs(p.distance-apartMost) <= p.uncertain },
		func(p between) float64 { return p.distance + p.uncertain })
}

// Apart tells of nodes' clocks that are more than 1 ms apart, of those that may be
// since nobody can tell, and of those that are not known at all.
func Apart(all []flows.Offset) []string {
	said := append(apart(all), untold(all)...)
	for _, o := range all {
		if o.Failed != "" {
			said = append(said, unknown(o))
		}
	}
	return said
}

func unknown(o flows.Offset) string {
	return fmt.Sprintf("node %s's clock is not known: %s", o.Node, o.Failed)
}

// tellPairs tells of the worst of those pairs, and how many there are.
func tellPairs(ps []between, what string, is func(between) bool, badness func(between) float64) []string {
	ps = slices.DeleteFunc(ps, func(p between) bool { return !is(p) })
	if len(ps) == 0 {
		return nil
	}
	said := "the clocks of " + slices.MaxFunc(ps, func(a, b between) int { return cmp.Compare(badness(a), badness(b)) }).String() + what
	if len(ps) > 1 {
		said += fmt.Sprintf(" (the worst of %d pairs of nodes)", len(ps))
	}
	return []string{said}
}

// FromHost tells of the nodes whose clocks are more than 1 ms from the host's: the
// instants that they note are other than the host's.
func FromHost(all []flows.Offset) []string {
	var far []string
	for _, o := range all {
		if o.Failed == "" && math.Abs(o.Milli)-o.Uncertainty > apartMost {
			far = append(far, fmt.Sprintf("%s %+.3f ms (± %.3f ms)", o.Node, o.Milli, o.Uncertainty))
		}
	}
	if len(far) == 0 {
		return nil
	}
	return []string{"clocks are more than 1 ms from the host's: " + strings.Join(far, ", ")}
}
