package flows

import (
	"math"
	"regexp"
	"slices"

	"github.com/mami-project/labctl/topology"
)

// flowFile is a flow file as it is written.
type flowFile struct {
	Label  string `yaml:"label"`
	Client struct {
		At     []string   `yaml:"at"`
		Config clientFile `yaml:"config"`
	} `yaml:"client"`
	Server struct {
		At     []string     `yaml:"at"`
		Config ServerConfig `yaml:"config"`
	} `yaml:"server"`
	Port      any      `yaml:"port"` // these hold anchors
	Instances any      `yaml:"instances"`
	Mark      any      `yaml:"mark"`
	_         struct{} `yaml:",scratch"` // and whatever else does
}

// clientFile is a client's configuration, and what is often written in it by mistake.
type clientFile struct {
	ClientConfig `yaml:",inline"`
	Version4     *bool `yaml:"version4"`
	Version6     *bool `yaml:"version6"`
}

// absent is a number that no file can give.
var absent = math.Inf(-1)

// parseFlow reads the text of a flow file. The flow is whole where the document has
// no mistake; of another, its label is what it may be known by.
func parseFlow(name string, src []byte) (Flow, *topology.Document) {
	var f flowFile
	c, s := &f.Client.Config, &f.Server.Config
	c.Port, s.Port, c.Parallel = defaultPort, defaultPort, 1
	c.ReportInterval, s.ReportInterval, c.Seconds = absent, absent, absent
	doc := topology.ReadDocument(name, src, "flow", "labctl's own mixes are good to start from: flows/mixes/smoke.yaml", &f)
	k := flowChecker{doc: doc, file: &f, whole: doc.Err() == nil}
	for _, check := range flowChecks {
		check(&k)
	}
	for _, n := range []*float64{&c.ReportInterval, &s.ReportInterval, &c.Seconds} {
		if *n == absent {
			*n = 0
		}
	}
	k.flow.Label, k.flow.Class = f.Label, classOf(f.Label)
	k.flow.Client.ClientConfig, k.flow.Server.ServerConfig = c.ClientConfig, *s
	k.flow.File, k.flow.Line = name, doc.Line("label")
	checkStarts(&k)
	return k.flow, doc
}

var numbered = regexp.MustCompile(`[-._#@+]*[0-9]+$`)

// classOf is what a label begins with, without the number behind it.
func classOf(label string) string {
	if class := numbered.ReplaceAllString(label, ""); class != "" {
		return class
	}
	return label
}

// checkStarts compares the flow's starts with each other.
func checkStarts(k *flowChecker) {
	f := &k.flow
	slices.Sort(f.Client.At)
	if len(f.Client.At) == 0 {
		return // told before
	}
	if f.Client.At[0] < f.Server.At {
		k.starts("client", "a start is at "+f.Client.At[0].String()+", and the server's at "+f.Server.At.String(), "the server starts first, or at the same time: it is waited for")
	}
	gap, several := f.gap()
	if !several {
		return
	}
	if gap == 0 {
		k.starts("client", "two starts of the client are at one time", "its server takes one test at a time: write a flow with a port of its own, or use parallel")
		return
	}
	if f.Server.OneOff {
		k.doc.Add("the server is one-off, and its client starts more than once", "without one-off it stays for all of them", "server", "config", "one-off")
	}
	if _, limited := f.payload(); limited {
		return
	}
	if lasts, known := f.Lasts(); known && lasts >= gap {
		k.starts("client", "a start lasts "+lasts.String()+", and the next comes after "+gap.String(), "its server takes one test at a time, and would be busy: start later, or lower time-s and omit-s")
	}
}
