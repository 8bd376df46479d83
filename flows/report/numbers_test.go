package report

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/lab/graph"
)

// However intervals lie across bins, no byte is lost or counted twice.
func TestBinsKeepBytes(t *testing.T) {
	for _, interval := range []float64{0.1, 0.2, 0.3, 0.7, 1, 1.7} {
		run := sample("a", 6, 61.3, interval, 3)
		var all []*flows.Result
		sent := 0.0
		for k := range run.Results {
			all = append(all, &run.Results[k])
			for _, i := range run.Results[k].Series {
				sent += float64(i.Bytes) * 8
			}
		}
		b := bin(throughput, all, 61.3, binWidth(61.3, all))
		got := 0.0
		for k, v := range b.Value {
			if !math.IsNaN(v) {
				got += v * min(b.Width, 61.3-float64(k)*b.Width)
			}
		}
		if math.Abs(got-sent) > sent*1e-9 {
			t.Errorf("intervals of %v s: %v bits in bins of %v", interval, got, sent)
		}
		if len(b.Value) > maxBins+1 {
			t.Errorf("intervals of %v s: %d bins", interval, len(b.Value))
		}
	}
}

// Where nothing ran, throughput is nothing, and there is no round-trip time.
func TestGaps(t *testing.T) {
	r := &flows.Result{Protocol: flows.TCP, Series: []flows.Interval{
		{At: 1, Seconds: 1, Bytes: 1000, RTT: 10}, {At: 2, Seconds: 1, Bytes: 1000, RTT: 20}, {At: 5, Seconds: 1, Bytes: 500, RTT: 30},
	}}
	rates := bin(throughput, []*flows.Result{r}, 8, 1)
	if want := []float64{8000, 8000, 0, 0, 4000}; !slices.Equal(rates.Value[1:6], want) || !math.IsNaN(rates.Value[0]) || !math.IsNaN(rates.Value[7]) {
		t.Errorf("throughput %v", rates.Value)
	}
	times := bin(rtt, []*flows.Result{r}, 8, 2)
	if !slices.Equal(times.spans(), [][2]int{{0, 3}}) || times.Value[1] != 20 {
		t.Errorf("round-trip times %v", times.Value)
	}
	times = bin(rtt, []*flows.Result{r}, 8, 1)
	if !slices.Equal(times.spans(), [][2]int{{1, 3}, {5, 6}}) {
		t.Errorf("round-trip times %v", times.Value)
	}
}

// A spike of one interval is still there in a long run: as the greatest of its bin.
func TestBandKeepsSpikes(t *testing.T) {
	r := &flows.Result{Protocol: flows.TCP}
	for k := range 3000 {
		r.Series = append(r.Series, flows.Interval{At: float64(k) * 0.2, Seconds: 0.2, RTT: 10})
	}
	r.Series[1717].RTT = 500
	b := bin(rtt, []*flows.Result{r}, 600, binWidth(600, []*flows.Result{r}))
	if b.fine || slices.Max(b.Greatest) != 500 {
		t.Errorf("fine %v, the greatest is %v", b.fine, slices.Max(b.Greatest))
	}
}

func TestLossIsOfDatagrams(t *testing.T) {
	r := &flows.Result{Protocol: flows.UDP, Series: []flows.Interval{{At: 0, Seconds: 1, Packets: 900, Lost: 0}, {At: 0, Seconds: 1, Packets: 100, Lost: 10}}}
	if got := bin(loss, []*flows.Result{r}, 1, 1).Value[0]; got != 1 {
		t.Errorf("%v %% lost, want 1", got)
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for q, want := range map[float64]float64{0.05: 1, 0.5: 5, 0.95: 10, 0.99: 10} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("of nothing there is a median")
	}
}

func TestNumbers(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.0123: "0.012", 0.99999: "1.00", 1.234: "1.23", 9.999: "10.0", 12.34: "12.3", 999.4: "999", 1234567: "1\u202f234\u202f567"} {
		if got := number(x); got != want {
			t.Errorf("%v is written %q, want %q", x, got, want)
		}
	}
	for want, ab := range map[string][2]float64{"+100 %": {1, 2}, "−50.0 %": {2, 1}, "±0 %": {3, 3}, "": {0, 1}} {
		if got := change(ab[0], ab[1]); got != want {
			t.Errorf("from %v to %v: %q, want %q", ab[0], ab[1], got, want)
		}
	}
}

// The picture has what ran where, what joins the sides, and the NIC that was copied.
func TestPicture(t *testing.T) {
	want := graph.Lab{
		Name: "demo",
		Networks: []graph.Network{
			{Name: "control", Segments: []graph.Segment{{Text: "10.7.1.0/24, uplink nat", Host: "10.7.1.1"}}},
			{Name: "test", Lines: []string{"wire"}, Under: "wire", Segments: []graph.Segment{{Side: "client", Text: "10.7.2.0/24"}, {Side: "server", Text: "10.7.2.0/24"}}},
		},
		Nodes: []graph.Node{
			node("client", "iperf3 client", graph.NIC{Network: "control", Lines: []string{"10.7.1.40"}}, graph.NIC{Network: "test", Side: "client", Lines: []string{"10.7.2.40"}}),
			node("server", "iperf3 server", graph.NIC{Network: "control", Lines: []string{"10.7.1.41"}}, graph.NIC{Network: "test", Side: "server", Lines: []string{"10.7.2.41"}}),
			node("tshark", "", graph.NIC{Network: "control", Lines: []string{"10.7.1.42"}}, graph.NIC{Lines: []string{"copy of client"}, Copy: true}),
		},
		Copies: []graph.Copy{{From: "client", To: "tshark", Network: "test", Side: "client", Lines: []string{"taken at tap lc2"}}},
	}
	if d := cmp.Diff(want, readLab([]byte(labSample)).picture("client", "server")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if readLab(nil).draw("a", "b", "x") != "" || readLab([]byte(`[]`)).draw("a", "b", "x") != "" {
		t.Error("a picture of no lab")
	}
}

// What the network under test did to frames stands in the picture and among the facts.
func TestImpairments(t *testing.T) {
	s := readLab([]byte(`{
   "nodes": [{"name": "client"}],
   "networks": [{"name": "test", "underTest": "wire", "segments": [{"side": "a"}, {"side": "b"}]}],
   "impairments": [
     {"network": "test", "direction": "a->b", "file": "none", "now": "rate 2mbit", "at": "lcw1", "mirrors": [{"node": "client", "at": "before"}], "measured": {"text": "a->b: rate 1.99 of 2 mbit/s"}},
     {"network": "test", "direction": "b->a", "file": "none", "now": "none", "at": "lcw2", "mirrors": [{"node": "client", "at": "after"}]}
   ]
 }`))
	if got := s.picture("client", "").Networks[0].Lines; !slices.Equal(got, []string{"wire", "a->b: rate 2mbit"}) {
		t.Errorf("the picture says %q", got)
	}
	for _, want := range []fact{
		{"network test a->b", "rate 2mbit\nthe mirror of client copies its frames before that\nmeasured: rate 1.99 of 2 mbit/s"},
		{"network test b->a", "none\nthe mirror of client copies its frames after that"},
	} {
		if facts := s.facts(nil); !slices.Contains(facts, want) {
			t.Errorf("%q is not among %q", want, facts)
		}
	}
}

func node(name, role string, nics ...graph.NIC) graph.Node {
	return graph.Node{Name: name, Role: role, Lines: []string{"debian", "1 CPU, 512 MiB, kvm"}, NICs: nics}
}
