package domains

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
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

func TestLinksReadBack(t *testing.T) {
	const one, two = "02:00:00:00:00:01", "02:00:00:00:00:02"
	mac := func(text string) net.HardwareAddr {
		m, err := net.ParseMAC(text)
		must(t, err)
		return m
	}
	control := topology.NIC{Network: "control", MAC: mac(one), Address: netip.MustParsePrefix("10.7.1.42/24")}
	dual := control
	dual.Address6 = netip.MustParsePrefix("fd00:7:1::2a/64")
	capture := topology.NIC{Network: "test", MAC: mac(two), Mirror: "iperf-client"}
	link := func(name, mac string, addresses ...string) string {
		return fmt.Sprintf(`{"name": %q, "hardware-address": %q, "ip-addresses": [%s]}`, name, mac, strings.Join(addresses, ", "))
	}
	ip := func(address string, bits int) string {
		return fmt.Sprintf(`{"ip-address": %q, "ip-address-type": "ipv4", "prefix": %d}`, address, bits)
	}
	loopback := link("lo", "00:00:00:00:00:00", ip("127.0.0.1", 8))
	for name, test := range map[string]struct {
		nic   topology.NIC
		links []string
		want  []string
	}{
		"as written":                  {control, []string{loopback, link("eth1", two), link("eth0", one, ip("10.7.1.42", 24))}, nil},
		"with IPv6 beside":            {control, []string{link("eth0", one, ip("10.7.1.42", 24), ip("fe80::1", 64))}, nil},
		"as written, of both kinds":   {dual, []string{link("eth0", one, ip("10.7.1.42", 24), ip("fd00:7:1::2a", 64), ip("fe80::1", 64))}, nil},
		"no IPv6 address":             {dual, []string{link("eth0", one, ip("10.7.1.42", 24), ip("fe80::1", 64))}, []string{`"10.7.1.42/24"`, `"10.7.1.42/24 fd00:7:1::2a/64"`}},
		"another IPv6 address":        {dual, []string{link("eth0", one, ip("10.7.1.42", 24), ip("fd00:7:1::2b", 64))}, []string{"fd00:7:1::2b/64"}},
		"one of its own making":       {dual, []string{link("eth0", one, ip("10.7.1.42", 24), ip("fd00:7:1::2a", 64), ip("fd00:7:1::ff:fe00:1", 64))}, []string{"fd00:7:1::ff:fe00:1/64"}},
		"a capture NIC":               {capture, []string{link("eth1", two)}, nil},
		"no list of addresses":        {capture, []string{`{"name": "eth1", "hardware-address": "` + two + `"}`}, nil},
		"another address":             {control, []string{link("eth0", one, ip("10.7.1.43", 24))}, []string{"eth0", `"10.7.1.43/24"`, `"10.7.1.42/24"`}},
		"another prefix length":       {control, []string{link("eth0", one, ip("10.7.1.42", 16))}, []string{`"10.7.1.42/16"`}},
		"no address":                  {control, []string{link("eth0", one)}, []string{`address ""`}},
		"one address too many":        {control, []string{link("eth0", one, ip("10.7.1.42", 24), ip("10.9.0.1", 8))}, []string{"10.9.0.1/8"}},
		"no link":                     {control, []string{loopback, link("eth1", two)}, []string{"no link has MAC " + one}},
		"a capture NIC with IPv6":     {capture, []string{link("eth1", two, ip("fe80::2", 64))}, []string{"eth1", "fe80::2/64"}},
		"a capture NIC with IPv4":     {capture, []string{link("eth1", two, ip("10.7.1.1", 24))}, []string{"10.7.1.1/24"}},
		"a name that leads elsewhere": {control, []string{link("../../../x", one, ip("10.7.1.42", 24))}, []string{"no link has MAC"}},
		"a name that cannot be":       {control, []string{link("eth 0", one, ip("10.7.1.42", 24))}, []string{"no link has MAC"}},
	} {
		t.Run(name, func(t *testing.T) {
			var links []Link
			must(t, decode(`{"return": [`+strings.Join(test.links, ", ")+`]}`, &links))
			l, err := findLink(links, test.nic)
			if err == nil {
				err = compareAddress(l, test.nic)
			}
			says(t, err, test.want...)
		})
	}
	if err := decode(`{"return": [`+link("eth0", one, ip("ten", 8))+`]}`, new([]Link)); err == nil {
		t.Error("ten is an address")
	}
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

// promptly fails the test unless the answer is as wanted, and comes soon. A busy machine may hold up one
// who asks or answers, for seconds: it is asked again then, and a yes that is not wanted is wrong at once.
func promptly(t *testing.T, want bool, ask func() bool) {
	t.Helper()
	for left := 10; ; left-- {
		start := time.Now()
		got := ask()
		took := time.Since(start)
		if got == want && took <= soon {
			return
		}
		if got && !want || left == 1 {
			t.Errorf("%v after %s", got, took)
			return
		}
	}
}

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
		"takes long":    {func(c net.Conn) { <-time.After(dialTime + dialTime/4); say("SSH-2.0-OpenSSH_9.2p1\r\n")(c) }, true}, // as on a busy machine
		"never ends":    {flood, false},
		"too long":      {say("SSH-2.0-" + strings.Repeat("x", 300) + "\r\n"), false},
		"garbage first": {say("\x00\xff\x1b[31m\n"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := serve(t, test.server)
			promptly(t, test.want, func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 2*dialTime)
				defer cancel()
				return sshGreets(ctx, at)
			})
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
			promptly(t, test.want, func() bool { return influxPings(t.Context(), "http", at, nil) })
		})
	}
}

// By https only who shows a certificate of the lab's own authority, and for that node, is InfluxDB.
func TestInfluxPingsByHTTPS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	own := x509.NewCertPool()
	own.AddCert(server.Certificate())
	for name, test := range map[string]struct {
		trusted *x509.CertPool
		node    string
		want    bool
	}{
		"InfluxDB":          {own, "example.com", true}, // as httptest calls itself
		"another authority": {x509.NewCertPool(), "example.com", false},
		"another node":      {own, "influxdb", false},
	} {
		t.Run(name, func(t *testing.T) {
			by := &tls.Config{RootCAs: test.trusted, ServerName: test.node, MinVersion: tls.VersionTLS12}
			promptly(t, test.want, func() bool { return influxPings(t.Context(), "https", at, by) })
		})
	}
}
