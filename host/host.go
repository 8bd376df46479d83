// Package host is the machine that labs run on: libvirt's connection and its
// error codes, the marks that tell whose an object is, the locks between
// processes, and the checks made before anything is changed.
package host

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"libvirt.org/go/libvirt"
)

// DefaultDir is where labctl keeps everything of its own: the image cache and one folder a lab.
const DefaultDir = "/var/lib/labctl"

// Host is a connection to the machine that labs run on.
type Host struct {
	*libvirt.Connect
	Dir  string // labctl's folder on it
	Root string // where sysfs and procfs are found: "" is "/"; tests have a tree of their own
	fake bool   // libvirt's test driver: it has no links
	uri  string
	// silent is why libvirt does not answer: then there is no connection. nil where it does.
	silent error
}

// Fake says whether libvirt is its test driver, which runs no machines and has no links.
func (h *Host) Fake() bool { return h.fake }

// Connect opens libvirt at uri ("" for qemu:///system), with dir as labctl's folder.
func Connect(uri, dir string) (*Host, error) {
	if uri == "" {
		uri = "qemu:///system"
	}
	c, err := libvirt.NewConnect(uri)
	if err != nil {
		return nil, Unfit{
			What: fmt.Sprintf("libvirt at %s does not answer: %v", uri, err),
			Fix:  "start it (systemctl start libvirtd, or make setup in labctl's source), and run labctl as root",
		}
	}
	return &Host{Connect: c, Dir: dir, fake: isFake(uri), uri: uri}, nil
}

// How often a libvirt that does not answer is tried again.
const revivePoll = 200 * time.Millisecond

// Revive connects anew where the connection has ended, as when libvirt is restarted:
// it waits until libvirt answers or ctx ends, and calls wait once if it must. Nobody
// else may use h meanwhile.
func (h *Host) Revive(ctx context.Context, wait func()) error {
	for told := false; ; told = true {
		if alive, err := h.IsAlive(); err == nil && alive {
			return nil
		}
		again, err := Connect(h.uri, h.Dir)
		if err == nil {
			h.Connect = again.Connect // the dead one is left: others may hold it
			return nil
		}
		if !told {
			wait()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(revivePoll):
		}
	}
}

func isFake(uri string) bool { return strings.HasPrefix(uri, "test:") }

// In is the host with another folder of labctl's; "" leaves it as it is.
func (h *Host) In(dir string) *Host {
	if dir == "" {
		return h
	}
	other := *h
	other.Dir = dir
	return &other
}

// Close ends the connection.
func (h *Host) Close() {
	if h.silent == nil {
		_, _ = h.Connect.Close()
	}
}

// LabDir is the folder of a lab's own files.
func (h *Host) LabDir(lab string) string { return filepath.Join(h.Dir, "labs", lab) }

// KeptDir is where the ready states of labs are kept, which outlive labs.
func (h *Host) KeptDir() string { return filepath.Join(h.Dir, "kept") }

// ImageDir is the cache of base images, which outlives labs.
func (h *Host) ImageDir() string { return filepath.Join(h.Dir, "images") }

// State is how much of a resource is on the host.
type State int

// The states of a resource.
const (
	Absent  State = iota // nothing of it
	Partial              // some of it: half made, or defined and not running
	Present              // all of it
)

func (s State) String() string {
	return [...]string{"absent", "partial", "present"}[s]
}

// Unfit is a reason why the host cannot run the lab, and the way out.
type Unfit struct {
	What, Fix string
}

func (u Unfit) Error() string { return u.What + "\n  " + u.Fix }

// Missing says whether err means that there is no such domain, network, interface or volume.
func Missing(err error) bool {
	return errors.Is(err, libvirt.ERR_NO_DOMAIN) || errors.Is(err, libvirt.ERR_NO_NETWORK) ||
		errors.Is(err, libvirt.ERR_NO_INTERFACE) || errors.Is(err, libvirt.ERR_NO_STORAGE_VOL)
}

// Gone is err, or nil where it means that the object is not there: for lookups and undefine.
func Gone(err error) error {
	if Missing(err) {
		return nil
	}
	return err
}

// Stopped is err, or nil where it means that the object was not running or is not
// there: for stopping only, since undefine refuses with the same code.
func Stopped(err error) error {
	if errors.Is(err, libvirt.ERR_OPERATION_INVALID) {
		return nil
	}
	return Gone(err)
}
