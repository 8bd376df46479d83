package flows

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

var (
	client4, server4 = netip.MustParseAddr("10.10.2.10"), netip.MustParseAddr("10.10.3.20")
	client6, server6 = netip.MustParseAddr("fd00::10"), netip.MustParseAddr("fd00::20")
)

// TestArgs holds what iperf3 is called with, for every key and every kind of a mix.
func TestArgs(t *testing.T) {
	flows, err := Load("testdata/good", "mixes/smoke.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range flows {
		fmt.Fprintf(&b, "%s\n  server %s\n  client %s\n", f.Label, strings.Join(f.ServerArgs(server4), " "), strings.Join(f.ClientArgs(client4, server4), " "))
	}
	f := flows[len(flows)-1]
	fmt.Fprintf(&b, "by IPv6\n  server %s\n  client %s\n", strings.Join(f.ServerArgs(server6), " "), strings.Join(f.ClientArgs(client6, server6), " "))
	golden(t, "testdata/args.txt", b.String())
}

// TestArgsOfNothing: iperf3's own defaults that labctl counts on are said.
func TestArgsOfNothing(t *testing.T) {
	want := []string{"--json", "--client", "10.10.3.20", "--port", "5201", "--bind", "10.10.2.10", "--version4", "--reverse", "--time", "10"}
	if got := (Flow{}).ClientArgs(client4, server4); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	want = []string{"--json", "--server", "--port", "5201", "--bind", "10.10.3.20", "--version4"}
	if got := (Flow{}).ServerArgs(server4); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestServerInterval: a server without a report interval has its client's.
func TestServerInterval(t *testing.T) {
	for _, c := range []struct {
		client, server float64
		want           string
	}{{0.2, 0, "0.2"}, {0.2, 0.5, "0.5"}} {
		f := Flow{Client: Client{ClientConfig: ClientConfig{Config: Config{ReportInterval: c.client}}}}
		f.Server.ReportInterval = c.server
		got := f.ServerArgs(server4)
		if i := slices.Index(got, "--interval"); i < 0 || got[i+1] != c.want {
			t.Errorf("%v: got %q, want %s", c, got, c.want)
		}
	}
}

func TestTypeOfService(t *testing.T) {
	for _, c := range []struct {
		dscp string
		tos  int
		want int
	}{{"", 0x68, 0x68}, {"ef", 0, 0xb8}, {"AF41", 0, 0x88}, {"46", 0, 0xb8}, {"0x2e", 0, 0xb8}, {"056", 0, 0xb8}, {"0", 0, 0}, {"cs1", 0, 0x20}} {
		if got := (ClientConfig{DSCP: c.dscp, TOS: c.tos}).TypeOfService(); got != c.want {
			t.Errorf("dscp %q and tos %d are %#x, want %#x", c.dscp, c.tos, got, c.want)
		}
	}
	for _, bad := range []string{"64", "-1", "ef1", "1_0", "0x", " 1", "1.5"} {
		if got, err := parseDSCP(bad); err == nil {
			t.Errorf("%q is %#x", bad, got)
		}
	}
}
