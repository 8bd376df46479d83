//go:build bench

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mami-project/labctl/domains"
	"github.com/mami-project/labctl/topology"
)

// A bare machine is asked what domains asks one of libvirt's, as often and in the
// same order; between it and its agent is nothing but a socket.

const (
	bareDeadline = 10 * time.Minute
	barePoll     = 50 * time.Millisecond
)

// untilReady waits until the machine has met every requirement, and says when its agent answered.
func (m *bareMachine) untilReady() (agent time.Time, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), bareDeadline)
	defer cancel()
	conn, err := net.Dial("unix", m.agentSocket())
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	end, _ := ctx.Deadline()
	if err := conn.SetDeadline(end); err != nil {
		return time.Time{}, err
	}
	a := bareAgent{conn, json.NewDecoder(conn)}
	if err := a.call("guest-ping", nil, nil); err != nil { // it stays in the channel until the agent opens that
		return time.Time{}, err
	}
	agent = time.Now()
	if err := a.hasBooted(ctx); err != nil {
		return agent, err
	}
	if err := a.isAsWritten(m.Node, m.Hosts()); err != nil {
		return agent, err
	}
	return agent, servicesAnswer(ctx, m.Node)
}

// bareAgent speaks QEMU's guest agent protocol.
type bareAgent struct {
	out net.Conn
	in  *json.Decoder
}

func (a bareAgent) call(command string, arguments map[string]any, to any) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(a.out).Encode(request); err != nil {
		return err
	}
	var answer struct {
		Return json.RawMessage
		Error  struct{ Desc string }
	}
	if err := a.in.Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	if answer.Return == nil {
		return fmt.Errorf("%s: %s", command, answer.Error.Desc)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(answer.Return, to)
}

func (a bareAgent) hasBooted(ctx context.Context) error {
	var started struct{ PID int }
	err := a.call("guest-exec", map[string]any{"path": "systemctl", "arg": []string{"is-system-running", "--wait"}, "capture-output": true}, &started)
	if err != nil {
		return err
	}
	var ended struct {
		Exited bool
		Out    []byte `json:"out-data"`
	}
	err = poll(ctx, func() (bool, error) {
		err := a.call("guest-exec-status", map[string]any{"pid": started.PID}, &ended)
		return ended.Exited, err
	})
	if state := strings.TrimSpace(string(ended.Out)); err == nil && state != "running" {
		return fmt.Errorf("the system is %q", state)
	}
	return err
}

func (a bareAgent) isAsWritten(n topology.Node, hosts string) error {
	var links []domains.Link
	if err := a.call("guest-network-get-interfaces", nil, &links); err != nil {
		return err
	}
	for _, nic := range n.NICs {
		i := slices.IndexFunc(links, func(l domains.Link) bool { return l.MAC == nic.MAC.String() })
		if i < 0 {
			return fmt.Errorf("no link has MAC %s", nic.MAC)
		}
		if nic.Mirror == "" && !hasAddress(links[i], nic.Address) {
			return fmt.Errorf("%s has not address %s", links[i].Name, nic.Address)
		}
		mtu, err := a.read("/sys/class/net/" + links[i].Name + "/mtu")
		if err != nil {
			return err
		}
		if strings.TrimSpace(mtu) != strconv.Itoa(nic.MTU) {
			return fmt.Errorf("%s has MTU %q", links[i].Name, mtu)
		}
	}
	got, err := a.read("/etc/hosts")
	if err == nil && got != hosts {
		return fmt.Errorf("the hosts file reads %q", got)
	}
	return err
}

func hasAddress(l domains.Link, want netip.Prefix) bool {
	for _, a := range l.Addresses {
		if netip.PrefixFrom(a.Address, a.Bits) == want {
			return true
		}
	}
	return false
}

func (a bareAgent) read(path string) (string, error) {
	var handle int
	if err := a.call("guest-file-open", map[string]any{"path": path, "mode": "r"}, &handle); err != nil {
		return "", err
	}
	var read struct {
		Text []byte `json:"buf-b64"`
	}
	if err := a.call("guest-file-read", map[string]any{"handle": handle, "count": 1 << 20}, &read); err != nil {
		return "", err
	}
	return string(read.Text), a.call("guest-file-close", map[string]any{"handle": handle}, nil)
}

// servicesAnswer waits until ssh greets and, where it is to run, InfluxDB pings.
func servicesAnswer(ctx context.Context, n topology.Node) error {
	address, _ := n.ControlAddress()
	const try = 2 * time.Second
	err := poll(ctx, func() (bool, error) {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(address, 22).String(), try)
		if err != nil {
			return false, nil
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(try))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.HasPrefix(line, "SSH-2.0-"), nil
	})
	if err != nil || !slices.Contains(n.Services, topology.ServiceInfluxDB) {
		return err
	}
	client := http.Client{Timeout: try, Transport: &http.Transport{DisableKeepAlives: true}}
	return poll(ctx, func() (bool, error) {
		answer, err := client.Get("http://" + netip.AddrPortFrom(address, 8086).String() + "/ping")
		if err != nil {
			return false, nil
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusNoContent, nil
	})
}

// poll asks again and again, until done, an error, or the end of ctx.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(barePoll)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
