//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mami-project/labctl/lab"
)

// carried is how many bytes a host link has passed, both ways.
func carried(t *testing.T, link string) int64 {
	t.Helper()
	var sum int64
	for _, way := range []string{"rx", "tx"} {
		text, err := os.ReadFile(filepath.Join("/sys/class/net", link, "statistics", way+"_bytes"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// serve starts an iperf3 server for one test on a node, and waits until it listens: not the one before, which outlives its
// client for a moment.
func serve(t *testing.T, node, port string) {
	t.Helper()
	in(t, node, fmt.Sprintf(`listens() { ss -Hltn 'sport = :%[1]s' | grep -q .; }
while listens; do sleep 0.1; done
iperf3 -s -D -1 -p %[1]s
until listens; do sleep 0.1; done`, port))
}

// iperf runs an iperf3 client the way a researcher does: host, tshark, iperf-client.
func iperf(t *testing.T, port, options string) (sent, received float64) {
	t.Helper()
	serve(t, "iperf-server", port)
	out := mustReach(t, "ssh", "tshark", "--", "ssh", "iperf-client", "iperf3 -c iperf-server -J -p "+port+" "+options)
	var report struct {
		Error string
		End   struct {
			Sum         struct{ Bytes float64 }
			SumSent     struct{ Bytes float64 } `json:"sum_sent"`
			SumReceived struct{ Bytes float64 } `json:"sum_received"`
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.Error != "" {
		t.Fatalf("iperf3: %v %s", err, report.Error)
	}
	if strings.Contains(options, "-u") {
		return report.End.Sum.Bytes, report.End.Sum.Bytes
	}
	return report.End.SumSent.Bytes, report.End.SumReceived.Bytes
}

// flowsTakeTheTestNetwork lets iperf3 run by name, and reads the counters of the
// host's links: what was named went through the network under test.
func flowsTakeTheTestNetwork(t *testing.T) {
	s := status(t)
	client := s.Nodes[0].NICs
	for _, options := range []string{"-n 4M", "-n 4M -R", "-u -b 8M -n 2M"} {
		control, test := carried(t, client[0].Link), carried(t, client[1].Link)
		sent, received := iperf(t, "5201", options)
		control, test = carried(t, client[0].Link)-control, carried(t, client[1].Link)-test
		t.Logf("iperf3 %s: %.0f bytes sent, %.0f received; test network %d, control network %d", options, sent, received, test, control)
		if received < 1e6 || float64(test) < received {
			t.Errorf("iperf3 %s: the test network carried %d of %.0f bytes", options, test, received)
		}
		if float64(control) > received/10 {
			t.Errorf("iperf3 %s: the control network carried %d bytes", options, control)
		}
	}
}

// eachFrameIsCapturedOnce captures two paced flows, one each way, and holds the
// file to what TCP itself says of them: every byte is there, every frame once.
func eachFrameIsCapturedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "frames.pcap")
	cmd := command(t, "capture", "--json", "-w", "-", "--filter", "tcp port 5202")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var words watched
	cmd.Stdout, cmd.Stderr = out, &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the capture has begun", func() bool {
		i, err := os.Stat(file)
		return err == nil && i.Size() >= 24 // pcap's header is written once frames are taken
	})
	_, toServer := iperf(t, "5202", "-n 2M -b 10M")
	_, toClient := iperf(t, "5202", "-n 2M -b 10M -R")
	growsNoMore(t, file)
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("capture: %v\n%s", err, words.String())
	}
	t.Logf("account: %s", words.String())
	var a lab.Account
	if err := json.Unmarshal([]byte(words.String()), &a); err != nil {
		t.Fatal(err)
	}
	c := readFrames(t, file)
	if uint64(c.frames) != a.Written || a.Received != a.Written || a.Dropped+a.TapDrops+a.NotCopied != 0 {
		t.Errorf("%d frames are in the file, and the account is %+v", c.frames, a)
	}
	if a.Mirrored < a.Written {
		t.Errorf("the mirror copied %d frames, and %d are in the file", a.Mirrored, a.Written)
	}
	for to, received := range map[string]float64{"10.7.2.41": toServer, "10.7.2.40": toClient} {
		if got := c.payload[to]; received < 1e6 || float64(got) < received {
			t.Errorf("%s received %.0f bytes, and %d are in the capture", to, received, got)
		}
	}
	in(t, "iperf-client", "(exec setsid ping -i 0.2 -q iperf-server) >/dev/null 2>&1 </dev/null &")
	if pipe := command(t); !trySh(t, "set -o pipefail; "+pipe.Path+" capture -w - | head -c 1000 >/dev/null") {
		t.Error("a capture whose reader has seen enough fails")
	}
	in(t, "iperf-client", "pkill -x ping")
	if c.longest > 1514 || c.longest < 1500 {
		t.Errorf("the longest frame has %d bytes", c.longest)
	}
	if c.twice > 0 || c.wrong > 0 {
		t.Errorf("%d frames are there twice, %d have a wrong checksum", c.twice, c.wrong)
	}
}

// growsNoMore waits until a file has been as long for ten seconds: what is under way is in it then, also where who writes it
// stood still for some of them.
func growsNoMore(t *testing.T, file string) {
	t.Helper()
	last, since := int64(-1), time.Now()
	eventually(t, file+" grows no more", func() bool {
		i, err := os.Stat(file)
		if err != nil || i.Size() != last {
			since = time.Now()
		}
		if err == nil {
			last = i.Size()
		}
		return time.Since(since) > 10*time.Second
	})
}

// captured is what stands in a capture file.
type captured struct {
	frames, twice, wrong, longest int
	payload                       map[string]int64 // bytes by the address they were sent to, each sequence number once
}

func readFrames(t *testing.T, file string) captured {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	c := captured{payload: map[string]int64{}}
	seen, bytes := map[string]bool{}, map[string]bool{}
	for {
		frame, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		c.frames++
		c.longest = max(c.longest, info.Length)
		p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ip == nil || tcp == nil {
			t.Fatalf("a frame is no TCP segment: %s", p)
		}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		if err, mismatches := p.VerifyChecksums(); err != nil || len(mismatches) > 0 {
			c.wrong++
		}
		// a retransmission has an IP identification of its own, a second copy has not
		id := fmt.Sprint(ip.SrcIP, tcp.SrcPort, tcp.DstPort, ip.Id, tcp.Seq, tcp.Ack, tcp.Window, len(tcp.Payload))
		if seen[id] && ip.Id != 0 {
			c.twice++
		}
		seen[id] = true
		segment := fmt.Sprint(ip.SrcIP, tcp.SrcPort, tcp.DstPort, tcp.Seq)
		if !bytes[segment] && len(tcp.Payload) > 0 {
			bytes[segment] = true
			c.payload[ip.DstIP.String()] += int64(len(tcp.Payload))
		}
	}
}
