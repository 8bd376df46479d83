package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// Diagnosis is whether a host is fit for a lab, and all that was looked at.
type Diagnosis struct {
	Lab    string
	From   string
	Checks []host.Check
}

// Fit says whether the lab could work.
func (d Diagnosis) Fit() bool {
	return !slices.ContainsFunc(d.Checks, func(c host.Check) bool { return c.State() == host.Wrong })
}

// Doctor looks whether the host is fit for the lab that the file asks for, past
// whatever is wrong, also where its libvirt is silent. It changes nothing. The
// error is a mistake of the file's, or ctx's end.
func Doctor(ctx context.Context, h *host.Host, f topology.File, from string) (Diagnosis, error) {
	d := Diagnosis{Lab: f.Name, From: from}
	lab := host.Check{Name: "lab"}
	b, err := prepareAnyway(&lab, h, f, from)
	if err != nil {
		return d, err
	}
	images := b.seesImages(ctx)
	p := b.seesNames(ctx, &lab)
	marks, err := FindMarks(b.On)
	if err != nil {
		lab.Fault(err.Error(), "which labs there are cannot be told", "mend that, and run labctl doctor again")
	}
	needs, err := b.needs(ctx, p, marks)
	if err != nil {
		lab.Fault(err.Error(), "what the lab needs of the host cannot be told", "mend that, and run labctl doctor again")
	}
	d.Checks = append(host.Examine(ctx, b.On, needs), images,
		networks.Kernel(b.Lab), networks.Bridged(b.On, b.Lab), b.seesOtherLabs(marks), lab)
	if h.Silent() == nil {
		d.Checks = append(d.Checks, b.seesAgents(ctx), leftovers(ctx, b.On, marks))
	}
	d.Checks = append(d.Checks, locks(b.On))
	return d, ctx.Err()
}

// prepareAnyway is Prepare, or the lab decided anew where it is there otherwise.
func prepareAnyway(c *host.Check, h *host.Host, f topology.File, from string) (Build, error) {
	b, err := Prepare(h, f, from)
	if err == nil || errors.As(err, new(topology.Problems)) {
		return b, err
	}
	c.Fault(firstLine(err), "up makes a lab of one file only: it refuses to mix what is there with what the file says now", restOf(err, "labctl down "+f.Name))
	l, err := topology.Decide(f, nil, topology.Chosen{})
	return Build{On: h, Lab: l, From: from, Tag: host.Tag{Lab: l.Name}, Accel: topology.AccelTCG}, err
}

// firstLine and restOf part an error whose last lines are the way out.
func firstLine(err error) string {
	what, _, _ := strings.Cut(err.Error(), "\n")
	return what
}

func restOf(err error, otherwise string) string {
	if _, fix, ok := strings.Cut(err.Error(), "\n"); ok {
		return strings.TrimSpace(fix)
	}
	return otherwise
}

// seesImages looks for the base images that the nodes stand on.
func (b *Build) seesImages(ctx context.Context) host.Check {
	c := host.Check{Name: "images"}
	missing, err := b.MissingBases(ctx)
	if err != nil {
		c.Found = "could not all be found"
		c.Fault(firstLine(err), "the nodes' disks stand on it", restOf(err, "labctl image list tells what there is; labctl image build makes one anew"))
		return c
	}
	var found []string
	for _, m := range missing {
		found = append(found, m.verb+" "+m.image)
	}
	known := map[string]bool{}
	for _, n := range b.Lab.Nodes {
		base, ok := b.Bases[n.Name]
		if !ok || known[base.Dir] {
			continue
		}
		known[base.Dir] = true
		found = append(found, base.ID())
		for name := range base.Files {
			path := filepath.Join(base.Dir, name)
			if i, err := os.Stat(path); err != nil {
				c.Fault(err.Error(), "the nodes' disks stand on it", "labctl image verify tells of all that is broken; labctl image build makes it anew")
			} else if i.Mode().Perm()&0o004 == 0 {
				c.Warn(fmt.Sprintf("%s (mode %s) is not for others to read", path, i.Mode().Perm()),
					"QEMU runs as a user of its own: unless libvirt gives it the file, no machine starts", "chmod o+r "+path)
			}
		}
	}
	c.Found = strings.Join(found, ", ")
	return c
}

// seesNames asks each of the lab's resources for its state, past those that are
// somebody else's, and returns what is to be done. Where libvirt is silent
// nothing is taken to be there.
func (b Build) seesNames(ctx context.Context, c *host.Check) Plan {
	const why = "its name is one that the lab needs, and labctl touches nothing of others"
	var p Plan
	there := 0
	for _, stage := range b.Resources() {
		var steps []Step
		for _, r := range stage {
			was, err := host.Absent, error(nil)
			if b.On.Silent() == nil {
				was, err = r.State(ctx)
			}
			if err != nil {
				c.Fault(firstLine(err), why, restOf(err, "rename or remove what has that name, or give the lab another name:"))
			}
			if was != host.Absent {
				there++
			}
			steps = append(steps, Step{r, was})
		}
		p.Stages = append(p.Stages, steps)
	}
	foreign, err := networks.ForeignNames(ctx, b.On, b.Lab)
	for _, f := range foreign {
		c.Fault(f.What, why, f.Fix)
	}
	if err != nil {
		c.Fault(err.Error(), "what has the lab's names cannot be told", "mend that, and run labctl doctor again")
	}
	c.Found = fmt.Sprintf("%s: %d of %d resources are there", b.Lab.Name, there, count(resources(p)))
	return p
}

// resources are all those of a plan.
func resources(p Plan) [][]Removable {
	all := make([][]Removable, len(p.Stages))
	for i, stage := range p.Stages {
		for _, s := range stage {
			all[i] = append(all[i], s)
		}
	}
	return all
}

// seesOtherLabs looks for published ports that other labs have.
func (b Build) seesOtherLabs(marks Marks) host.Check {
	c := host.Check{Name: "other labs", Found: "none publishes a port of this one's"}
	for _, u := range b.publishedElsewhere(marks) {
		c.Fault(u.What, "the rules of one of the two would win, unseen", u.Fix)
	}
	return c
}
