// Package lab brings labs up and takes them down.
//
// A lab is one ordered list of resources, in stages: what stands in one stage
// needs only earlier ones. Every command is a walk of it:
//
//	plan     forwards,  asking each for its State
//	up       forwards,  Create on those not Present, stage by stage; then Ready, all at once
//	status   forwards,  asking each for its State, plus strays found on the host
//	down     backwards, Destroy on what the host says is there, past failures; then look again
package lab

import (
	"context"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab/kept"
	"github.com/mami-project/labctl/networks"
	"github.com/mami-project/labctl/topology"
)

// Removable is something on the host which belongs to a lab.
type Removable interface {
	String() string // as users see it: "network/control"
	// State looks how much of it is there.
	State(context.Context) (host.State, error)
	// Destroy removes whatever of it is there. Nothing there is not an error.
	Destroy(context.Context) error
}

// Resource is a Removable which labctl also knows how to make.
type Resource interface {
	Removable
	// Create completes it, from nothing or from what an interrupted run left.
	Create(context.Context) error
}

// Waiter is a Resource which is not ready as soon as it is made.
type Waiter interface {
	Resource
	// Wait waits until it is ready or ctx ends, and tells what for.
	Wait(ctx context.Context, tell func(what string)) error
}

var _ Waiter = domains.Machine{}

// Build is a lab as decided, with what its resources need beside it.
type Build struct {
	On    *host.Host
	Lab   topology.Lab
	From  string // the lab's file, which its paths are relative to; not needed to look or to remove
	Tag   host.Tag
	Made  Made
	Bases map[string]images.Base // by the node's name; not needed to look or to remove
	State kept.State             // the ready state that nodes go on from where it has their memory; the zero State: they boot
	Accel string                 // topology.AccelKVM or topology.AccelTCG
}

// Resources lists what a lab is made of, in stages: each stage needs only what
// stands before it, and inside a stage the order does not matter.
func (b Build) Resources() [][]Resource {
	var segments, wires, disks, machines, mirrors, impairments []Resource
	for _, s := range b.segments() {
		segments = append(segments, s)
	}
	for _, n := range b.Lab.Networks {
		if n.Wire != nil {
			wires = append(wires, networks.Wire{Network: n})
		}
	}
	for _, n := range b.Lab.Nodes {
		disks = append(disks, b.disk(n))
		machines = append(machines, b.machine(n))
	}
	for _, s := range b.seeds() {
		disks = append(disks, s)
	}
	for _, m := range b.Mirrors() {
		mirrors = append(mirrors, m)
	}
	for _, i := range b.impairments() {
		impairments = append(impairments, i)
	}
	return [][]Resource{
		{b.folder()},
		{b.keys()},
		append(segments, disks...),
		{networks.Publish{Lab: b.Lab}}, // keeps the host silent on what machines bring up
		append(wires, machines...),
		mirrors,
		impairments, // once the lab is proven without
	}
}

// Machines are the lab's machines, in the order of its nodes.
func (b Build) Machines() []domains.Machine {
	var ms []domains.Machine
	for _, n := range b.Lab.Nodes {
		ms = append(ms, b.machine(n))
	}
	return ms
}
