package networks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/mami-project/labctl/host"
)

// A libvirt that is killed while it starts or stops a network leaves the bridge, which
// keeps the network from being started again, and rules of its own for that.

// orphan is a bridge whose network does not run.
type orphan struct {
	bridge string
	mac    net.HardwareAddr
	ovs    bool // it is Open vSwitch's, of which libvirt does not take care
}

// remove removes the bridge, where it bears the network's MAC, and libvirt's rules that name it.
func (o orphan) remove(ctx context.Context, h *host.Host) error {
	if h.Fake() {
		return nil
	}
	if o.ovs {
		if err := (ovsBridge{o.bridge, o.mac}).remove(ctx); err != nil {
			return err
		}
	}
	l, err := ownLink(o.bridge, o.mac)
	if errors.Is(err, errForeign) {
		return nil
	}
	if err != nil {
		return err
	}
	if l != nil {
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove link %s: %w", o.bridge, err)
		}
	}
	if err := removeRulesOn(o.bridge); err != nil {
		return fmt.Errorf("remove libvirt's rules for %s: %w", o.bridge, err)
	}
	return nil
}

// removeRulesOn removes the rules that name a bridge from libvirt's own chains.
func removeRulesOn(bridge string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	var chains []*nftables.Chain
	for _, family := range families {
		some, err := c.ListChainsOfTableFamily(family)
		if err != nil {
			return fmt.Errorf("list chains: %w", err)
		}
		chains = append(chains, some...)
	}
	found := false
	for _, ch := range chains {
		if !strings.HasPrefix(ch.Name, "LIBVIRT_") {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return fmt.Errorf("list rules of chain %s: %w", ch.Name, err)
		}
		for _, r := range rules {
			if !names(r, bridge) {
				continue
			}
			found = true
			if err := c.DelRule(r); err != nil {
				return err
			}
		}
	}
	if !found {
		return nil
	}
	return c.Flush()
}

// names says whether a rule compares something with the name of a link.
func names(r *nftables.Rule, link string) bool {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Cmp); ok && string(bytes.TrimRight(c.Data, "\x00")) == link {
			return true
		}
	}
	return false
}
