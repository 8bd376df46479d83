package domains

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// guestLink is a link as `ip -json address` prints it.
type guestLink struct {
	Name      string   `json:"ifname"`
	MAC       string   `json:"address"`
	MTU       int      `json:"mtu"`
	Flags     []string `json:"flags"`
	Addresses []struct {
		Family string     `json:"family"`
		Local  netip.Addr `json:"local"`
		Bits   int        `json:"prefixlen"`
	} `json:"addr_info"`
}

// isAsWritten reads the node's addresses, units and hosts file back through the agent.
func isAsWritten(ctx context.Context, m Machine) error {
	out, err := m.agent().Sh(ctx, "ip -json address && { systemctl is-active "+
		strings.Join(m.Expect.Units, " ")+" | tr '\\n' ' '; echo; } && cat /etc/hosts")
	if err != nil {
		return err
	}
	links, rest, _ := bytes.Cut(out, []byte("\n"))
	units, hosts, _ := bytes.Cut(rest, []byte("\n"))
	return errors.Join(
		compareLinks(links, m.Node.NICs),
		compareUnits(string(units), m.Expect.Units),
		compareHosts(string(hosts), m.Expect.Hosts),
	)
}

// compareLinks says where a node's links are other than its NICs as decided.
func compareLinks(text []byte, nics []topology.NIC) error {
	var links []guestLink
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("ip -json address printed %s: %w", host.Excerpt(text), err)
	}
	var errs []error
	for _, nic := range nics {
		errs = append(errs, compareLink(links, nic))
	}
	return errors.Join(errs...)
}

func compareLink(links []guestLink, nic topology.NIC) error {
	for _, l := range links {
		if l.MAC != nic.MAC.String() {
			continue
		}
		var found []string
		for _, a := range l.Addresses {
			if a.Family == "inet" || nic.Mirror != "" {
				found = append(found, netip.PrefixFrom(a.Local, a.Bits).String())
			}
		}
		want := ""
		if nic.Mirror == "" {
			want = nic.Address.String()
		}
		if got := strings.Join(found, " "); got != want {
			return fmt.Errorf("%s (%s) has address %q where %q was written", l.Name, nic.MAC, host.Excerpt([]byte(got)), want)
		}
		if l.MTU != nic.MTU {
			return fmt.Errorf("%s (%s) has MTU %d where %d was written", l.Name, nic.MAC, l.MTU, nic.MTU)
		}
		return nil
	}
	return fmt.Errorf("no link has MAC %s", nic.MAC)
}

func compareUnits(states string, units []string) error {
	got := strings.Fields(states)
	for i := range units {
		if i >= len(got) || got[i] != "active" {
			return fmt.Errorf("units %s are %s", strings.Join(units, " "), host.Excerpt([]byte(states)))
		}
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
	influxPort = 8086
	dialTime   = 2 * time.Second
	greeting   = 255 // RFC 4253 section 4.2
)

// servicesAnswer reaches the node as a user will: ssh greets, InfluxDB pings.
func servicesAnswer(ctx context.Context, m Machine) error {
	address, ok := m.Node.ControlAddress()
	if !ok {
		return nil // reached by its agent only
	}
	at := netip.AddrPortFrom(address, sshPort)
	if err := until(ctx, func() (bool, error) { return sshGreets(ctx, at), nil }); err != nil {
		return fmt.Errorf("ssh at %s: %w", address, err)
	}
	for _, s := range m.Node.Services {
		if s != topology.ServiceInfluxDB {
			continue
		}
		at := netip.AddrPortFrom(address, influxPort)
		if err := until(ctx, func() (bool, error) { return influxPings(ctx, at), nil }); err != nil {
			return fmt.Errorf("InfluxDB at %s: %w", address, err)
		}
	}
	return nil
}

func sshGreets(ctx context.Context, at netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", at.String())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(dialTime))
	line, err := bufio.NewReader(io.LimitReader(c, greeting)).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "SSH-2.0-")
}

// influxPings asks InfluxDB 1.x's /ping, which answers 204.
func influxPings(ctx context.Context, at netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at.String()+"/ping", nil)
	if err != nil {
		return false
	}
	client := http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil},
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
