package host

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// LinkUse is a link of the host that a lab takes: as an uplink, as a mirror port
// or under a macvtap.
type LinkUse struct {
	For  string // "uplink of test/client"
	Link string
	Take bool // also where the host has an address on it
	Ask  bool // take: true can be written in the file for it
}

// Flags of a link.
const (
	flagUp       = 1 << 0
	flagLoopback = 1 << 3
)

func (h *Host) isUp(link string) bool { return h.flags(link)&flagUp != 0 }

func (h *Host) flags(link string) uint64 {
	f, _ := strconv.ParseUint(h.told(netLinks, link, "flags"), 0, 32) // every link has them
	return f
}

func (i inspection) judgeLinks() (Unfits, error) {
	var all Unfits
	used := map[string]string{} // for what, by link
	for _, d := range i.devices {
		for _, link := range d.is.Links {
			used[link] = d.For
		}
	}
	for _, l := range i.needs.Links {
		if who := used[l.Link]; who != "" {
			all = append(all, Unfit{fmt.Sprintf("%s: link %s is wanted for %s as well", l.For, l.Link, who), "name another NIC for one of the two"})
			continue
		}
		used[l.Link] = l.For
		u, err := i.judgeLink(l)
		if err != nil {
			return nil, err
		}
		all = append(all, u...)
	}
	return all, nil
}

func (i inspection) judgeLink(l LinkUse) (Unfits, error) {
	if !i.on.there(netLinks, l.Link, "flags") {
		fix, err := i.on.nicLinks()
		return Unfits{{fmt.Sprintf("%s: there is no link %s on this host", l.For, l.Link), fix}}, err
	}
	if i.on.flags(l.Link)&flagLoopback != 0 {
		fix, err := i.on.nicLinks()
		return Unfits{{fmt.Sprintf("%s: link %s is the host's loopback", l.For, l.Link), fix}}, err
	}
	p, _, err := i.on.FunctionOf(l.Link)
	if err != nil {
		return nil, err
	}
	if who := cmp.Or(i.needs.Taken[l.Link], i.needs.Taken[p.Address]); who != "" {
		return Unfits{{fmt.Sprintf("%s: link %s is taken by %s", l.For, l.Link, who), "name another NIC, or end that: " + giveUp(who)}}, nil
	}
	return i.carries(l.For, l.Link, l.Take, l.Ask), nil
}

// nicLinks is a way out that names the host's links with hardware behind them.
func (h *Host) nicLinks() (string, error) {
	links, err := h.list(netLinks)
	links = slices.DeleteFunc(links, func(link string) bool { return !h.there(netLinks, link, "device") })
	if len(links) == 0 {
		return "name a NIC of this host: it has none", err
	}
	return "name a NIC of this host: " + strings.Join(links, ", "), err
}
