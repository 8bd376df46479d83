package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/topology"
)

// RunWanted is what to measure.
type RunWanted struct {
	Flows  []flows.Flow
	Texts  map[string][]byte // their files, kept with the run, by the names they get there
	Dir    string            // the folder of runs
	Client string            // the node that runs the flows' clients; "" for the first that there can be
	Server string            // and their servers; "" for the first beyond the network under test from there
	Filter string            // of the capture, in libpcap's language; "" for every frame
	Snap   int               // bytes kept of each captured frame; 0 for all
	Most   float64           // of the frames, as a share, that may be missing in the capture of a trusted run
	Grace  time.Duration     // how long after the last that is planned flows may still run
}

// running is a run under way.
type running struct {
	Build
	RunWanted
	run      flows.Run
	traffic  flows.Experiment
	captures []*runCapture
}

// Run measures: it runs the flows between two nodes while frames are captured, and
// keeps what comes of it in a folder of its own, whole or not. The error is why there
// is no run, or why it was cut short; what is wrong with a run stands in its manifest.
func (b Build) Run(ctx context.Context, w RunWanted, tell Tell) (flows.Run, error) {
	unlock, err := lock(ctx, b.Lab.Name, "labctl run", tell)
	if err != nil {
		return flows.Run{}, err
	}
	defer unlock()
	r, err := b.prepareRun(ctx, w, tell)
	if err != nil {
		return flows.Run{}, err
	}
	err = r.measure(ctx, tell)
	return r.finish(ctx, tell, err)
}

// prepareRun finds the ends of the flows, and makes the run's folder.
func (b Build) prepareRun(ctx context.Context, w RunWanted, tell Tell) (*running, error) {
	client, server, err := b.ends(w.Client, w.Server)
	if err != nil {
		return nil, err
	}
	if err := b.leadTo(w.Flows, server); err != nil {
		return nil, err
	}
	look, err := b.Look(ctx)
	if err != nil {
		return nil, err
	}
	if look.State != Whole {
		return nil, fmt.Errorf("lab %s is %s; labctl up makes it whole", b.Lab.Name, look.State)
	}
	provenance, err := json.Marshal(look)
	if err != nil {
		return nil, err
	}
	r := &running{Build: b, RunWanted: w}
	r.traffic = flows.Experiment{
		Flows: w.Flows, Client: guest{b, client.node}, Server: guest{b, server.node},
		From: client.address, To: server.address, Grace: w.Grace,
		Tell: func(what string) { tell.note("run", "lab/"+b.Lab.Name, what) },
	}
	r.run.Manifest = flows.Manifest{
		Format: flows.Format, Lab: b.Lab.Name, State: flows.Running, Began: time.Now().UTC(),
		Client: client.node.Name, Server: server.node.Name, Flows: len(w.Flows), Provenance: provenance,
	}
	if err := r.folder(); err != nil {
		return nil, err
	}
	return r, r.run.Write()
}

// leadTo refuses flows whose file names another server than they will run to.
func (b Build) leadTo(fs []flows.Flow, server end) error {
	var found topology.Problems
	for _, f := range fs {
		to := f.Client.ServerAddress
		at, ok := b.Lab.Node(to)
		if to == "" || to == server.address.String() || ok && at.Name == server.node.Name {
			continue
		}
		found = append(found, topology.Problem{
			File: f.File, Line: f.Line, Msg: fmt.Sprintf("flow %s: server-address is %s, and the server is %s (%s)", f.Label, to, server.node.Name, server.address),
			Hint: "name that node or its address there, or leave it out; labctl run --server NODE chooses another",
		})
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

// folder makes the run's folder, of a name that no other run has, with its flow files.
func (r *running) folder() error {
	if err := os.MkdirAll(r.Dir, 0o755); err != nil {
		return err
	}
	name := r.Lab.Name + "-" + r.run.Manifest.Began.Format("20060102T150405Z")
	for n := 1; ; n++ {
		r.run.Manifest.ID = name
		if n > 1 {
			r.run.Manifest.ID = fmt.Sprintf("%s.%d", name, n)
		}
		r.run.Dir = filepath.Join(r.Dir, r.run.Manifest.ID)
		err := os.Mkdir(r.run.Dir, 0o755)
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, dir := range []string{"flows", "iperf3", "capture"} {
		if err := os.Mkdir(filepath.Join(r.run.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	for name, text := range r.Texts {
		if err := os.WriteFile(filepath.Join(r.run.Dir, "flows", name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// measure runs the flows while frames are captured.
func (r *running) measure(ctx context.Context, tell Tell) error {
	resource := "lab/" + r.Lab.Name
	m := &r.run.Manifest
	m.Before = r.WaitClocks(ctx, tell)
	m.Versions = r.versions(ctx)
	tell.note("run", resource, fmt.Sprintf("%d servers start", len(r.Flows)))
	if err := r.traffic.Listen(ctx); err != nil {
		return err
	}
	tell.note("run", resource, "captures start")
	if err := r.beginCaptures(ctx); err != nil {
		return err
	}
	tell.note("run", resource, fmt.Sprintf("%d flows run", len(r.Flows)))
	zero, err := r.traffic.Send(ctx)
	if !zero.IsZero() {
		m.Began = zero.Add(-r.ahead(m.Client)).UTC()
	}
	return err
}

// ahead is how far a node's clock is ahead of the host's, as far as it is known.
func (r *running) ahead(node string) time.Duration {
	i := slices.IndexFunc(r.run.Manifest.Before, func(o flows.Offset) bool { return o.Node == node && o.Failed == "" })
	if i < 0 {
		return 0
	}
	return time.Duration(r.run.Manifest.Before[i].Milli * float64(time.Millisecond))
}
