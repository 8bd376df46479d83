package flows

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	const interval = "report-interval-s: 1"
	server := func(more string) string { return "server: {at: [0s], config: {" + more + "}}\n" }
	text := func(at, config, server string) string {
		return "label: f\nclient:\n  at: [" + at + "]\n  config: {server-address: s, " + config + "}\n" + server
	}
	with := server(interval)
	const busy = "\n  its server takes one test at a time: iperf3 says that the server is busy, and the burst fails"
	const overload = "\n  more cannot arrive, whatever is measured: lower the rates, or say in the report that the path is overloaded"
	for name, c := range map[string]struct {
		path  Path
		files []string
		want  []string
	}{
		"nothing": {Path{1e6, 1e6}, []string{text("0s", "time-s: 60, "+interval, with)}, nil},
		"marked": {Path{}, []string{text("0s", "dscp: ef, fq-rate: 1M, "+interval, with)}, []string{
			"0.yaml:1: flow f: its server sends with a tos or dscp\n  iperf3 before 3.13 does not set it on what the server sends: look at the packets",
			"0.yaml:1: flow f: its server sends with an fq-rate\n  iperf3 before 3.17 does not keep to it in what the server sends",
		}},
		"marked up":              {Path{}, []string{text("0s", "reverse: false, tos: 184, fq-rate: 1M, "+interval, with)}, nil},
		"no report interval":     {Path{}, []string{text("0s", "report-interval-s: 0.2", server(""))}, []string{"0.yaml:1: flow f: its server has no report-interval-s\n  it gets its client's, 0.2 s; trafic's would report each second"}},
		"neither":                {Path{}, []string{text("0s", "parallel: 1", server(""))}, []string{"0.yaml:1: flow f: its server has no report-interval-s\n  both ends report each second, as iperf3 does where nothing is given"}},
		"burst and path":         {Path{Down: 1e6}, []string{text("0s, 10s", "bytes: 2M, "+interval, with)}, []string{"0.yaml:1: flow f: a burst lasts 17s at the 1 Mbit/s that the path carries, and the next comes after 10s" + busy, "0.yaml:1: the flows offer 1.68 Mbit/s from server to client 0s after the run's beginning, and the path carries 1 Mbit/s" + overload}},
		"burst and no path":      {Path{}, []string{text("0s, 10s", "bytes: 2M, "+interval, with)}, nil},
		"burst and other way":    {Path{Up: 1e6}, []string{text("0s, 10s", "bytes: 2M, "+interval, with)}, nil},
		"burst up":               {Path{Up: 1e6}, []string{text("0s, 100s", "reverse: false, bytes: 12M, "+interval, with)}, []string{"0.yaml:1: flow f: a burst lasts 1m41s at the 1 Mbit/s that the path carries, and the next comes after 1m40s" + busy, "0.yaml:1: the flows offer 1.01 Mbit/s from client to server 0s after the run's beginning, and the path carries 1 Mbit/s" + overload}},
		"burst and rate":         {Path{}, []string{text("0s, 10s", "bytes: 2M, target-bitrate: 1M, "+interval, with)}, []string{"0.yaml:1: flow f: a burst lasts 17s at its target-bitrate, and the next comes after 10s" + busy}},
		"ends by the interval":   {Path{}, []string{text("0s, 2s", "bytes: 1000, target-bitrate: 4500, report-interval-s: 1", with)}, []string{"0.yaml:1: flow f: a burst lasts 2s at its target-bitrate, and the next comes after 2s" + busy}},
		"burst fits":             {Path{Down: 10e6}, []string{text("0s, 10s", "bytes: 2M, "+interval, with)}, nil},
		"UDP at any rate":        {Path{}, []string{text("0s", "udp: true, target-bitrate: 0, "+interval, with)}, []string{"0.yaml:1: flow f: it sends UDP as fast as it can\n  what the path does not carry is lost: expected a target-bitrate"}},
		"just what it carries":   {Path{Down: 3e6}, []string{text("0s", "target-bitrate: 1M, parallel: 3, "+interval, with)}, nil},
		"UDP's own rate":         {Path{Down: 0.9e6}, []string{text("7s", "udp: true, "+interval, with)}, []string{"0.yaml:1: the flows offer 1 Mbit/s from server to client 7s after the run's beginning, and the path carries 900 kbit/s" + overload}},
		"together":               {Path{Down: 2e6}, []string{text("0s", "time-s: 20, target-bitrate: 1.5M, "+interval, with), "label: g\nclient: {at: [15s], config: {server-address: s, server-port: 9, target-bitrate: 1M, " + interval + "}}\n" + server("server-port: 9, "+interval)}, []string{"1.yaml:1: the flows offer 2.5 Mbit/s from server to client 15s after the run's beginning, and the path carries 2 Mbit/s" + overload}},
		"one after the other":    {Path{Down: 2e6}, []string{text("0s", "time-s: 15, target-bitrate: 1.5M, "+interval, with), "label: g\nclient: {at: [15s], config: {server-address: s, server-port: 9, target-bitrate: 1M, " + interval + "}}\n" + server("server-port: 9, "+interval)}, nil},
		"each its own way":       {Path{1.6e6, 1.6e6}, []string{text("0s", "time-s: 20, target-bitrate: 1.5M, "+interval, with), "label: g\nclient: {at: [15s], config: {server-address: s, server-port: 9, reverse: false, target-bitrate: 1M, " + interval + "}}\n" + server("server-port: 9, "+interval)}, nil},
		"what takes what's left": {Path{Down: 1}, []string{text("0s", "bytes: 1G, "+interval, with)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var files []string
			for i, src := range c.files {
				files = append(files, string(rune('0'+i))+".yaml", src)
			}
			flows, err := load(t, files...)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, w := range Warnings(flows, c.path) {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
