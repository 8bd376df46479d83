//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/mami-project/labctl/domains"
	labflows "github.com/mami-project/labctl/flows"
	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
	"github.com/mami-project/labctl/lab"
)

const clocksLab = `
name: clocks
image: debian-slim
networks:
  control: {subnet: 10.7.1.0/24, uplink: nat}
  test: {sides: [a, b], subnet: 10.7.2.0/24}
nodes:
  one: {memory: 256MiB, disk: 2GiB, nics: [{network: control, address: 10.7.1.10}, {network: test, side: a, address: 10.7.2.10}]}
  two: {memory: 256MiB, disk: 2GiB, nics: [{network: control, address: 10.7.1.11}, {network: test, side: b, address: 10.7.2.11}]}
  three: {memory: 256MiB, disk: 2GiB, nics: [{network: control, address: 10.7.1.12}]}
`

// TestClocks compares what is measured of nodes' clocks with what chronyd and the
// nodes themselves say, sets one wrong, and looks where the time travels.
func TestClocks(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		anotherHost(t) // makes an outside to ask
		witness(t)
		isClean := clean(t)
		h, err := host.Connect("", host.DefaultDir)
		fatal(t, err)
		defer h.Close()
		must(t, "up", write(t, "lab.yaml", clocksLab))
		b, err := lab.Open(h, "clocks")
		fatal(t, err)

		start := time.Now()
		agreed := b.WaitClocks(t.Context(), timed(t))
		t.Logf("the clocks agree after %.1f s", time.Since(start).Seconds())
		isTold(t, agreed)
		comeFromOne(t, agreed)
		for _, n := range b.Lab.Nodes {
			saysTheSame(t, b, n.Name)
		}
		for _, n := range []int{1, 2} {
			chronyAgrees(t, b, n)
		}
		watchTime(t, b, func() {
			for _, n := range b.Lab.Nodes { // as at a boot
				in(t, n.Name, "systemctl restart labctl-clock")
			}
			b.WaitClocks(t.Context(), timed(t))
		})
		isSetWrong(t, b)
		for _, c := range []string{"outward", "questions"} {
			if n := witnessed(t, c); n != "0" {
				t.Errorf("%s packets counted as %s", n, c)
			}
		}

		must(t, "down")
		isClean()
	})
}

// isTold holds what is told of the clocks to their offsets.
func isTold(t *testing.T, all []labflows.Offset) {
	t.Helper()
	said := strings.Join(lab.Apart(all), "\n")
	t.Logf("%+v\n%s", all, said)
	for i, a := range all {
		for _, b := range all[i+1:] {
			distance, uncertain := math.Abs(a.Milli-b.Milli), a.Uncertainty+b.Uncertainty
			if distance+uncertain > 1 && said == "" {
				t.Errorf("%s and %s may be %.3f ms apart, and it is not told", a.Node, b.Node, distance+uncertain)
			}
		}
	}
}

// comeFromOne holds that the first node serves, and the others have its time.
func comeFromOne(t *testing.T, all []labflows.Offset) {
	t.Helper()
	for i, want := range []string{"none", "chrony from one", "chrony from one"} {
		if o := all[i]; o.Source != want || o.Failed != "" || o.Uncertainty <= 0 || o.Uncertainty > 20 {
			t.Errorf("%+v, want its time by %s", o, want)
		}
	}
}

// saysTheSame asks a node itself: its clock is where it was measured to be.
func saysTheSame(t *testing.T, b lab.Build, node string) {
	t.Helper()
	measured := offset(t, b, node)
	agent := domains.Agent{On: b.On, Node: machine(t, b, node).Node}
	before := time.Now()
	out, err := agent.Bash(t.Context(), "date +%s.%N")
	after := time.Now()
	fatal(t, err)
	said, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	fatal(t, err)
	ms := func(at time.Time) float64 { return said*1e3 - float64(at.UnixNano())/1e6 }
	least, most := ms(after)-measured.Uncertainty-1, ms(before)+measured.Uncertainty+1 // it moves a little meanwhile
	t.Logf("%s says it is ahead by %.1f to %.1f ms, measured are %.3f ± %.3f ms", node, ms(after), ms(before), measured.Milli, measured.Uncertainty)
	if measured.Milli < least || measured.Milli > most {
		t.Errorf("%+v is not between %.3f and %.3f ms", measured, least, most)
	}
}

func offset(t *testing.T, b lab.Build, node string) labflows.Offset {
	t.Helper()
	all := known(t, b)
	return all[slices.IndexFunc(all, func(o labflows.Offset) bool { return o.Node == node })]
}

// known are the offsets once each is measured: a clock may be stepped or slewed while it is read.
func known(t *testing.T, b lab.Build) (all []labflows.Offset) {
	t.Helper()
	eventually(t, "each clock is known", func() bool {
		all = b.Clocks(t.Context())
		return !slices.ContainsFunc(all, func(o labflows.Offset) bool { return o.Failed != "" })
	})
	return all
}

// chronyAgrees compares the distance of a node from the first with what its chronyd
// says of it, which is right but for its own root delay and dispersion.
func chronyAgrees(t *testing.T, b lab.Build, i int) {
	t.Helper()
	all := known(t, b)
	one, other := all[0], all[i]
	// Reference ID, its name, stratum, ref time, system time (of NTP's), last offset, RMS, frequency, residual, skew, root delay, dispersion
	words := strings.Split(in(t, other.Node, "chronyc -c -n tracking"), ",")
	if len(words) < 12 || words[1] != "10.7.1.10" {
		t.Fatalf("chronyc says %q", words)
	}
	number := func(i int) float64 {
		f, err := strconv.ParseFloat(words[i], 64)
		fatal(t, err)
		return f * 1e3
	}
	said, wrong := -number(4), number(10)/2+number(11) // it says what to add to the clock
	measured, uncertain := other.Milli-one.Milli, other.Uncertainty+one.Uncertainty
	t.Logf("%s's chronyd says it is ahead by %.3f ± %.3f ms, measured are %.3f ± %.3f ms", other.Node, said, wrong, measured, uncertain)
	if math.Abs(said-measured) > wrong+uncertain+1 { // it moves a little meanwhile
		t.Errorf("%s's chronyd says %.3f ms, measured are %.3f ms", other.Node, said, measured)
	}
}

// isSetWrong sets a clock ahead, which is told, and lets it be kept again.
func isSetWrong(t *testing.T, b lab.Build) {
	t.Helper()
	in(t, "two", "systemctl stop labctl-clock; date -s '5 seconds'")
	all := known(t, b)
	said := lab.Apart(all)
	t.Logf("%+v\n%s", all, strings.Join(said, "\n"))
	if ahead := all[1].Milli - all[0].Milli; ahead < 4500 || ahead > 5500 || all[1].Source != "none" {
		t.Errorf("two is set 5 s ahead, and measured is %.3f ms", ahead)
	}
	if len(said) == 0 || !strings.Contains(said[0], "two") || !strings.Contains(said[0], "more than 1 ms") {
		t.Errorf("told is %q", said)
	}
	in(t, "two", "systemctl start labctl-clock")
	eventually(t, "it is kept again", func() bool {
		all := b.WaitClocks(t.Context(), timed(t))
		return all[0].Failed == "" && all[1].Failed == "" && math.Abs(all[1].Milli-all[0].Milli) <= 5
	})
}

// watchTime captures at all the nodes' NICs while do works: the time is asked for on
// the control network, among nodes alone and by the host.
func watchTime(t *testing.T, b lab.Build, do func()) {
	t.Helper()
	control := netip.MustParsePrefix("10.7.1.0/24")
	var mu sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	var handles []*pcapgo.EthernetHandle
	for _, n := range b.Lab.Nodes {
		for _, c := range n.NICs {
			wire, err := pcapgo.NewEthernetHandle(c.Link)
			fatal(t, err)
			handles = append(handles, wire)
			group.Go(func() {
				for {
					frame, _, err := wire.ReadPacketData()
					if err != nil {
						return
					}
					p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
					ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
					udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
					if ip == nil || udp == nil || udp.SrcPort != 123 && udp.DstPort != 123 {
						continue
					}
					src, _ := netip.AddrFromSlice(ip.SrcIP)
					dst, _ := netip.AddrFromSlice(ip.DstIP)
					mu.Lock()
					seen[c.Network]++
					if !control.Contains(src) || !control.Contains(dst) {
						seen[fmt.Sprintf("%s to %s", src, dst)]++
					}
					mu.Unlock()
				}
			})
		}
	}
	do()
	for _, wire := range handles {
		wire.Close()
	}
	group.Wait()
	t.Logf("packets of NTP: %v", seen)
	if len(seen) != 1 || seen["control"] == 0 {
		t.Errorf("the time is asked for elsewhere: %v", seen)
	}
}
