package networks

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/host"
)

// ovsCopy is a Mirror of a port of Open vSwitch's, by a mirror of its own. The capture
// NIC is a port of the same bridge for it, which gets nothing else and gives nothing.
type ovsCopy struct{ Mirror }

// state is Partial where a port has been replaced since, or the record is another's by now.
func (m ovsCopy) state(ctx context.Context) (host.State, error) {
	rows, err := m.records(ctx)
	if err != nil || len(rows) == 0 {
		return host.Absent, err
	}
	plugged, err := host.OVSPlugged(ctx, m.To, m.Bridge)
	if err != nil || !plugged {
		return host.Partial, err
	}
	from, err := ovsPort(ctx, m.From.Link)
	if err != nil {
		return host.Partial, err
	}
	to, err := ovsPort(ctx, m.To)
	if err != nil {
		return host.Partial, err
	}
	r := rows[0]
	if len(rows) == 1 && from != "" && to != "" && r.One("select_src_port") == from && r.One("select_dst_port") == from &&
		r.One("output_port") == to && r.One("select_vlan") == "" && r.One("snaplen") == "" {
		return host.Present, nil
	}
	return host.Partial, nil
}

// create makes the mirror anew, along with its port.
func (m ovsCopy) create(ctx context.Context) error {
	from, err := ovsPort(ctx, m.From.Link)
	if err != nil {
		return err
	}
	if from == "" {
		return fmt.Errorf("%s is no port of %s", m.From.Link, m.Bridge)
	}
	if err := m.destroy(ctx); err != nil {
		return err
	}
	return host.OVSPlug(ctx, m.To, m.Bridge,
		"--", "--id=@to", "get", "Port", m.To,
		"--", "--id=@copy", "create", "Mirror", "name="+m.To, "select_src_port="+from, "select_dst_port="+from, "output_port=@to",
		"--", "add", "Bridge", m.Bridge, "mirrors", "@copy")
}

// destroy removes the mirror and its port, whatever of them is there.
func (m ovsCopy) destroy(ctx context.Context) error {
	rows, err := m.records(ctx)
	if err != nil {
		return err
	}
	to, err := ovsPort(ctx, m.To)
	if err != nil || len(rows) == 0 && to == "" {
		return err
	}
	commands := []string{"--if-exists", "del-port", m.To}
	for _, r := range rows {
		commands = append(commands, "--", "remove", "Bridge", m.Bridge, "mirrors", r.One("_uuid"))
	}
	if err := host.OVS(ctx, commands...); err != nil {
		return fmt.Errorf("remove mirror %s of %s: %w", m.To, m.Bridge, err)
	}
	return nil
}

func (m ovsCopy) records(ctx context.Context) ([]host.OVSRow, error) {
	return host.OVSRows(ctx, "Mirror", "name="+m.To, "_uuid", "select_src_port", "select_dst_port", "select_vlan", "snaplen", "output_port")
}

// counters are those of the capture NIC's link: nothing else passes it, and Open vSwitch
// tells its own but every few seconds. A copy that did not get in is lost there.
func (m ovsCopy) counters(to netlink.Link) (Counters, error) {
	s := to.Attrs().Statistics
	if s == nil {
		return Counters{}, errors.New("the kernel counts nothing at " + m.To)
	}
	return Counters{Received: Copied{Frames: s.TxPackets + s.TxDropped, Bytes: s.TxBytes}, Dropped: s.TxDropped}, nil
}

// ovsPort is the record of a port; "" where there is none.
func ovsPort(ctx context.Context, name string) (string, error) {
	rows, err := host.OVSRows(ctx, "Port", "name="+name, "_uuid")
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0].One("_uuid"), nil
}
