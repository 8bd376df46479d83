package lab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/topology"
)

// linksIn are a node's links as its agent tells of them: each has its addresses, and
// one of its own making.
func linksIn(n topology.Node) []domains.Link {
	var links []domains.Link
	for _, c := range n.NICs {
		l := domains.Link{MAC: c.MAC.String()}
		for _, a := range append(c.Addresses(), netip.MustParsePrefix("fe80::1/64")) {
			l.Addresses = append(l.Addresses, linkAddress(a))
		}
		links = append(links, l)
	}
	return links
}

func linkAddress(a netip.Prefix) domains.LinkAddress {
	return domains.LinkAddress{Address: a.Addr(), Bits: a.Bits()}
}

// sentBy are the datagrams that a script sends, each as its length and its first words:
// by itself to a socket of the test's, or by socat to where its command says.
func sentBy(t *testing.T, e experiment, n topology.Node, links []domains.Link) string {
	t.Helper()
	hasLoopback(t)
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = c.Close() }()
	script := strings.ReplaceAll(e.sending(n, links), e.file(), filepath.Join(t.TempDir(), "capture"))
	_, port, err := net.SplitHostPort(c.LocalAddr().String())
	must(t, err)
	for _, f := range e.flows {
		script = strings.ReplaceAll(script, fmt.Sprintf("/dev/udp/%s/%d", f.dst, proofPort), "/dev/udp/127.0.0.1/"+port)
	}
	// what socat sends is printed in the place of sending it
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `socat() { read -rN 33 text <"${4#OPEN:}"; echo "$(wc -c <"${4#OPEN:}") $text $5"; }`+"\n"+script)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	const end = "end" // comes after all that the script sent
	last, err := net.Dial("udp4", c.LocalAddr().String())
	must(t, err)
	defer func() { _ = last.Close() }()
	_, err = last.Write([]byte(end))
	must(t, err)
	must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
	var all strings.Builder
	buffer := make([]byte, 1<<16)
	for {
		k, _, err := c.ReadFrom(buffer)
		must(t, err)
		if string(buffer[:k]) == end {
			return all.String() + string(out)
		}
		fmt.Fprintf(&all, "%d %s\n", k, buffer[:33])
	}
}

// The frames that the script sends are as long as they are said to be, and bear their marks.
func TestSentFrames(t *testing.T) {
	dual := decided(t, strings.Replace(dualLab, "mirror: a", "mirror: {from: a, network: test}", 1))
	mark := func(flow, number int) string { return fmt.Sprintf("labctl-proof %s %d %d", testNonce, flow, number) }
	for name, test := range map[string]struct {
		lab  topology.Lab
		want []string
	}{
		"the built-in lab": {loadDefault(t), []string{
			"36 " + mark(0, 0), "548 " + mark(0, 1), "1172 " + mark(0, 2), "1472 " + mark(0, 3), "36 " + mark(0, 4),
		}},
		"IPv6 too": {dual, []string{
			"36 " + mark(0, 0), "548 " + mark(0, 1), "1172 " + mark(0, 2), "1252 " + mark(0, 3), "36 " + mark(0, 4),
			"36 " + mark(2, 0), "528 " + mark(2, 1), "1232 " + mark(2, 2), "36 " + mark(2, 3),
			"36 " + mark(4, 0), "548 " + mark(4, 1), "1172 " + mark(4, 2), "1472 " + mark(4, 3), "36 " + mark(4, 4),
		}},
		"the longest in one piece": {decided(t, strings.Replace(sidesLab, "mtu: 600", "mtu: 4124", 1)), []string{
			"36 " + mark(0, 0), "548 " + mark(0, 1), "1172 " + mark(0, 2), "4096 " + mark(0, 3), "36 " + mark(0, 4),
		}},
		"long ones": {decided(t, strings.Replace(sidesLab, "mtu: 600", "mtu: 9216", 1)), []string{
			"36 " + mark(0, 0), "548 " + mark(0, 1), "1172 " + mark(0, 2), "36 " + mark(0, 4),
			"9188 " + mark(0, 3) + " UDP4-SENDTO:10.9.2.4:9,bind=10.9.2.1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := testExperiment(test.lab)
			from := e.flows[0].from
			if d := cmp.Diff(strings.Join(test.want, "\n")+"\n", sentBy(t, e, from, linksIn(from))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// Where the kernel could choose another address, socat names the one to send from.
func TestOutlet(t *testing.T) {
	e := testExperiment(decided(t, strings.Replace(dualLab, "mirror: a", "mirror: {from: a, network: test}", 1)))
	const (
		bash4, bash6   = ">/dev/udp/10.9.3.2/9", ">/dev/udp/fd00:9:3::2/9"
		socat4, socat6 = "UDP4-SENDTO:10.9.3.2:9,bind=10.9.2.1", "'UDP6-SENDTO:[fd00:9:3::2]:9,bind=[fd00:9:2::1]'"
	)
	for name, test := range map[string]struct {
		nic   int // whose addresses are others
		has   []string
		bytes int
		four  string
		six   string
	}{
		"as written":         {1, []string{"10.9.2.1/24", "fd00:9:2::1/64", "fe80::1/64"}, 100, bash4, bash6},
		"an IPv6 of its own": {1, []string{"10.9.2.1/24", "fd00:9:2::1/64", "2001:db8::1/64"}, 100, bash4, socat6},
		"a second IPv4":      {1, []string{"10.9.2.1/24", "10.9.2.9/24", "fd00:9:2::1/64"}, 100, socat4, bash6},
		"none":               {1, nil, 100, socat4, socat6},
		"of another NIC":     {0, []string{"10.9.1.1/24", "10.9.1.9/24"}, 100, bash4, bash6},
		"too long":           {0, nil, 4097, socat4, socat6},
	} {
		t.Run(name, func(t *testing.T) {
			links := linksIn(e.flows[0].from)
			links[test.nic].Addresses = nil
			for _, a := range test.has {
				links[test.nic].Addresses = append(links[test.nic].Addresses, linkAddress(netip.MustParsePrefix(a)))
			}
			if got := e.outlet(e.flows[0], test.bytes, links); !strings.HasSuffix(got, test.four) {
				t.Errorf("IPv4 goes to %s", got)
			}
			if got := e.outlet(e.flows[2], test.bytes, links); !strings.HasSuffix(got, test.six) {
				t.Errorf("IPv6 goes to %s", got)
			}
		})
	}
	if got := e.outlet(e.flows[0], 100, nil); !strings.HasSuffix(got, socat4) {
		t.Errorf("from a NIC that is not there it goes to %s", got)
	}
}

// A worker is asked for the frames that a script would send.
func TestAsked(t *testing.T) {
	e := testExperiment(decided(t, strings.Replace(dualLab, "mirror: a", "mirror: {from: a, network: test}", 1)))
	var want []string
	for _, of := range []struct {
		flow     int
		from, to string
		bytes    []int
	}{
		{0, "10.9.2.1", "10.9.3.2", []int{36, 548, 1172, 1252, 36}},
		{2, "fd00:9:2::1", "fd00:9:3::2", []int{36, 528, 1232, 36}},
	} {
		for i, n := range of.bytes {
			want = append(want, fmt.Sprintf("send %x %x %d %d labctl-proof %s %d %d ", netip.MustParseAddr(of.from).AsSlice(), netip.MustParseAddr(of.to).AsSlice(), proofPort, n, testNonce, of.flow, i))
		}
	}
	if d := cmp.Diff(want, e.asked(e.flows[0].from)[:len(want)]); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
