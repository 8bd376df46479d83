package host

import (
	"encoding/xml"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Format is the version of the marks that this labctl writes.
const Format = 1

// TagNamespace is the XML namespace of marks.
const TagNamespace = "urn:labctl:lab:1"

// Tag marks a domain, a network or a lab's folder as a lab's own. libvirt keeps
// it in the object's XML, so it is written with the object, in one call, and
// outlives labctl. It holds what is needed to decide the lab again: the file's
// text and what was chosen for it.
type Tag struct {
	XMLName xml.Name `xml:"urn:labctl:lab:1 lab"`
	Lab     string   `xml:"name,attr"`
	Format  int      `xml:"format,attr"`
	From    string   `xml:"from,attr,omitempty"` // where the file came from, for people
	Dir     string   `xml:"dir,attr,omitempty"`  // labctl's folder, in which the lab's own is
	Chosen  []Chosen `xml:"chosen,omitempty"`
	Devices []Found  `xml:"device,omitempty"`
	File    string   `xml:"file"`
	// Borrowed are the NICs of the host that the marked object itself has.
	Borrowed []Borrowed `xml:"borrowed,omitempty"`
}

// Chosen is a subnet that the file left open and labctl chose.
type Chosen struct {
	Network string       `xml:"network,attr"`
	Subnet  netip.Prefix `xml:"subnet,attr"`
}

// Found is a PCI device that a NIC of the lab is, as it was found when the lab was made.
type Found struct {
	Node        string `xml:"node,attr"`
	Network     string `xml:"network,attr"`
	Address     string `xml:"address,attr"`
	PF          string `xml:"pf,attr,omitempty"` // the link of whose virtual functions it was chosen
	VF          bool   `xml:"vf,attr,omitempty"`
	MAC         string `xml:"mac,attr,omitempty"` // a whole device's own
	Representor string `xml:"representor,attr,omitempty"`
}

// XML is the tag as it stands inside <metadata>.
func (t Tag) XML() (string, error) {
	b, err := xml.Marshal(t)
	return string(b), err
}

// Subnets are the chosen subnets by network.
func (t Tag) Subnets() map[string]netip.Prefix {
	m := make(map[string]netip.Prefix, len(t.Chosen))
	for _, c := range t.Chosen {
		m[c.Network] = c.Subnet
	}
	return m
}

// ReadTag reads the tag in what stands inside an object's <metadata>; false
// means that it bears none. The metadata may hold other programs' elements too.
// Beside an error it tells the format, as far as that was read.
func ReadTag(metadata string) (Tag, bool, error) {
	d := xml.NewDecoder(strings.NewReader(metadata))
	for {
		token, err := d.Token()
		if token == nil {
			return Tag{}, false, nil // the end, or not XML: no tag of ours
		}
		if err != nil {
			return Tag{}, false, err
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if start.Name.Space != TagNamespace || start.Name.Local != "lab" {
			if err := d.Skip(); err != nil {
				return Tag{}, false, err
			}
			continue
		}
		var t Tag
		if err := d.DecodeElement(&t, &start); err != nil {
			return Tag{Format: t.Format}, true, fmt.Errorf("read labctl's mark: %w", err)
		}
		return t, true, nil
	}
}

// Unreadable is an object whose mark cannot be read: some lab's, as far as its name tells.
type Unreadable struct {
	Kind   string // "domain", "network" or "folder"
	Object string // libvirt's name, or the folder's
	Err    error
}

func (u Unreadable) Error() string { return u.Kind + " " + u.Object + ": " + u.Err.Error() }

func (u Unreadable) Unwrap() error { return u.Err }

// Equal says whether two marks say the same of a lab: not what their objects have borrowed.
func (t Tag) Equal(o Tag) bool {
	return t.Lab == o.Lab && t.Format == o.Format && t.Dir == o.Dir && t.File == o.File &&
		slices.Equal(t.Chosen, o.Chosen) && slices.Equal(t.Devices, o.Devices)
}
