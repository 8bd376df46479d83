package lab

import (
	"context"

	"github.com/mami-project/labctl/host"
)

// Listed is one lab on the host, as far as its marks tell.
type Listed struct {
	Name  string `json:"name"`
	State string `json:"state"` // whole or partial
	Nodes int    `json:"nodes"`
	From  string `json:"from"` // where its file came from
}

// List tells of every lab that has anything on the host.
func List(ctx context.Context, h *host.Host) ([]Listed, error) {
	marks, err := FindMarks(h)
	if err != nil {
		return nil, err
	}
	all := []Listed{}
	for _, name := range marks.Labs() {
		l := Listed{Name: name, State: Part}
		if tags := marks.Of(name).Tags(); len(tags) == 1 {
			l.From = tags[0].From
			if d, err := decideTag(tags[0]); err == nil {
				l.Nodes = len(d.Nodes)
				p, err := PlanUp(ctx, Build{On: h.In(tags[0].Dir), Lab: d, Tag: tags[0]}.Resources())
				if err == nil && p.Empty() {
					l.State = Whole
				}
			}
		}
		all = append(all, l)
	}
	return all, nil
}
