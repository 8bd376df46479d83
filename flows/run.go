package flows

import (
	"encoding/json"
	"time"
)

// Run is what a run's folder holds of it.
type Run struct {
	Dir      string
	Manifest Manifest
	Results  []Result // in the order of their planned instants
}

// Format is that of a run's folder.
const Format = 1

// How a run stands.
const (
	Running     = "running"
	Done        = "done"        // every flow went through
	Failed      = "failed"      // some did not, or the capture did not
	Interrupted = "interrupted" // by a user
)

// Manifest is how a run came about.
type Manifest struct {
	Format     int               `json:"format"`
	ID         string            `json:"id"` // the folder's name: LAB-TIME
	Lab        string            `json:"lab"`
	Began      time.Time         `json:"began"` // its zero instant, by the host's clock
	Seconds    float64           `json:"seconds"`
	State      string            `json:"state"`
	Wrong      []string          `json:"wrong"`   // why it failed, or is not to be trusted; empty where all is well
	Trusted    bool              `json:"trusted"` // what was measured can be believed
	Client     string            `json:"client"`  // the node that runs iperf3's clients
	Server     string            `json:"server"`  // and that which runs its servers
	Flows      int               `json:"flows"`
	Captures   []Account         `json:"captures"`
	Before     []Offset          `json:"clocksBefore"`
	After      []Offset          `json:"clocksAfter"`
	Stored     *Stored           `json:"influxdb,omitempty"`
	Versions   map[string]string `json:"versions"`   // of programs in the nodes, by NODE/PROGRAM
	Provenance json.RawMessage   `json:"provenance"` // the lab's, as labctl status --json has it
}

// Stored is what became of the run's points in an InfluxDB.
type Stored struct {
	Database string `json:"database"`
	Points   int    `json:"points"`  // of the run
	Counted  int    `json:"counted"` // in the database, afterwards
	Failed   string `json:"failed,omitempty"`
}

// The files in a run's folder, beside it flows/, iperf3/ and capture/.
const (
	ManifestFile = "manifest.json"
	ResultsFile  = "results.json"
	SummaryFile  = "summary.csv"
	SeriesFile   = "series.csv"
	PointsFile   = "points.txt" // InfluxDB's line protocol
	ReportFile   = "report.html"
)
