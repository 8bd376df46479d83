package lab

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mami-project/labctl/host"
)

// Listed is one lab on the host, as far as its marks tell.
type Listed struct {
	Name      string    `json:"name"`
	State     string    `json:"state"` // whole, partial, or unknown: a newer labctl's
	Nodes     int       `json:"nodes"` // 0 where no mark tells
	MadeAt    time.Time `json:"madeAt,omitzero"`
	Owner     string    `json:"owner,omitempty"` // the user who made it; "" where no mark tells
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	From      string    `json:"from"`           // where its file came from
	Note      string    `json:"note,omitempty"` // what cannot be told, and why
}

// Unsure is the state of a lab that this labctl cannot judge.
const Unsure = "unknown"

// List tells of every lab that has anything on the host, by name. What it could
// not read is an error beside the labs that it could.
func List(ctx context.Context, h *host.Host) ([]Listed, error) {
	marks, err := FindMarks(h)
	errs := []error{err}
	names := marks.Labs()
	for _, u := range marks.Unread {
		if name := labOf(u); name != "" {
			names = append(names, name)
		} else {
			errs = append(errs, u)
		}
	}
	slices.Sort(names)
	all := []Listed{}
	for _, name := range slices.Compact(names) {
		if ctx.Err() != nil {
			return all, context.Cause(ctx)
		}
		all = append(all, marks.Of(name).listed(ctx, h, name))
	}
	return all, errors.Join(errs...)
}

// listed is what the marks of one lab tell of it.
func (m Marks) listed(ctx context.Context, h *host.Host, name string) Listed {
	made := m.made(h)
	l := Listed{Name: name, State: Part, Owner: made.By}
	if made.At != nil {
		l.MadeAt = *made.At
	}
	if made.Until != nil {
		l.ExpiresAt = *made.Until
	}
	tags := m.Tags()
	if len(tags) > 0 {
		l.From = tags[0].From
	}
	if newer := m.newer(); newer != nil {
		l.State, l.Note = Unsure, newer.Error()
		return l
	}
	var errs []error
	for _, u := range m.Unread {
		errs = append(errs, u)
	}
	if len(tags) > 0 {
		nodes, whole, err := judged(ctx, h, tags[0])
		l.Nodes = nodes
		if whole && len(tags) == 1 && len(m.Unread) == 0 {
			l.State = Whole
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		l.Note = err.Error()
	}
	return l
}

// judged is how many nodes the lab of that mark has, and whether all of it is there.
func judged(ctx context.Context, h *host.Host, t host.Tag) (nodes int, whole bool, err error) {
	d, err := decideTag(t)
	if err != nil {
		return 0, false, err
	}
	p, err := PlanUp(ctx, Build{On: h.In(t.Dir), Lab: d, Tag: t}.Resources())
	return len(d.Nodes), err == nil && p.Empty(), err
}
