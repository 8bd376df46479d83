package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// Seed is a node's NoCloud seed: an ISO image from which cloud-init makes an
// image into the node at its first boot.
// Source: cloud-init, doc/rtd/reference/datasources/nocloud.rst.
type Seed struct {
	Node      topology.Node
	Path      string                 // in the lab's folder, NODE.iso
	Files     func() ([]File, error) // asked at Create: keys are made just before
	Resolvers func() []netip.Addr    // name servers, for who must install the guest agent
}

func (s Seed) String() string { return "seed/" + s.Node.Name }

func (s Seed) part() string    { return s.Path + host.PartExt }
func (s Seed) scratch() string { return s.Path + ".files" }

// State is Present where the seed is there, which is only when it is whole, and
// Partial where an interrupted run left some of it.
func (s Seed) State(context.Context) (host.State, error) {
	found := host.Absent
	for p, means := range map[string]host.State{s.Path: host.Present, s.part(): host.Partial, s.scratch(): host.Partial} {
		_, err := os.Lstat(p)
		if err == nil {
			found = max(found, means)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return host.Absent, err
		}
	}
	return found, nil
}

// Create makes the seed beside its place, for root alone since it holds private
// keys (libvirt lends it to QEMU as it does disks), and renames. An interrupted or
// failed Create leaves nothing.
func (s Seed) Create(ctx context.Context) error {
	if is, err := s.State(ctx); is == host.Present || err != nil {
		return err
	}
	if err := s.removeParts(); err != nil {
		return err
	}
	texts, err := s.texts()
	if err == nil {
		err = writeISO(s.part(), s.scratch(), seedLabel, texts)
	}
	if err == nil {
		err = host.PutInPlace(s.part(), s.Path)
	}
	if err != nil {
		err = full(filepath.Dir(s.Path), err)
	}
	return errors.Join(err, s.removeParts())
}

// Destroy removes the seed and what an interrupted run left of it.
func (s Seed) Destroy(context.Context) error { return errors.Join(s.removeParts(), remove(s.Path)) }

func (s Seed) removeParts() error {
	return errors.Join(remove(s.part()), os.RemoveAll(s.scratch()))
}

// seedLabel is the volume label by which cloud-init finds a seed.
const seedLabel = "cidata"

// texts are the seed's files.
func (s Seed) texts() (map[string][]byte, error) {
	files, err := s.Files()
	if err != nil {
		return nil, err
	}
	user, err := userData(files, s.Resolvers())
	if err != nil {
		return nil, err
	}
	network, err := networkConfig(s.Node)
	if err != nil {
		return nil, err
	}
	meta := fmt.Sprintf("instance-id: %s\nlocal-hostname: %s\n", s.Node.UUID, s.Node.Name)
	return map[string][]byte{"meta-data": []byte(meta), "user-data": user, "network-config": network}, nil
}
