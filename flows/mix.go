package flows

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mami-project/labctl/topology"
)

// mixFile is a mix description as it is written: how much of which kinds of traffic.
type mixFile struct {
	Bandwidth string     `yaml:"total-bandwidth"` // bytes/s, with a metric unit
	Time      string     `yaml:"total-time"`
	Interval  string     `yaml:"report-interval"`
	Seed      string     `yaml:"seed"` // of the starts; not trafic's
	Flows     []mixEntry `yaml:"flows"`
	_         struct{}   `yaml:",scratch"`
}

// mixEntry is the share that a kind of traffic has.
type mixEntry struct {
	Kind     string   `yaml:"kind"`
	Percent  string   `yaml:"percent-bandwidth"`
	Ports    string   `yaml:"ports-range"`
	Template string   `yaml:"template"`
	Props    mixProps `yaml:"props"`
}

type mixProps struct {
	Label  string `yaml:"label"`
	Server string `yaml:"server"`
}

// mix is a mix description as decided.
type mix struct {
	bits     float64 // bit/s
	lasts    time.Duration
	interval time.Duration
	seed     string
}

// share is a kind's part of a mix.
type share struct {
	kind        kind
	bits        float64 // bit/s
	first, last int     // ports
	label       string
	server      string
}

// parseMix reads the text of a mix description: the flows of each of its entries.
// They are whole where the document has no mistake.
func parseMix(name string, src []byte) ([][]Flow, *topology.Document) {
	f := mixFile{Interval: "1s"}
	doc := topology.ReadDocument(name, src, "mix", "labctl's own mixes are good to start from: flows/mixes/smoke.yaml", &f)
	if doc.Err() != nil {
		return nil, doc
	}
	m := f.decide(doc)
	if len(f.Flows) == 0 {
		doc.Add("the mix has no flows", "expected flows: and in it a list of kinds", "flows")
	}
	var total float64
	shares := make([]share, len(f.Flows))
	for i, e := range f.Flows {
		shares[i] = e.decide(doc, i, m)
		total += shares[i].bits
	}
	const most = 1.0000001 // percentages are rarely exact
	if total > m.bits*most {
		doc.Add(fmt.Sprintf("the percentages come to %.4g %%", total/m.bits*100), "expected at most 100 % in all", "flows")
	}
	if doc.Err() != nil {
		return nil, doc
	}
	all := make([][]Flow, len(shares))
	for i, s := range shares {
		flows, err := s.flows(m)
		if err != nil {
			doc.Add(err.Error(), "raise percent-bandwidth or total-bandwidth, widen ports-range, or remove the kind", "flows", i)
		}
		for j := range flows {
			flows[j].File, flows[j].Line = name, doc.Line("flows", i)
		}
		all[i] = flows
	}
	return all, doc
}

// metric is bytes/s, as trafic reads it: 8.25MB.
var metric = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,15})?[KMGTkmgt]?)B?$`)

func (f mixFile) decide(doc *topology.Document) mix {
	m := mix{seed: f.Seed}
	if bytes := metric.FindStringSubmatch(f.Bandwidth); bytes != nil {
		m.bits = 8 * amountOf(bytes[1], decimal)
	}
	if m.bits <= 0 {
		doc.Add("total-bandwidth is "+quote(f.Bandwidth), "expected bytes per second, such as 8.25MB for 66 Mbit/s", "total-bandwidth")
	}
	var err error
	m.lasts, err = parseInstant(f.Time)
	if err != nil || m.lasts < time.Second || m.lasts%time.Second != 0 {
		doc.Add("total-time is "+quote(f.Time), "expected whole seconds, such as 60s", "total-time")
	}
	m.interval, err = parseInstant(f.Interval)
	if err != nil || m.interval < 100*time.Millisecond || m.interval > time.Minute {
		doc.Add("report-interval is "+quote(f.Interval), "iperf3 takes 0.1 to 60 s: expected such as 200ms or 1s", "report-interval")
	}
	return m
}

var (
	percentage = regexp.MustCompile(`^([0-9]{1,3}(?:\.[0-9]{1,9})?) ?%?$`)
	portRange  = regexp.MustCompile(`^([0-9]{1,5})-([0-9]{1,5})$`)
)

func (e mixEntry) decide(doc *topology.Document, i int, m mix) share {
	s := share{label: e.Props.Label, server: e.Props.Server}
	add := func(msg, hint string, path ...any) { doc.Add(msg, hint, append([]any{"flows", i}, path...)...) }
	at := slices.IndexFunc(kinds, func(k kind) bool { return k.name == e.Kind })
	if at < 0 {
		add("a kind of the mix is "+quote(e.Kind), "kinds: "+strings.Join(kindNames(), ", "), "kind")
	} else {
		s.kind = kinds[at]
	}
	if p := percentage.FindStringSubmatch(e.Percent); p != nil {
		n, _ := strconv.ParseFloat(p[1], 64) // the pattern lets nothing else through
		s.bits = m.bits * n / 100
	}
	if s.bits <= 0 && m.bits > 0 {
		add("a percent-bandwidth of the mix is "+quote(e.Percent), "expected more than 0%, such as 12.5%", "percent-bandwidth")
	}
	if p := portRange.FindStringSubmatch(e.Ports); p != nil {
		s.first, _ = strconv.Atoi(p[1])
		s.last, _ = strconv.Atoi(p[2])
	}
	if s.first < 1 || s.last < s.first || s.last > 65535 {
		add("a ports-range of the mix is "+quote(e.Ports), "expected the first and the last, of 1 to 65535, such as 5000-5099", "ports-range")
	}
	if e.Template != "" {
		add("template is not supported", "labctl makes a kind's flows itself: labctl flows expand writes them as files to change", "template")
	}
	if s.label == "" {
		s.label = e.Kind
	}
	const most = 56 // leaves room for the flow's number
	if at >= 0 && (!fileName.MatchString(s.label) || len(s.label) > most) {
		add("a label of the mix is "+quote(s.label), strings.Replace(labelHint, "64", strconv.Itoa(most), 1), "props", "label")
	}
	if s.server == "" {
		s.server = defaultServer
	} else if !hostName.MatchString(s.server) {
		add("a server of the mix is "+quote(s.server), "expected a node's name or an IP address", "props", "server")
	}
	return s
}

// defaultServer is the node that the built-in lab has for it.
const defaultServer = "iperf-server"
