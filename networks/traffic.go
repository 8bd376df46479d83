package networks

import "github.com/mami-project/labctl/topology"

// Traffic is what passed a NIC since its link on the host was made, as its node sees it.
type Traffic struct {
	Sent     Passed `json:"sent"`
	Received Passed `json:"received"`
}

// Passed counts the frames of one direction.
type Passed struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"` // with Ethernet header, without frame check sequence
	// Dropped counts those that did not get through: of what is received, mostly for the
	// machine not taking them in time.
	Dropped uint64 `json:"dropped"`
}

// TrafficOf reads what passed a NIC; nil where it has no link on the host.
func TrafficOf(c topology.NIC) (*Traffic, error) {
	if c.Link == "" {
		return nil, nil
	}
	l, err := link(c.Link)
	if err != nil || l == nil || l.Attrs().Statistics == nil {
		return nil, err
	}
	s := l.Attrs().Statistics
	in, out := Passed{s.RxPackets, s.RxBytes, s.RxDropped}, Passed{s.TxPackets, s.TxBytes, s.TxDropped}
	if c.Kind == topology.KindMacvtap {
		return &Traffic{Sent: out, Received: in}, nil // the link is the node's own
	}
	return &Traffic{Sent: in, Received: out}, nil // what comes in at a tap is what the node sends
}
