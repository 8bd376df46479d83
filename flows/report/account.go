package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mami-project/labctl/flows"
)

// station is a point on the frames' way to the file.
type station struct {
	Name    string
	Frames  string
	Bytes   string
	Percent float64 // of the most frames at any of them, for its bar
	Gone    bool    // some were lost on the way here
	Lost    []string
}

// funnel is a capture's account, top to bottom.
type funnel struct {
	flows.Account
	Stations    []station
	Gone        string
	Share       string
	Unexplained string
}

func funnelOf(a flows.Account) funnel {
	most := max(a.AtNIC.Frames, a.Mirrored.Frames, a.Received.Frames, a.Written.Frames, 1)
	at := func(name string, f flows.Frames, lost ...string) station {
		s := station{Name: name, Frames: count(f.Frames), Bytes: bytesText(float64(f.Bytes)), Percent: math.Round(float64(f.Frames)/float64(most)*1000) / 10}
		s.Lost = slices.DeleteFunc(lost, empty)
		if s.Gone = len(s.Lost) > 0; s.Gone {
			s.Percent = min(s.Percent, 98) // so that the loss is seen
		}
		return s
	}
	f := funnel{Account: a, Gone: count(a.Missing()), Stations: []station{
		at("at "+a.Of+"'s NIC", a.AtNIC),
		at("seen by the mirror", a.Mirrored),
		at("received by "+a.Node+"'s NIC", a.Received, dropped(a.Drops.Mirror, "not copied by the mirror"), dropped(a.Drops.Tap, "not taken by "+a.Node+" (tap)")),
		at("written to the file", a.Written, dropped(a.Drops.NIC, "dropped by "+a.Node+"'s NIC"),
			dropped(a.Drops.Kernel, "dropped by its kernel"), dropped(a.Drops.Dumpcap, "dropped by dumpcap")),
	}}
	if saw := a.Mirrored.Frames; saw > 0 {
		f.Share = number(float64(a.Missing())/float64(saw)*100) + " %"
	}
	if rest := a.Missing() - min(a.Drops.Sum(), a.Missing()); rest > 0 {
		f.Unexplained = count(rest)
	}
	return f
}

// dropped is "" where nothing was.
func dropped(n uint64, where string) string {
	if n == 0 {
		return ""
	}
	return "− " + count(n) + " " + where
}

// clock is a node's offset before and after the run.
type clock struct {
	Node, Before, After, Drift, Source string
	Far                                bool // further from the host than is good
}

// How far a clock may be from the host's (ms).
const far = 1

func clocks(m flows.Manifest) []clock {
	var all []clock
	after := map[string]flows.Offset{}
	for _, o := range m.After {
		after[o.Node] = o
	}
	seen := map[string]bool{}
	for _, b := range m.Before {
		seen[b.Node] = true
		c := clock{Node: b.Node, Before: offset(b), After: "–", Source: b.Source, Far: tooFar(b)}
		if a, ok := after[b.Node]; ok {
			c.After, c.Far = offset(a), c.Far || tooFar(a)
			if a.Failed == "" && b.Failed == "" {
				c.Drift = signed(a.Milli-b.Milli) + " ms"
			}
		}
		all = append(all, c)
	}
	for _, a := range m.After {
		if !seen[a.Node] {
			all = append(all, clock{Node: a.Node, Before: "–", After: offset(a), Source: a.Source, Far: tooFar(a)})
		}
	}
	return all
}

func tooFar(o flows.Offset) bool { return o.Failed == "" && math.Abs(o.Milli) > far }

func offset(o flows.Offset) string {
	if o.Failed != "" {
		return "not known: " + o.Failed
	}
	return fmt.Sprintf("%s ± %s ms", signed(o.Milli), number(o.Uncertainty))
}

func signed(x float64) string {
	text := strings.TrimPrefix(number(x), "-")
	switch {
	case x < 0:
		return "−" + text
	case x > 0:
		return "+" + text
	}
	return text
}
