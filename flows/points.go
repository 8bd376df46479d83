package flows

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// Measurement is what a run's points are called in InfluxDB.
const Measurement = "flows"

// Points writes the run's series in InfluxDB's line protocol, with ns, and returns how
// many points they are. Two of them with the same tags and instant, of which InfluxDB would keep only
// one, are an error.
func (r Run) Points(to io.Writer) (n int, err error) {
	w := bufio.NewWriter(to)
	type point struct {
		tags string
		at   int64
	}
	seen := make(map[point]struct{})
	for _, x := range r.Results {
		tags := r.tags(x)
		for _, i := range x.Series {
			at := r.Manifest.Began.Add(time.Duration(math.Round(i.At * float64(time.Second)))).UnixNano()
			if _, twice := seen[point{tags, at}]; twice {
				return n, fmt.Errorf("flow %s has two points at %.6f s: its starts overlap", x.Label, i.At)
			}
			seen[point{tags, at}] = struct{}{}
			fmt.Fprintf(w, "%s%s %s %d\n", Measurement, tags, i.fields(x.Protocol), at)
			n++
		}
	}
	return n, w.Flush()
}

// tags are those of a result's points, sorted as InfluxDB likes them.
func (r Run) tags(x Result) string {
	var b strings.Builder
	for _, t := range [][2]string{
		{"class", x.Class}, {"flow", x.Label}, {"run", r.Manifest.ID}, {"tos", strconv.Itoa(x.TOS)}, {"type", x.Protocol},
	} {
		if t[1] != "" { // InfluxDB takes no empty ones
			b.WriteString("," + t[0] + "=" + tagEscapes.Replace(t[1]))
		}
	}
	return b.String()
}

// A tag's value cannot end in \ nor hold a line break, whatever is done.
var tagEscapes = strings.NewReplacer(`,`, `\,`, `=`, `\=`, ` `, `\ `, `\`, `/`, "\n", `\ `, "\r", `\ `)

// fields are an interval's, by the names that trafic gives them.
func (i Interval) fields(protocol string) string {
	f := fmt.Sprintf("bytes=%di,bps=%s", i.Bytes, fixed(i.Bits(), 0))
	if protocol == UDP {
		return f + fmt.Sprintf(",jitter=%s,pkts=%di,lost_pkts=%di,lost_percent=%s",
			fixed(i.Jitter, 6), i.Packets, i.Lost, fixed(i.LostPercent(), 3))
	}
	return f + fmt.Sprintf(",rtx=%di,sndcwnd=%di,rtt_ms=%s,rtt_var=%s",
		i.Retransmits, i.Cwnd, fixed(i.RTT, 3), fixed(i.RTTVar, 3))
}
