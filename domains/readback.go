package domains

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// isAsWritten reads the node's addresses and hosts file back through the agent,
// without starting a process in the node.
func isAsWritten(ctx context.Context, m Machine) error {
	links, err := m.agent().Links(ctx)
	if err != nil {
		return err
	}
	for _, nic := range m.Node.NICs {
		l, err := findLink(links, nic)
		if err != nil {
			return err
		}
		if err := compareAddress(l, nic); err != nil {
			return err
		}
		mtu, err := m.agent().ReadFile(ctx, "/sys/class/net/"+l.Name+"/mtu")
		if err != nil {
			return err
		}
		if got := strings.TrimSpace(string(mtu)); got != strconv.Itoa(nic.MTU) {
			return fmt.Errorf("%s (%s) has MTU %s where %d was written", l.Name, nic.MAC, host.Excerpt(mtu), nic.MTU)
		}
	}
	hosts, err := m.agent().ReadFile(ctx, "/etc/hosts")
	if err != nil {
		return err
	}
	return compareHosts(string(hosts), m.Hosts())
}

// linkName is what Linux allows as a link's name and a path may hold: a guest's word is not trusted.
var linkName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,15}$`)

// findLink is the link that bears the NIC's MAC.
func findLink(links []Link, nic topology.NIC) (Link, error) {
	for _, l := range links {
		if l.MAC == nic.MAC.String() && linkName.MatchString(l.Name) {
			return l, nil
		}
	}
	return Link{}, fmt.Errorf("no link has MAC %s", nic.MAC)
}

// compareAddress says where a link's addresses are other than the NIC's as
// decided: exactly one of IPv4, and one of IPv6 beside the link-local one where the
// network has it; or none of any kind on a capture NIC.
func compareAddress(l Link, nic topology.NIC) error {
	var found []string
	for _, a := range l.Addresses {
		given := nic.Address6.IsValid() && !a.Address.IsLinkLocalUnicast()
		if a.Address.Is4() || given || nic.Mirror != "" {
			found = append(found, netip.PrefixFrom(a.Address, a.Bits).String())
		}
	}
	var wanted []string
	for _, a := range nic.Addresses() {
		wanted = append(wanted, a.String())
	}
	want := strings.Join(wanted, " ")
	if got := strings.Join(found, " "); got != want {
		return fmt.Errorf("%s (%s) has address %q where %q was written", l.Name, nic.MAC, host.Excerpt([]byte(got)), want)
	}
	return nil
}

func compareHosts(got, want string) error {
	if got != want {
		return fmt.Errorf("the hosts file is not the one that was written; it reads:\n%s", host.Excerpt([]byte(got)))
	}
	return nil
}

// Where services are reached, how long one try may take, and how many bytes of
// the answer are read: it is a guest's word.
const (
	sshPort    = 22
	InfluxPort = 8086 // of a node's InfluxDB
	HTTPSPort  = 8087 // of the same by https
	dialTime   = 2 * time.Second
	greeting   = 255 // RFC 4253 section 4.2
	headerMost = 64 << 10
)

// greetTime is how long sshd may take to greet. It starts a process for each who
// connects: on a busy machine those who are left early pile up, and it greets nobody.
const greetTime = 20 * time.Second

// servicesAnswer reaches the node as a user will: ssh greets, InfluxDB pings. Where the
// host has no way to the node, the node itself is asked to. Of one that goes on the ports are looked at.
func servicesAnswer(ctx context.Context, m Machine) error {
	address, ok := m.Node.ControlAddress()
	if !ok {
		return nil // reached by its agent only
	}
	reached, err := m.On.Reaches(address)
	if err != nil {
		return err
	}
	if !reached {
		return m.servesItself(ctx, address)
	}
	if goesOn(m) {
		return portsAreOpen(ctx, m, address)
	}
	at := netip.AddrPortFrom(address, sshPort)
	if err := until(ctx, func() (bool, error) { return sshGreets(ctx, at), nil }); err != nil {
		return fmt.Errorf("ssh at %s: %w", address, err)
	}
	for _, s := range m.Node.Services {
		if s != topology.ServiceInfluxDB {
			continue
		}
		at := netip.AddrPortFrom(address, InfluxPort)
		if err := until(ctx, func() (bool, error) { return influxPings(ctx, "http", at, nil), nil }); err != nil {
			return fmt.Errorf("InfluxDB at %s: %w", address, err)
		}
		if err := httpsAnswers(ctx, m, address); err != nil {
			return err
		}
	}
	return nil
}

// portsAreOpen looks at the same services of a machine that goes on, which have answered before it was saved:
// sshd would start two processes to greet, and what an emulated processor does for the first time takes it long.
func portsAreOpen(ctx context.Context, m Machine, address netip.Addr) error {
	ports := []uint16{sshPort}
	if slices.Contains(m.Node.Services, topology.ServiceInfluxDB) {
		ports = append(ports, InfluxPort)
		if m.Trust != nil {
			ports = append(ports, HTTPSPort)
		}
	}
	for _, port := range ports {
		at := netip.AddrPortFrom(address, port)
		if err := until(ctx, func() (bool, error) { return listens(ctx, at), nil }); err != nil {
			return fmt.Errorf("nothing listens at %s: %w", at, err)
		}
	}
	return nil
}

// listens says whether a TCP port is open.
func listens(ctx context.Context, at netip.AddrPort) bool {
	c, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func sshGreets(ctx context.Context, at netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, greetTime)
	defer cancel()
	c, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	line, err := bufio.NewReader(io.LimitReader(c, greeting)).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "SSH-2.0-")
}

// httpsAnswers reaches InfluxDB by https as one who trusts the lab's own authority, by
// the node's name.
func httpsAnswers(ctx context.Context, m Machine, address netip.Addr) error {
	if m.Trust == nil {
		return nil
	}
	trusted, err := m.Trust()
	if err != nil {
		return err
	}
	by := &tls.Config{RootCAs: trusted, ServerName: m.Node.Name, MinVersion: tls.VersionTLS12}
	at := netip.AddrPortFrom(address, HTTPSPort)
	if err := until(ctx, func() (bool, error) { return influxPings(ctx, "https", at, by), nil }); err != nil {
		return fmt.Errorf("InfluxDB by https at %s: %w", address, err)
	}
	return nil
}

// influxPings asks InfluxDB 1.x's /ping, which answers 204.
func influxPings(ctx context.Context, scheme string, at netip.AddrPort, by *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at.String()+"/ping", nil)
	if err != nil {
		return false
	}
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil, TLSClientConfig: by, MaxResponseHeaderBytes: headerMost},
		// a guest does not send the host elsewhere
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusNoContent
}
