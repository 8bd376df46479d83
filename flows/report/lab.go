package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// labStatus is what the report reads of the lab, as labctl status --json has it.
type labStatus struct {
	Name     string
	Nodes    []labNode
	Networks []struct {
		Name, Subnet, Gateway, Uplink, UnderTest, Router string
		MTU                                              int
		Segments                                         []struct{ Side, Subnet, Bridge string }
	}
	Mirror []struct {
		From, Network, Side, To, At, Point string
	}
	Impairments []struct {
		Network, Direction, Now, At string
		Mirrors                     []struct{ Node, At string }
		Measured                    *struct{ Text string }
	}
	Provenance struct {
		Labctl, Libvirt, QEMU, HostKernel, Host, Accelerator, File string
		Images                                                     map[string]struct{ Digest, Disk, Kernel string }
	}
}

type labNode struct {
	Name, Image, Accelerator string
	CPUs, MemoryMiB          int
	NICs                     []labNIC
}

type labNIC struct {
	Network, Side, MAC, Address, Link, Mirror, Kind, Device string
	Offloads                                                bool
	MTU                                                     int
}

// readLab reads what a manifest says of the lab; a lab without nodes where it says nothing that is understood.
func readLab(raw json.RawMessage) labStatus {
	var s labStatus
	if json.Unmarshal(raw, &s) != nil {
		return labStatus{}
	}
	return s
}

// fact is a line of the provenance.
type fact struct{ Name, Value string }

func (s labStatus) facts(versions map[string]string) []fact {
	p := s.Provenance
	all := []fact{
		{"labctl", p.Labctl},
		{"host", p.Host},
		{"host's kernel", p.HostKernel},
		{"libvirt", p.Libvirt},
		{"QEMU", p.QEMU},
		{"accelerator", p.Accelerator},
		{"lab file", p.File},
	}
	for _, name := range sortedKeys(p.Images) {
		i := p.Images[name]
		all = append(all, fact{"image " + name, strings.Join(slices.DeleteFunc([]string{
			prefix("recipe sha256:", i.Digest), prefix("disk sha256:", i.Disk), prefix("kernel ", i.Kernel),
		}, empty), "\n")})
	}
	for _, m := range s.Mirror {
		of := strings.Join(slices.DeleteFunc([]string{m.From, strings.Trim(m.Network+"/"+m.Side, "/")}, empty), "'s ")
		all = append(all, fact{"mirror", fmt.Sprintf("%s → %s, at the %s %s", of, m.To, cmp.Or(m.Point, "link"), m.At)})
	}
	for _, i := range s.Impairments {
		said := []string{i.Now}
		for _, m := range i.Mirrors {
			said = append(said, fmt.Sprintf("the mirror of %s copies its frames %s that", m.Node, m.At))
		}
		if i.Measured != nil {
			said = append(said, "measured: "+strings.TrimPrefix(i.Measured.Text, i.Direction+": "))
		}
		all = append(all, fact{"network " + i.Network + " " + i.Direction, strings.Join(said, "\n")})
	}
	for _, n := range s.Nodes {
		all = append(all, fact{"node " + n.Name, fmt.Sprintf("%s, %s, %d CPU, %d MiB", n.Image, cmp.Or(n.Accelerator, "accelerator not known"), n.CPUs, n.MemoryMiB)})
		for _, c := range n.NICs {
			all = append(all, fact{"NIC of " + n.Name, c.text()})
		}
	}
	for _, name := range sortedKeys(versions) {
		all = append(all, fact{name, versions[name]})
	}
	return slices.DeleteFunc(all, func(f fact) bool { return f.Value == "" })
}

func (c labNIC) text() string {
	what := c.Network
	if c.Side != "" {
		what += "/" + c.Side
	}
	if c.Mirror != "" {
		what = "copy of " + strings.Join(slices.DeleteFunc([]string{c.Mirror, what}, empty), "'s ")
	}
	offloads := "offloads off"
	if c.Offloads {
		offloads = "offloads on"
	}
	return strings.Join(slices.DeleteFunc([]string{what, c.Address, strings.TrimSpace(c.Kind + " " + c.Device), offloads, fmt.Sprintf("MTU %d", c.MTU)}, empty), ", ")
}

func empty(s string) bool { return s == "" }

// prefix is "" where there is nothing to prefix.
func prefix(with, s string) string {
	if s == "" {
		return ""
	}
	return with + s
}
