package report

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mami-project/labctl/flows"
)

// kinds are the classes of a sample run.
var kinds = []struct {
	class  string
	udp    bool
	rate   float64 // bit/s
	period float64 // of its bursts (s); 0 where it never pauses
	upload bool
}{
	{"realtime-audio", true, 64e3, 0, false},
	{"realtime-video", true, 2.5e6, 0, true},
	{"scavenger", false, 1e6, 0, false},
	{"greedy", false, 12e6, 0, false},
	{"adaptive-video", false, 4e6, 10, false},
	{"web", false, 3e6, 30, false},
}

// sample is a run as it could have been: the same for the same seed.
func sample(id string, flowCount int, length, interval float64, seed uint64) flows.Run {
	rnd := rand.New(rand.NewPCG(seed, 1))
	run := flows.Run{Manifest: flows.Manifest{
		Format: flows.Format, ID: id, Lab: "demo", Began: time.Date(2026, 11, 24, 20, 15, 0, 0, time.UTC), Seconds: length,
		State: flows.Done, Trusted: true, Client: "client", Server: "server", Flows: flowCount,
		Captures: []flows.Account{{
			Node: "tshark", Of: "client", Snaplen: 128,
			AtNIC: flows.Frames{Frames: 812345, Bytes: 903456789}, Mirrored: flows.Frames{Frames: 812301, Bytes: 903401234},
			Received: flows.Frames{Frames: 812301, Bytes: 903401234}, Written: flows.Frames{Frames: 812301, Bytes: 103974528},
		}},
		Before: []flows.Offset{{Node: "client", Milli: 0.012, Uncertainty: 0.031, Source: "PTP_KVM"}, {Node: "server", Milli: -0.008, Uncertainty: 0.029, Source: "PTP_KVM"}},
		After:  []flows.Offset{{Node: "client", Milli: 0.015, Uncertainty: 0.030}, {Node: "server", Milli: -0.011, Uncertainty: 0.033}},
		Stored: &flows.Stored{Database: "demo", Points: 3000, Counted: 3000},
		Versions: map[string]string{
			"client/iperf3": "3.12", "server/iperf3": "3.12", "tshark/dumpcap": "4.0.17",
		},
		Provenance: json.RawMessage(labSample),
	}}
	for f := range flowCount {
		k := kinds[f%len(kinds)]
		label := fmt.Sprintf("%s-%02d", k.class, f/len(kinds))
		if k.period == 0 {
			run.Results = append(run.Results, sampleStart(rnd, label, f, 0, 1+2*rnd.Float64(), length-4, interval))
			continue
		}
		for nth, at := 0, 1.0; at+k.period < length; nth, at = nth+1, at+k.period {
			run.Results = append(run.Results, sampleStart(rnd, label, f, nth, at, k.period*0.6, interval))
		}
	}
	return run
}

// sampleStart is one start of the flow with a number.
func sampleStart(rnd *rand.Rand, label string, f, nth int, at, length, interval float64) flows.Result {
	k := kinds[f%len(kinds)]
	r := flows.Result{
		Label: label, Nth: nth, Class: k.class, Protocol: flows.TCP, Upload: k.upload,
		Planned: at, Started: at + 0.004*rnd.Float64(), Ended: at + length + 0.05, Seconds: length,
	}
	if k.udp {
		r.Protocol = flows.UDP
	}
	n := int(length / interval)
	rtts := 0.0
	for i := range n {
		begin := at + float64(i)*interval
		slow := 1 + 0.25*math.Sin(begin/17+float64(f)) + 0.12*rnd.NormFloat64()
		if rnd.IntN(200) == 0 {
			slow *= 0.3
		}
		x := flows.Interval{At: begin, Seconds: interval, Bytes: int64(max(k.rate*slow, 0) * interval / 8)}
		if k.udp {
			x.Packets = max(x.Bytes/172, 1)
			x.Jitter = math.Abs(0.4 + 0.2*rnd.NormFloat64() + 0.3*math.Sin(begin/40))
			if rnd.IntN(30) == 0 {
				x.Lost = min(1+int64(rnd.IntN(6)), x.Packets)
			}
			r.Packets, r.Lost, r.Jitter = r.Packets+x.Packets, r.Lost+x.Lost, x.Jitter
		} else {
			x.RTT = 42 + 14*math.Sin(begin/25) + 4*rnd.NormFloat64()
			x.Cwnd = 64 << 10
			if slow < 0.6 {
				x.Retransmits = 1 + int64(rnd.IntN(12))
			}
			r.Retransmits += x.Retransmits
			rtts += x.RTT
		}
		r.Received += x.Bytes
		r.Series = append(r.Series, x)
	}
	r.Sent = r.Received
	if n > 0 {
		r.RTT = rtts / float64(n)
	}
	return r
}

// broken is a run in which much went wrong.
func broken(id string) flows.Run {
	run := sample(id, 8, 60, 0.2, 7)
	m := &run.Manifest
	m.State, m.Trusted, m.Seconds = flows.Interrupted, false, 41.3
	m.Wrong = []string{
		"interrupted by a user after 41.3 s",
		"capture: 1,893 of 512,004 frames are missing (0.37 %, more than 0.1 %): the kernel had no room for 1,802",
		"clock of server: 2.4 ms from the host's, more than 1 ms",
	}
	m.Captures[0] = flows.Account{
		Node: "tshark", Of: "client", Snaplen: 128,
		AtNIC: flows.Frames{Frames: 512010, Bytes: 603456789}, Mirrored: flows.Frames{Frames: 511997, Bytes: 603401234},
		Received: flows.Frames{Frames: 511990, Bytes: 603301234}, Written: flows.Frames{Frames: 510111, Bytes: 65294208},
		Drops: flows.Drops{Mirror: 7, Tap: 7, Kernel: 1802, Dumpcap: 61}, Failed: "tshark: no space left on device",
	}
	m.After = []flows.Offset{{Node: "client", Milli: 0.015, Uncertainty: 0.03}, {Node: "server", Milli: 2.4, Uncertainty: 0.05}}
	m.Stored = &flows.Stored{Database: "demo", Points: 3000, Counted: 1204, Failed: "InfluxDB stopped answering: connection refused"}
	run.Results = slices.DeleteFunc(run.Results, func(r flows.Result) bool { return r.Planned > m.Seconds })
	for k := range run.Results {
		r := &run.Results[k]
		r.Series = slices.DeleteFunc(r.Series, func(i flows.Interval) bool { return i.At+i.Seconds > m.Seconds })
		r.Ended = min(r.Ended, m.Seconds)
		if r.Label == "greedy-00" {
			r.Failed, r.Ended = "iperf3: error - control socket has closed unexpectedly", 23.4
			r.Series = r.Series[:min(110, len(r.Series))]
		}
		if r.Label == "web-00" && r.Nth == 0 {
			r.Failed, r.Started, r.Ended, r.Series = "server: iperf3 does not listen on port 5206: <busy>", -1, -1, nil
			r.Sent, r.Received, r.Seconds, r.Retransmits, r.RTT = 0, 0, 0, 0, 0
		}
	}
	return run
}

const labSample = `{
  "name": "demo", "state": "whole",
  "nodes": [
    {"name": "client", "image": "debian", "accelerator": "kvm", "cpus": 1, "memoryMiB": 512, "nics": [
      {"network": "control", "mac": "02:4b:5c:00:00:01", "address": "10.7.1.40/24", "link": "lc1", "kind": "virtio", "offloads": true, "mtu": 1500},
      {"network": "test", "side": "client", "mac": "02:4b:5c:00:00:02", "address": "10.7.2.40/24", "link": "lc2", "kind": "virtio", "offloads": false, "mtu": 1500}]},
    {"name": "server", "image": "debian", "accelerator": "kvm", "cpus": 1, "memoryMiB": 512, "nics": [
      {"network": "control", "mac": "02:4b:5c:00:00:03", "address": "10.7.1.41/24", "link": "lc3", "kind": "virtio", "offloads": true, "mtu": 1500},
      {"network": "test", "side": "server", "mac": "02:4b:5c:00:00:04", "address": "10.7.2.41/24", "link": "lc4", "kind": "virtio", "offloads": false, "mtu": 1500}]},
    {"name": "tshark", "image": "debian", "accelerator": "kvm", "cpus": 1, "memoryMiB": 512, "nics": [
      {"network": "control", "mac": "02:4b:5c:00:00:05", "address": "10.7.1.42/24", "link": "lc5", "kind": "virtio", "offloads": true, "mtu": 1500},
      {"network": "", "mac": "02:4b:5c:00:00:06", "mirror": "client", "link": "lc6", "kind": "virtio", "offloads": false, "mtu": 1500}]}
  ],
  "networks": [
    {"name": "control", "subnet": "10.7.1.0/24", "gateway": "10.7.1.1", "uplink": "nat", "mtu": 1500, "segments": [{"bridge": "lb1"}]},
    {"name": "test", "subnet": "10.7.2.0/24", "mtu": 1500, "segments": [{"side": "client", "bridge": "lb2"}, {"side": "server", "bridge": "lb3"}]}
  ],
  "mirror": [{"from": "client", "to": "tshark", "at": "lc2", "point": "tap", "state": "present", "counters": {"dropped": 0}}],
  "provenance": {"labctl": "0.4.0", "libvirt": "9.0.0", "qemu": "7.2.22", "hostKernel": "6.1.0-42-amd64", "host": "bench", "accelerator": "kvm", "file": "demo.yaml",
    "images": {"debian": {"digest": "95ba55a87412aaaa", "disk": "0f0e0d0c", "kernel": "6.1.0-42-cloud-amd64"}}}
}`
