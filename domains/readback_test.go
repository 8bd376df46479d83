package domains

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mami-project/labctl/topology"
)

// says fails the test unless err says all of it; nothing wanted means no error.
func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if err == nil {
		t.Errorf("no error; want %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in %q", w, err)
		}
	}
}

const loopback = `{"ifname": "lo", "address": "00:00:00:00:00:00", "mtu": 65536, "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]}`

// linkJSON is a link as ip -json address prints it.
func linkJSON(name, mac string, mtu int, addresses ...string) string {
	var infos []string
	for _, a := range addresses {
		p := netip.MustParsePrefix(a)
		family := "inet"
		if p.Addr().Is6() {
			family = "inet6"
		}
		infos = append(infos, fmt.Sprintf(`{"family": %q, "local": %q, "prefixlen": %d}`, family, p.Addr(), p.Bits()))
	}
	return fmt.Sprintf(`{"ifname": %q, "address": %q, "mtu": %d, "flags": ["UP"], "addr_info": [%s]}`, name, mac, mtu, strings.Join(infos, ", "))
}

func TestCompareLinks(t *testing.T) {
	const one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
	mac := func(text string) net.HardwareAddr {
		m, err := net.ParseMAC(text)
		must(t, err)
		return m
	}
	nics := []topology.NIC{
		{Network: "control", MAC: mac(one), Address: netip.MustParsePrefix("10.7.1.42/24"), MTU: 1500},
		{Network: "test", MAC: mac(two), Mirror: "iperf-client", MTU: 1500},
	}
	good := linkJSON("eth0", one, 1500, "10.7.1.42/24", "fe80::1/64")
	capture := linkJSON("eth1", two, 1500)
	for name, test := range map[string]struct {
		links []string
		want  []string
	}{
		"as written":                          {[]string{loopback, good, capture}, nil},
		"in another order":                    {[]string{capture, good}, nil},
		"another address":                     {[]string{linkJSON("eth0", one, 1500, "10.7.1.43/24"), capture}, []string{"eth0", `"10.7.1.43/24"`, `"10.7.1.42/24"`}},
		"another prefix length":               {[]string{linkJSON("eth0", one, 1500, "10.7.1.42/16"), capture}, []string{`"10.7.1.42/16"`}},
		"no address":                          {[]string{linkJSON("eth0", one, 1500), capture}, []string{`address ""`}},
		"one address too many":                {[]string{linkJSON("eth0", one, 1500, "10.7.1.42/24", "10.9.0.1/8"), capture}, []string{"10.9.0.1/8"}},
		"another MTU":                         {[]string{linkJSON("eth0", one, 9000, "10.7.1.42/24"), capture}, []string{"MTU 9000", "1500"}},
		"no link":                             {[]string{loopback, capture}, []string{"no link has MAC " + one}},
		"a capture NIC that could speak IPv6": {[]string{good, linkJSON("eth1", two, 1500, "fe80::2/64")}, []string{"eth1", "fe80::2/64"}},
		"both wrong":                          {[]string{linkJSON("eth1", two, 9000)}, []string{"no link has MAC " + one, "MTU 9000"}},
	} {
		t.Run(name, func(t *testing.T) {
			says(t, compareLinks([]byte("["+strings.Join(test.links, ",")+"]"), nics), test.want...)
		})
	}
	says(t, compareLinks([]byte("\x1b[31mnot found"), nics), "ip -json address printed ?[31mnot found")
	says(t, compareLinks([]byte(`[{"addr_info": [{"local": "ten"}]}]`), nics), "ip -json address printed")
}

func TestCompareUnits(t *testing.T) {
	units := []string{"ssh", "influxdb"}
	says(t, compareUnits("active active ", units))
	says(t, compareUnits("active activating ", units), "ssh influxdb are active activating")
	says(t, compareUnits("active ", units), "influxdb")
	says(t, compareUnits("inactive active ", units), "inactive")
	says(t, compareUnits("", units), "ssh")
	says(t, compareUnits("", nil))
}

func TestCompareHosts(t *testing.T) {
	says(t, compareHosts("127.0.0.1 localhost\n", "127.0.0.1 localhost\n"))
	says(t, compareHosts("127.0.0.1 localhost\x07\n", "127.0.0.1 localhost\n"), "reads:\n127.0.0.1 localhost?")
	says(t, compareHosts("", "127.0.0.1 localhost\n"), "hosts file")
}

// serve answers every connection on a port of 127.0.0.1.
func serve(t *testing.T, answer func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				answer(c)
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// hang says nothing until the other end has had enough.
func hang(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// flood never stops speaking, and never ends a line.
func flood(c net.Conn) {
	for {
		if _, err := io.WriteString(c, "SSH-2.0-xxxxxxxxxxxxxxxxxxxxxxxxx"); err != nil {
			return
		}
	}
}

func say(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		hang(c)
	}
}

// What a guest does must not keep labctl longer than one try may take.
const soon = 3 * dialTime

func TestSSHGreets(t *testing.T) {
	for name, test := range map[string]struct {
		server func(net.Conn)
		want   bool
	}{
		"OpenSSH":       {say("SSH-2.0-OpenSSH_9.2p1 Debian\r\n"), true},
		"another":       {say("220 mail ESMTP\r\n"), false},
		"an old one":    {say("SSH-1.5-old\r\n"), false},
		"closes":        {func(net.Conn) {}, false},
		"cut short":     {func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-Open") }, false},
		"hangs":         {hang, false},
		"never ends":    {flood, false},
		"too long":      {say("SSH-2.0-" + strings.Repeat("x", 300) + "\r\n"), false},
		"garbage first": {say("\x00\xff\x1b[31m\n"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serve(t, test.server)
			start := time.Now()
			if got := sshGreets(t.Context(), at); got != test.want {
				t.Errorf("%v", got)
			}
			if took := time.Since(start); took > soon {
				t.Errorf("it took %s", took)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		must(t, err)
		must(t, l.Close())
		if sshGreets(t.Context(), l.Addr().(*net.TCPAddr).AddrPort()) {
			t.Error("it greets")
		}
	})
}

func TestInfluxPings(t *testing.T) {
	var elsewhere atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Store(true)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(func() {
		other.Close()
		if elsewhere.Load() {
			t.Error("the guest made the host ask elsewhere")
		}
	})
	http204 := "HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n"
	answer := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			request, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil && request.URL.Path == "/ping" {
				_, _ = io.WriteString(c, text)
			}
		}
	}
	for name, test := range map[string]struct {
		server func(net.Conn)
		want   bool
	}{
		"InfluxDB":        {answer(http204), true},
		"another":         {answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), false},
		"starts":          {answer("HTTP/1.1 503 Service Unavailable\r\n\r\n"), false},
		"sends elsewhere": {answer("HTTP/1.1 302 Found\r\nLocation: " + other.URL + "\r\n\r\n"), false},
		"closes":          {func(net.Conn) {}, false},
		"hangs":           {hang, false},
		"garbage":         {say("\x00\x01\x02 SSH-2.0\r\n\r\n"), false},
		"never ends": {func(c net.Conn) {
			answer("HTTP/1.1 204 No Content\r\nX: ")(c)
			flood(c)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serve(t, test.server)
			start := time.Now()
			if got := influxPings(t.Context(), at); got != test.want {
				t.Errorf("%v", got)
			}
			if took := time.Since(start); took > soon {
				t.Errorf("it took %s", took)
			}
		})
	}
}
