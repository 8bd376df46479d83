package lab

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// leftovers looks for what earlier runs have left on the host, of any lab that no
// labctl works on now.
func leftovers(ctx context.Context, h *host.Host, marks Marks) host.Check {
	c := host.Check{Name: "leftovers"}
	labs, err := List(ctx, h)
	if err != nil {
		return host.Unseen(c.Name, err)
	}
	held, _, err := h.Locks()
	if err != nil {
		return host.Unseen(c.Name, err)
	}
	var names []string
	for _, l := range labs {
		names = append(names, l.Name+" is "+l.State)
		worked := slices.ContainsFunc(held, func(f host.LockFile) bool { return f.Name == "lab-"+l.Name })
		if l.State != Whole && !worked {
			c.Warn("lab "+l.Name+" is not whole: it is half made, half taken down, or off",
				"what there is of it holds memory, disk, subnets and ports", "labctl up FILE completes it; labctl down "+l.Name+" removes it")
		}
	}
	for _, u := range marks.Unread {
		name, _, _ := strings.Cut(strings.TrimPrefix(u.Object, "labctl."), ".")
		c.Warn(u.Error(), "whose it is, and what its lab has beside it, cannot be told by its mark", "labctl down "+name)
	}
	c.Found = "no lab is on the host"
	if len(names) > 0 {
		c.Found = strings.Join(names, ", ")
	}
	strays(&c, marks)
	return c
}

// strays adds the links and tables that look like a lab's and that no mark speaks of.
func strays(c *host.Check, marks Marks) {
	known := map[string]bool{}
	legible := len(marks.Unread) == 0
	for _, t := range marks.Tags() {
		l, err := decideTag(t)
		if legible = legible && err == nil; err == nil {
			for _, link := range networks.LinksOf(l) {
				known[link] = true
			}
		}
	}
	tables, err := networks.TablesOf()
	for _, lab := range tables {
		if !slices.Contains(marks.Labs(), lab) {
			c.Warn(fmt.Sprintf("firewall table %s is there without a lab %s", topology.TableName(lab), lab),
				"its rules still lead the ports of that lab, and drop what was not for it", "labctl down "+lab)
		}
	}
	if err != nil {
		c.Warn(err.Error(), "firewall tables without a lab cannot be told", "nft list tables")
	}
	if !legible {
		return // a link may be of the lab whose mark cannot be read
	}
	links, err := networks.StrayLinks(known)
	for _, link := range links {
		c.Warn("link "+link+" is named like a lab's, and is none's",
			"it may join bridges that should not be joined, and keeps a name that a lab may need", "ip -d link show "+link+" tells what it is; where nobody needs it: ip link del "+link+" (ovs-vsctl del-br "+link+", where Open vSwitch made it)")
	}
	if err != nil {
		c.Warn(err.Error(), "links without a lab cannot be told", "ip -br link")
	}
}

// locks looks for locks whose holders were killed.
func locks(h *host.Host) host.Check {
	c := host.Check{Name: "locks"}
	held, stale, err := h.Locks()
	if err != nil {
		return host.Unseen(c.Name, err)
	}
	c.Found = "none is held"
	var holders []string
	for _, f := range held {
		holders = append(holders, f.Name+": "+f.By)
	}
	if len(holders) > 0 {
		c.Found = strings.Join(holders, ", ")
	}
	for _, s := range stale {
		fix := "rm " + s.Path
		if lab, ok := strings.CutPrefix(s.Name, "lab-"); ok {
			fix = "labctl down " + lab + " (or labctl up, which completes it): either takes the lock over and removes it"
		}
		c.Warn(fmt.Sprintf("lock %s is left by %s, which has ended", s.Path, s.By),
			"nobody waits for it, but a labctl was killed there: what it worked on may be half done", fix)
	}
	return c
}
