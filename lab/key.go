package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
)

// keptFormat is another where a state that an older labctl saved cannot be gone on from.
const keptFormat = "1"

// inputs are all that a ready state of the lab depends on, by what a user would call it:
// the same inputs, the same state.
func (b Build) inputs(keys images.Keys) (map[string]string, error) {
	lib, err := b.On.GetLibVersion()
	if err != nil {
		return nil, err
	}
	qemu, err := b.On.GetVersion()
	if err != nil {
		return nil, err
	}
	processor, err := processor(b.On)
	if err != nil {
		return nil, err
	}
	in := map[string]string{
		"format": keptFormat, "libvirt": dotted(lib), "QEMU": dotted(qemu), "the host's processor": sumOf(processor), "accelerator": b.Accel,
	}
	for _, n := range b.Lab.Nodes {
		base := b.Bases[n.Name]
		in["the image of "+n.Name] = base.Digest + " " + base.Files["disk.qcow2"].SHA256
		machine, err := domains.Render(n, b.boot(n), host.Tag{})
		if err != nil {
			return nil, err
		}
		text, err := machine.Marshal()
		if err != nil {
			return nil, err
		}
		in["the machine of "+n.Name] = sumOf(text, fmt.Sprint(n.DiskBytes))
		files, err := b.filesWith(keys, n)()
		if err != nil {
			return nil, err
		}
		parts := []string{}
		for _, f := range files {
			parts = append(parts, f.Path, f.Mode.String(), f.Link, string(f.Data))
		}
		if b.seeded(n) {
			parts = append(parts, fmt.Sprint(resolvers()))
		}
		in["the files of "+n.Name] = sumOf(parts...)
	}
	return in, nil
}

// keyOf is the name of the state of those inputs.
func keyOf(inputs map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		all = append(all, name, inputs[name])
	}
	return sumOf(all...)[:24]
}

// sumOf is one for all of the texts, in their order and with their lengths.
func sumOf(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(h, "%d:%s", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// processor is what libvirt says of the host's.
func processor(h *host.Host) (string, error) {
	text, err := h.GetCapabilities()
	if err != nil {
		return "", err
	}
	var all struct {
		CPU struct {
			Description string `xml:",innerxml"`
		} `xml:"host>cpu"`
	}
	if err := xml.Unmarshal([]byte(text), &all); err != nil {
		return "", fmt.Errorf("read libvirt's capabilities: %w", err)
	}
	return all.CPU.Description, nil
}
