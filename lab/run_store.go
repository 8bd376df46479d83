package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/topology"
)

// How long an InfluxDB may take to take the run's points: it may be starting anew.
const storeTime = time.Minute

// store keeps the run's points in its folder, writes them to the lab's InfluxDB, and
// counts them there.
func (r *running) store(ctx context.Context, tell Tell) {
	file := filepath.Join(r.run.Dir, flows.PointsFile)
	var points bytes.Buffer
	n, err := r.run.Points(&points)
	if err == nil {
		err = os.WriteFile(file, points.Bytes(), 0o644)
	}
	if err != nil {
		r.run.Manifest.Wrong = append(r.run.Manifest.Wrong, fmt.Sprintf("InfluxDB's points: %v", err))
		return
	}
	node, ok := r.stores()
	if !ok {
		return
	}
	tell.note("run", "lab/"+r.Lab.Name, fmt.Sprintf("%d points are written to %s", n, node.Name))
	address, _ := node.ControlAddress()
	influx := flows.Influx{URL: "http://" + netip.AddrPortFrom(address, domains.InfluxPort).String(), Database: r.Lab.Name, HTTP: &http.Client{Timeout: storeTime}}
	s := &flows.Stored{Database: influx.Database, Points: n}
	r.run.Manifest.Stored = s
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	for {
		s.Counted, err = into(ctx, influx, r.run.Manifest.ID, points.Bytes())
		if err == nil && s.Counted == n {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
			continue
		}
		break
	}
	if err == nil {
		err = errors.New("not all are there")
	}
	s.Failed = fmt.Sprintf("%d of the run's %d points are in the InfluxDB of node %s: %v; all are kept in %s, and written once it serves by: curl -fsS --data-binary @%s '%s/write?db=%s'",
		s.Counted, n, node.Name, err, file, file, influx.URL, influx.Database)
}

// into writes points to an InfluxDB, and counts what it has of the run then.
func into(ctx context.Context, influx flows.Influx, run string, points []byte) (int, error) {
	if err := influx.Create(ctx); err != nil {
		return 0, err
	}
	if err := influx.Write(ctx, bytes.NewReader(points)); err != nil {
		return 0, err
	}
	return influx.Count(ctx, run)
}

// stores is the node that runs the lab's InfluxDB.
func (r *running) stores() (topology.Node, bool) {
	i := slices.IndexFunc(r.Lab.Nodes, func(n topology.Node) bool {
		_, reached := n.ControlAddress()
		return reached && slices.Contains(n.Services, topology.ServiceInfluxDB)
	})
	if i < 0 {
		return topology.Node{}, false
	}
	return r.Lab.Nodes[i], true
}
