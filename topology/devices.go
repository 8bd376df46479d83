package topology

import "fmt"

// find gives the NICs the devices that were found for them, as far as the file
// still asks for those: each to one, in the file's order.
func (d *draft) find(devices []Device) {
	for _, found := range devices {
		n := d.node[found.Node]
		if n == nil {
			continue
		}
		for _, c := range n.nics {
			if p := c.Passthrough; p != nil && c.device.Address == "" && c.network != nil && c.network.name == found.Network && p.PF == found.PF &&
				(p.PF != "" || p.Device == found.Address) {
				c.device = found
				break
			}
		}
	}
}

// kind is what the NIC is to its node: whether a device that the file names is a
// whole one is known once it is found.
func (c *draftNIC) kind() string {
	switch p := c.Passthrough; {
	case p == nil:
		return KindVirtio
	case p.Macvtap != "":
		return KindMacvtap
	case p.PF != "" || c.device.VF:
		return KindVF
	default:
		return KindFunction
	}
}

// capturePoints decides where each mirror takes its copy.
func (d *draft) capturePoints() error {
	for _, n := range d.nodes {
		for _, c := range n.nics {
			if c.Mirror == nil {
				continue
			}
			c.point = c.capturePoint(d.Name)
			from := c.copied
			if c.point.Kind == "" && from.device.Address != "" { // one that is not found yet may have a representor
				return Problems{{d.source, d.lines.line(c.at.to("mirror")), d.nowhere(c, from), waysToCapture(from)}}
			}
		}
	}
	return nil
}

// capturePoint is where the frames of the mirrored NIC can be copied; the zero
// CapturePoint where they pass the host nowhere. What was named for it goes first.
func (c *draftNIC) capturePoint(lab string) CapturePoint {
	from := c.copied
	uplink := from.network.Uplinks[from.Side]
	if bridge := from.network.bridgeOf(from.Side); bridge != "" {
		uplink = "" // whose frames are others' too
	}
	switch kind := from.kind(); {
	case c.Mirror.Port != "":
		return CapturePoint{PointPort, c.Mirror.Port}
	case kind == KindVirtio && from.network.ovs(from.Side):
		return CapturePoint{PointOVS, LinkName("tap", lab, from.names()...)}
	case kind == KindVirtio:
		return CapturePoint{PointTap, LinkName("tap", lab, from.names()...)}
	case kind == KindMacvtap:
		return CapturePoint{PointMacvtap, LinkName("tap", lab, from.names()...)}
	case uplink != "":
		return CapturePoint{PointUplink, uplink}
	case from.device.Representor != "":
		return CapturePoint{PointRepresentor, from.device.Representor}
	default:
		return CapturePoint{}
	}
}

func (d *draft) nowhere(c, from *draftNIC) string {
	return fmt.Sprintf("%s mirrors %s, which is %s of the host: its frames pass the host nowhere", c.node.at, from.at, from.device.Address)
}

// waysToCapture are the ways to copy the frames of a passthrough NIC.
func waysToCapture(from *draftNIC) string {
	return fmt.Sprintf("cable it to another NIC of the host, and name that one in uplinks: {%s: NIC} of %s; "+
		"or let a switch's mirror port or an optical tap feed a NIC of the host, and name that one in mirror: {from: %s, port: NIC}; "+
		"or use a virtual function of a NIC whose switch is in switchdev mode, and its representor is copied; "+
		"or use passthrough: {macvtap: NIC}, whose frames pass the host", from.Side, from.network.at, from.node.name)
}

// givePorts tells each segment the NICs of the host that are fed a copy of what passes it.
func (d *draft) givePorts(ns []Network) {
	for _, n := range d.nodes {
		c := n.capture()
		if c == nil || c.Mirror.Port == "" {
			continue
		}
		from := c.copied
		for i := range ns {
			for k := range ns[i].Segments {
				if s := &ns[i].Segments[k]; s.Network == from.network.name && s.Side == from.Side {
					s.Ports = append(s.Ports, c.Mirror.Port)
				}
			}
		}
	}
}

// uses are the NICs of the host that the file names for one use alone, in its
// order. A NIC of which virtual functions are taken is not among them.
func (d *draft) uses() []use {
	var all []use
	add := func(at path, nic string) {
		if nic != "" {
			all = append(all, use{at, nic})
		}
	}
	for _, n := range d.networks {
		for _, side := range n.Sides {
			if n.bridgeOf(side) == "" { // one that several networks may be on
				add(n.at.to("uplinks", side), n.Uplinks[side])
			}
		}
	}
	for _, n := range d.nodes {
		for _, c := range n.nics {
			if p := c.Passthrough; p != nil {
				add(c.at.to("passthrough"), p.Device)
				add(c.at.to("passthrough"), p.Macvtap)
			}
			if c.Mirror != nil {
				add(c.at.to("mirror", "port"), c.Mirror.Port)
			}
		}
	}
	return all
}

// use is a NIC of the host and where the file names it.
type use struct {
	at  path
	nic string
}
