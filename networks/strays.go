package networks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// computed matches the names of labs' links.
var computed = regexp.MustCompile(`^lc[btw][0-9a-f]{10}$`)

// StrayLinks are the host's links with names as labs' links have them, but none of known.
func StrayLinks(known map[string]bool) ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var strays []string
	for _, l := range links {
		if name := l.Attrs().Name; computed.MatchString(name) && !known[name] {
			strays = append(strays, name)
		}
	}
	slices.Sort(strays)
	return strays, nil
}

// TablesOf are the labs that have a firewall table on the host, as the tables' names tell.
func TablesOf() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := tablesOf(c)
	if err != nil {
		return nil, err
	}
	var labs []string
	for _, t := range tables {
		if lab, ok := strings.CutPrefix(t.Name, topology.TableName("")); ok && topology.ValidName(lab) {
			labs = append(labs, lab)
		}
	}
	slices.Sort(labs)
	return slices.Compact(labs), nil
}

// LinksOf are the names of the links that a lab has on the host, taps included.
func LinksOf(l topology.Lab) []string {
	var names []string
	for _, n := range l.Networks {
		for _, s := range n.Segments {
			if !s.Existing {
				names = append(names, s.Bridge)
			}
		}
		if n.Wire != nil {
			names = append(names, n.Wire.Ends[0].Link, n.Wire.Ends[1].Link)
		}
	}
	for _, n := range l.Nodes {
		for _, c := range n.NICs {
			if c.Link != "" {
				names = append(names, c.Link)
			}
		}
	}
	return names
}

// ForeignNames are why what has the names of the lab's bridges, wires and networks
// is not the lab's. It changes nothing; Create refuses the same, one by one.
func ForeignNames(ctx context.Context, h *host.Host, l topology.Lab) (host.Unfits, error) {
	var foreign host.Unfits
	var errs []error
	add := func(u host.Unfits, err error) {
		foreign, errs = append(foreign, u...), append(errs, err)
	}
	for _, n := range l.Networks {
		for _, s := range n.Segments {
			if s.Existing {
				continue
			}
			if s.OVS {
				add(foreignOVS(ctx, ovsBridge{s.Bridge, s.MAC}))
			} else {
				add(foreignLink(s.Bridge, s.MAC))
			}
			if h.Silent() == nil {
				add(foreignNetwork(h, s.Object, l.Name))
			}
		}
		if n.Wire != nil {
			for _, end := range n.Wire.Ends {
				add(foreignLink(end.Link, end.MAC))
			}
		}
	}
	return foreign, errors.Join(errs...)
}

func foreignLink(name string, mac net.HardwareAddr) (host.Unfits, error) {
	_, err := ownLink(name, mac)
	if errors.Is(err, errForeign) {
		return host.Unfits{{
			What: fmt.Sprintf("link %s is %v", name, errForeign),
			Fix:  "ip -d link show " + name + " tells what it is; where nobody needs it: ip link del " + name,
		}}, nil
	}
	return nil, err
}

func foreignOVS(ctx context.Context, b ovsBridge) (host.Unfits, error) {
	_, err := b.record(ctx)
	if errors.Is(err, errForeign) {
		return host.Unfits{{
			What: err.Error(),
			Fix:  fmt.Sprintf("ovs-vsctl list Bridge %[1]s and ip -d link show %[1]s tell what it is; where nobody needs it: ovs-vsctl del-br %[1]s, or ip link del %[1]s", b.name),
		}}, nil
	}
	return nil, err
}

func foreignNetwork(h *host.Host, object, lab string) (host.Unfits, error) {
	n, tag, err := lookup(h, object)
	defer free(n)
	if err != nil || n == nil || tag.Lab == lab {
		return nil, err
	}
	return host.Unfits{{
		What: fmt.Sprintf("libvirt's network %s is %v", object, errForeign),
		Fix:  fmt.Sprintf("virsh net-dumpxml %[1]s tells what it is; where nobody needs it: virsh net-destroy %[1]s; virsh net-undefine %[1]s", object),
	}}, nil
}
