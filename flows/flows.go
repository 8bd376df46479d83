// Package flows measures with traffic: it reads trafic's flow files, runs them
// between two nodes with iperf3, and makes a result one can publish of it, or says
// why one cannot.
//
// A run goes from file to report in this order: Load (files, folders and mixes to
// flows), Schedule (what starts when), Run (iperf3 in the nodes, by a Guest), Result
// (what both ends say of each start), and what is made of these in the run's folder:
// the summary, the series, InfluxDB's points, the verdict on expectations, the report.
package flows

import "time"

// Flow is one flow as its file describes it: an iperf3 server on one node, and an
// iperf3 client on another that is started at each instant of At.
type Flow struct {
	Label  string // its name in the run, unique
	Class  string // its kind in a mix, such as realtime-audio; else what its label begins with
	Client Client
	Server Server
	File   string // where it was read from, for messages
	Line   int    // of its label there, from 1
}

// Protocols of a flow, as InfluxDB's tag type has them.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Protocol is TCP or UDP.
func (f Flow) Protocol() string {
	if f.Client.UDP {
		return UDP
	}
	return TCP
}

// Start is one start of a flow's client.
type Start struct {
	Flow  int           // its index among the run's flows
	Nth   int           // which of the flow's starts, from 0
	After time.Duration // the run's beginning
}
