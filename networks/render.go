// Package networks is what joins a lab's machines: layer-2 segments, the wire
// between two sides, the copy of a NIC's frames, and the ports that lead from
// outside into the lab.
package networks

import (
	"fmt"

	"libvirt.org/go/libvirtxml"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Render is libvirt's description of one segment of a network, bearing the
// lab's mark. Neither DHCP nor DNS is served: addresses and names are written
// into the nodes.
func Render(n topology.Network, s topology.Segment, tag host.Tag) (*libvirtxml.Network, error) {
	mark, err := tag.XML()
	if err != nil {
		return nil, fmt.Errorf("write labctl's mark: %w", err)
	}
	x := &libvirtxml.Network{
		Name:     s.Object,
		UUID:     s.UUID,
		Metadata: &libvirtxml.NetworkMetadata{XML: mark},
		Bridge:   &libvirtxml.NetworkBridge{Name: s.Bridge, STP: "off", Delay: "0"},
		MAC:      &libvirtxml.NetworkMAC{Address: s.MAC.String()},
		DNS:      &libvirtxml.NetworkDNS{Enable: "no"},
	}
	if s.OVS { // which libvirt takes as it is
		x.Bridge, x.MAC, x.DNS = &libvirtxml.NetworkBridge{Name: s.Bridge}, nil, nil
		x.Forward = &libvirtxml.NetworkForward{Mode: "bridge"}
		x.VirtualPort = &libvirtxml.NetworkVirtualPort{Params: &libvirtxml.NetworkVirtualPortParams{OpenVSwitch: &libvirtxml.NetworkVirtualPortParamsOpenVSwitch{}}}
		return x, nil
	}
	if s.MTU > 0 {
		x.MTU = &libvirtxml.NetworkMTU{Size: uint(s.MTU)}
	}
	if n.Uplink == topology.UplinkNAT {
		// Not mode nat, whose rules reject published ports; Publish translates.
		x.Forward = &libvirtxml.NetworkForward{Mode: "route"}
	}
	if n.Gateway.IsValid() {
		x.IPs = []libvirtxml.NetworkIP{{
			Address: n.Gateway.String(),
			Family:  "ipv4",
			Prefix:  uint(s.Subnet.Bits()),
		}}
	}
	if n.Gateway6.IsValid() { // and libvirt announces it to nobody: that would be dnsmasq's part
		x.IPs = append(x.IPs, libvirtxml.NetworkIP{
			Address: n.Gateway6.String(),
			Family:  "ipv6",
			Prefix:  uint(s.Subnet6.Bits()),
		})
	}
	return x, nil
}
