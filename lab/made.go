package lab

import (
	"cmp"
	"encoding/xml"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/mami-project/labctl/host"
)

// Made is when and by whom a lab was made, and how long it is to stay, as far as
// that is known. It stands in the mark in the lab's folder alone: what is told of
// domains and networks is the same whenever they are made.
type Made struct {
	At    *time.Time `xml:"at,attr,omitempty"`
	By    string     `xml:"by,attr,omitempty"`    // the user's name
	UID   string     `xml:"uid,attr,omitempty"`   // the user's number
	With  string     `xml:"with,attr,omitempty"`  // labctl's version
	Until *time.Time `xml:"until,attr,omitempty"` // labctl gc takes the lab down from then on; nil: never
	Start *Start     `xml:"start"`                // how its nodes came to run; nil: not known
}

// now is the host's clock; tests have one of their own.
var now = time.Now

// madeNow is what is to be said of a lab that is made now.
func madeNow() Made {
	at := now().UTC().Truncate(time.Second)
	by, uid := owner()
	return Made{At: &at, By: by, UID: uid, With: Version()}
}

// keep has the lab stay for so long from now on.
func (m *Made) keep(ttl time.Duration) {
	until := now().UTC().Add(ttl).Truncate(time.Second)
	m.Until = &until
}

// Expired says whether the lab was to stay until now at the latest.
func (m Made) Expired() bool { return m.Until != nil && !now().Before(*m.Until) }

// owner is who runs labctl: the user behind sudo, if there is one.
func owner() (name, uid string) {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name, os.Getenv("SUDO_UID")
	}
	uid = strconv.Itoa(os.Getuid())
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	return cmp.Or(name, uid), uid
}

// folderMark is what stands in a lab's folder.
type folderMark struct {
	host.Tag
	Made *Made `xml:"made"`
}

// xml is the mark as it stands in its file.
func (m folderMark) xml() ([]byte, error) {
	b, err := xml.Marshal(m)
	return append(b, '\n'), err
}

// readMade is what a mark in a folder says of when the lab was made: nothing where
// it is an older labctl's, or that part of it cannot be read.
func readMade(mark []byte) Made {
	var m struct {
		XMLName xml.Name `xml:"urn:labctl:lab:1 lab"`
		Made    Made     `xml:"made"`
	}
	if err := xml.Unmarshal(mark, &m); err != nil {
		return Made{}
	}
	return m.Made
}
