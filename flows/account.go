package flows

import (
	"fmt"
	"strings"
)

// Account is where the frames of a run's capture went, by each point on the way.
// Frames that passed while it began or ended may stand at one point and not at the next.
type Account struct {
	Node     string `json:"node"`             // that captures
	Of       string `json:"of"`               // the node whose NIC is copied
	Filter   string `json:"filter,omitempty"` // what it leaves out is not missing
	Snaplen  int    `json:"snaplen"`          // bytes kept of a frame; 0 for all
	AtNIC    Frames `json:"atNic"`            // that passed the copied NIC, both directions
	Mirrored Frames `json:"mirrored"`         // that the mirror saw
	Received Frames `json:"received"`         // by the capturing node's NIC
	Written  Frames `json:"written"`          // to the file, by its own records
	Drops    Drops  `json:"drops"`
	Failed   string `json:"failed,omitempty"` // why there is no whole capture
}

// Frames are Ethernet frames, without frame check sequence.
type Frames struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// Drops are frames that are known to be lost, by where.
type Drops struct {
	Mirror  uint64 `json:"mirror"`  // seen by the mirror, and not copied
	Tap     uint64 `json:"tap"`     // copied, and not taken by the capturing machine
	NIC     uint64 `json:"nic"`     // there, by its NIC's driver
	Kernel  uint64 `json:"kernel"`  // dumpcap's socket had no room
	Dumpcap uint64 `json:"dumpcap"` // dumpcap had no time
}

// Sum is their number.
func (d Drops) Sum() uint64 { return d.Mirror + d.Tap + d.NIC + d.Kernel + d.Dumpcap }

// Missing are the frames that the mirror saw and the file does not have; 0 where a
// filter was set, but for those known to be dropped.
func (a Account) Missing() uint64 {
	if a.Filter != "" || a.Written.Frames >= a.Mirrored.Frames {
		return a.Drops.Sum()
	}
	return a.Mirrored.Frames - a.Written.Frames
}

// Offset is how far a node's clock is from the host's.
type Offset struct {
	Node        string  `json:"node"`
	Milli       float64 `json:"ms"`               // positive where the node's clock is ahead
	Uncertainty float64 `json:"uncertaintyMs"`    // the true offset is no further from it
	Source      string  `json:"source,omitempty"` // what disciplines the node's clock
	Failed      string  `json:"failed,omitempty"` // why it is not known
}

// Where tells where frames were lost, as far as that is known.
func (a Account) Where() string {
	places := []struct {
		n  uint64
		at string
	}{
		{a.Drops.Mirror, "not copied by the mirror"},
		{a.Drops.Tap, "not taken by the capturing machine"},
		{a.Drops.NIC, "dropped by its NIC"},
		{a.Drops.Kernel, "dropped by its kernel"},
		{a.Drops.Dumpcap, "dropped by dumpcap"},
	}
	var said []string
	for _, p := range places {
		if p.n > 0 {
			said = append(said, fmt.Sprintf("%d %s", p.n, p.at))
		}
	}
	if rest := a.Missing() - min(a.Missing(), a.Drops.Sum()); rest > 0 {
		said = append(said, fmt.Sprintf("%d unaccounted for", rest))
	}
	return strings.Join(said, ", ")
}
