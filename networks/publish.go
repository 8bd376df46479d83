package networks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Publish is what passes between a lab and the outside: its published ports lead
// in, its nat networks lead out, and nothing else does. It is one nftables
// table, one more of the same rules where the lab has IPv6, and the host's own way
// through 127.0.0.1.
type Publish struct {
	Lab topology.Lab
}

// String names it as users see it, "publish/LAB".
func (p Publish) String() string { return "publish/" + p.Lab.Name }

// State is Partial where the host's rules are not those wanted.
func (p Publish) State(context.Context) (host.State, error) {
	have, err := readTables(topology.TableName(p.Lab.Name))
	if err != nil || len(have) == 0 {
		return host.Absent, err
	}
	want, err := p.tables()
	if err != nil || !sameTables(have, want) {
		return host.Partial, err
	}
	for _, bridge := range p.published() {
		b, err := os.ReadFile(routeLocalnet(bridge))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return host.Partial, err
		}
		if strings.TrimSpace(string(b)) != "1" {
			return host.Partial, nil
		}
	}
	return host.Present, nil
}

// Create replaces the tables in one transaction. The bridges of networks with
// published ports must be there.
func (p Publish) Create(context.Context) error {
	tables, err := p.tables()
	if err != nil {
		return err
	}
	if err := writeTables(topology.TableName(p.Lab.Name), tables); err != nil {
		return fmt.Errorf("write table %s: %w", topology.TableName(p.Lab.Name), err)
	}
	// After the table, which keeps the nodes from using it.
	for _, bridge := range p.published() {
		if err := os.WriteFile(routeLocalnet(bridge), []byte("1"), 0); err != nil {
			return fmt.Errorf("open the way from 127.0.0.1: %w", err)
		}
	}
	return nil
}

// Destroy removes the tables, past errors. It needs no more of the lab than its name.
func (p Publish) Destroy(context.Context) error {
	var errs []error
	for _, bridge := range p.published() {
		err := os.WriteFile(routeLocalnet(bridge), []byte("0"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("close the way from 127.0.0.1: %w", err))
		}
	}
	if err := removeTables(topology.TableName(p.Lab.Name)); err != nil {
		errs = append(errs, fmt.Errorf("remove table %s: %w", topology.TableName(p.Lab.Name), err))
	}
	return errors.Join(errs...)
}

// port is a published port and where it leads.
type port struct {
	topology.Publish
	node   netip.Addr
	bridge string
}

// ports are the published ports of the nodes that a nat network connects with the host
// by that kind of IP.
func (p Publish) ports(k kind) []port {
	var ports []port
	for _, node := range p.Lab.Nodes {
		i := slices.IndexFunc(node.NICs, func(c topology.NIC) bool {
			n, ok := p.Lab.Network(c.Network)
			return ok && n.Uplink == topology.UplinkNAT && k.address(c).IsValid()
		})
		if i < 0 {
			continue
		}
		for _, pub := range node.Publish {
			if !pub.HostAddress.IsValid() || k.is(pub.HostAddress) {
				ports = append(ports, port{pub, k.address(node.NICs[i]).Addr(), node.NICs[i].Bridge})
			}
		}
	}
	return ports
}

// published are the bridges that published ports lead to by IPv4, each once.
func (p Publish) published() []string {
	var bridges []string
	for _, port := range p.ports(ipv4) {
		bridges = append(bridges, port.bridge)
	}
	slices.Sort(bridges)
	return slices.Compact(bridges)
}

// tables are those wanted: that of IPv6 only where the lab has it anywhere.
func (p Publish) tables() ([]table, error) {
	kinds := []kind{ipv4}
	if slices.ContainsFunc(p.Lab.Networks, func(n topology.Network) bool { return len(ipv6.subnets(n)) > 0 }) {
		kinds = append(kinds, ipv6)
	}
	var tables []table
	for _, k := range kinds {
		chains, err := p.chains(k)
		if err != nil {
			return nil, err
		}
		tables = append(tables, table{k.family, chains})
	}
	return tables, nil
}

// chains are the rules wanted of one kind of IP. On a bridge that is the host's own there are none: it
// has its own rules.
//
//	guard        nodes do not reach the host's loopback, which published ports open; where
//	             br_netfilter is on, measured packets are neither tracked nor reassembled
//	input        the host's address on a lab's network answers that network alone; nodes
//	             reach the host by their own addresses, and not from sides or capture NICs;
//	             Open vSwitch's userspace datapath shows the host what comes in at its ports
//	forward      into nat networks only what is published or was asked for; elsewhere nothing;
//	             no node passes for another, nor for who answers another lab's. Inside a
//	             segment, frames that br_netfilter shows have whatever addresses they have:
//	             nodes forward from one side to another
//	prerouting   published ports lead to their nodes, for other hosts and for nodes
//	output       and for the host itself
//	silence      the host says nothing of its own on sides: its bridges would report on IGMP,
//	             and its macvtaps look for IPv6 neighbours
//	postrouting  nodes go out behind the host's address; replies come back through the host
//
// IPv6 has its neighbours asked and answered by packets of its own, from link-local
// addresses too: these pass, and no others from there.
func (p Publish) chains(k kind) ([]chain, error) {
	guard := filterChain("guard", nftables.ChainHookPrerouting, beforeDefrag)
	input := filterChain("input", nftables.ChainHookInput, beforeFilter)
	forward := filterChain("forward", nftables.ChainHookForward, beforeFilter)
	prerouting := natChain("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	silence := filterChain("silence", nftables.ChainHookOutput, beforeFilter)
	output := natChain("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	postrouting := natChain("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)

	for _, n := range p.Lab.Networks {
		for _, s := range n.Segments {
			if s.Existing {
				continue
			}
			from, notFrom := iif(expr.CmpOpEq, s.Bridge), iif(expr.CmpOpNeq, s.Bridge)
			to, notTo := oif(expr.CmpOpEq, s.Bridge), oif(expr.CmpOpNeq, s.Bridge)
			subnet := k.subnet(s)
			if gateway := k.gateway(n); gateway.IsValid() {
				gateway := netip.PrefixFrom(gateway, gateway.BitLen())
				if k.loopback.IsValid() {
					guard.add(from, daddr(k.loopback), drop)
				}
				input.add(notFrom, iif(expr.CmpOpNeq, "lo"), daddr(gateway), drop)
				if k.neighbours.IsValid() {
					input.add(from, saddr(k.neighbours), icmp6, accept)
				}
				input.add(from, notSaddr(subnet), drop)
				prerouting.add(notFrom, daddr(gateway), accept)
			}
			if n.Sided() {
				guard.add(from, notrack)
				silence.add(to, drop)
				input.add(from, drop)
			}
			forward.add(from, to, accept)
			if !n.Sided() && !subnet.IsValid() { // the network has IPv4 alone
				input.add(from, drop)
			}
			if n.Uplink != topology.UplinkNAT || !subnet.IsValid() {
				forward.add(from, drop)
				forward.add(to, drop)
				continue
			}
			forward.add(from, notSaddr(subnet), drop)
			forward.add(to, established, accept)
			forward.add(to, translated, accept)
			forward.add(to, drop)
			postrouting.add(saddr(subnet), notTo, masquerade)
			postrouting.add(saddr(subnet), to, translated, masquerade)
			postrouting.add(to, translated, saddrLocal, masquerade)
		}
	}
	for _, n := range p.Lab.Networks {
		for _, link := range ovsLinks(n) {
			input.add(iif(expr.CmpOpEq, link), drop)
			forward.add(iif(expr.CmpOpEq, link), drop)
		}
	}
	for _, n := range p.Lab.Nodes {
		for _, c := range n.NICs {
			if (c.Mirror != "" || c.OVS) && c.Link != "" { // what it sends is for nobody, or for Open vSwitch alone
				input.add(iif(expr.CmpOpEq, c.Link), drop)
				forward.add(iif(expr.CmpOpEq, c.Link), drop)
			}
			if c.Kind == topology.KindMacvtap { // up, and on a cable, before it can be quieted
				silence.add(oif(expr.CmpOpEq, c.Link), drop)
			}
		}
	}
	for _, port := range p.ports(k) {
		match, err := k.addressed(port.Publish)
		if err != nil {
			return nil, err
		}
		prerouting.add(match, dnat(port.node, port.Port))
		output.add(match, dnat(port.node, port.Port))
	}
	return []chain{guard, input, forward, prerouting, silence, output, postrouting}, nil
}

// ovsLinks are the links that a network has in bridges of Open vSwitch's, but for the nodes'.
func ovsLinks(n topology.Network) []string {
	var links []string
	for _, s := range n.Segments {
		if s.OVS && s.Uplink != "" {
			links = append(links, s.Uplink)
		}
	}
	if n.Wire != nil {
		for _, end := range n.Wire.Ends {
			if end.OVS {
				links = append(links, end.Link)
			}
		}
	}
	return links
}

// addressed matches what is sent to a published port of the host.
func (k kind) addressed(pub topology.Publish) (rule, error) {
	protocol, err := l4proto(pub.Protocol)
	if err != nil {
		return nil, err
	}
	match := slices.Concat(daddrLocal, protocol, dport(pub.HostPort))
	if pub.HostAddress.IsValid() {
		return slices.Concat(daddr(netip.PrefixFrom(pub.HostAddress, pub.HostAddress.BitLen())), match), nil
	}
	for _, p := range k.unpublished {
		match = slices.Concat(notDaddr(p), match)
	}
	return match, nil
}

// routeLocalnet lets the host's connections from 127.0.0.1 leave through a bridge.
func routeLocalnet(bridge string) string {
	return "/proc/sys/net/ipv4/conf/" + bridge + "/route_localnet"
}
