package networks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

// ovsBridge is a bridge of Open vSwitch's that a segment has. It is the lab's where
// its record has the lab's name and MAC.
type ovsBridge struct {
	name string
	mac  net.HardwareAddr
}

// ovsOwner is the key under which Open vSwitch's records tell whose they are.
const ovsOwner = "external_ids:labctl"

// plain are the settings of a bridge that passes every frame and adds none of its own:
// no controller says otherwise, and frames for bridges themselves are no exception.
func (b ovsBridge) plain() (map[string]string, error) {
	datapath, err := host.OVSDatapath()
	return map[string]string{
		"datapath_type":             datapath,
		"controller":                "",
		"fail_mode":                 "standalone",
		"stp_enable":                "false",
		"rstp_enable":               "false",
		"mcast_snooping_enable":     "false",
		"other_config:forward-bpdu": "true",
		"other_config:hwaddr":       b.mac.String(),
	}, err
}

// record is what Open vSwitch has of the bridge; nil where it has none. Another's
// bridge or link of that name is an error.
func (b ovsBridge) record(ctx context.Context) (host.OVSRow, error) {
	rows, err := host.OVSRows(ctx, "Bridge", "name="+b.name,
		"datapath_type", "controller", "fail_mode", "stp_enable", "rstp_enable", "mcast_snooping_enable", "other_config")
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		_, err := ownLink(b.name, b.mac)
		return nil, err
	}
	if mac := rows[0].One("other_config:hwaddr"); mac != b.mac.String() {
		return nil, fmt.Errorf("bridge %s of Open vSwitch's is %w: remove it or rename it", b.name, errForeign)
	}
	return rows[0], nil
}

// bridged says whether the bridge is there: Open vSwitch has its record, and has made its link.
func (b ovsBridge) bridged(ctx context.Context) (bool, error) {
	r, err := b.record(ctx)
	if err != nil || r == nil {
		return false, err
	}
	l, err := link(b.name)
	return l != nil, err
}

// isPlain says whether the bridge is there, plain, and has that MTU.
func (b ovsBridge) isPlain(ctx context.Context, mtu int) (bool, error) {
	r, err := b.record(ctx)
	if err != nil || r == nil {
		return false, err
	}
	want, err := b.plain()
	if err != nil {
		return false, err
	}
	for column, value := range want {
		if r.One(column) != value {
			return false, nil
		}
	}
	l, err := link(b.name)
	if err != nil || l == nil || l.Attrs().MTU != mtu {
		return false, err
	}
	if left, err := b.leaves(ctx); err != nil || !left {
		return false, err
	}
	return host.IsQuiet(b.name)
}

// leaves says whether Open vSwitch leaves the queues of the bridge's ports alone, as
// its own port has it: each time it is started it removes those it does not know.
func (b ovsBridge) leaves(ctx context.Context) (bool, error) {
	port, err := host.OVSRows(ctx, "Port", "name="+b.name, "qos")
	return len(port) == 1 && port[0].One("qos") != "", err
}

// create makes the bridge, plain; who for people says whose it is. The host has no part
// in it: its own port stays down.
func (b ovsBridge) create(ctx context.Context, who string, mtu int) error {
	if _, err := b.record(ctx); err != nil {
		return err
	}
	want, err := b.plain()
	if err != nil {
		return err
	}
	commands := []string{"--may-exist", "add-br", b.name, "--", "set", "Bridge", b.name, ovsOwner + "=" + who}
	for column, value := range want {
		if value == "" {
			value = "[]"
		}
		commands = append(commands, column+"="+value)
	}
	commands = append(commands, "--", "set", "Interface", b.name, "mtu_request="+strconv.Itoa(mtu))
	leaves, err := b.leaves(ctx)
	if err != nil {
		return err
	}
	if !leaves {
		commands = append(commands, "--", "--id=@leave", "create", "QoS", "type=linux-noop", ovsOwner+"="+b.name, "--", "set", "Port", b.name, "qos=@leave")
	}
	if err := host.OVS(ctx, commands...); err != nil {
		return fmt.Errorf("make bridge %s: %w", b.name, err)
	}
	if err := host.Quiet(b.name); err != nil {
		return err
	}
	return nil
}

// remove removes the bridge, and with it the records of its ports and mirrors. Where the
// host has no Open vSwitch there is none; one that is off is an error.
func (b ovsBridge) remove(ctx context.Context) error {
	if err := host.OVSRuns(ctx); errors.Is(err, host.NoOVS) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := b.record(ctx); errors.Is(err, errForeign) {
		return nil
	} else if err != nil {
		return err
	}
	if err := host.OVS(ctx, "--if-exists", "del-br", b.name); err != nil {
		return fmt.Errorf("remove bridge %s: %w", b.name, err)
	}
	// Once its ports are gone, which have it.
	queues, err := host.OVSRows(ctx, "QoS", ovsOwner+"="+b.name, "_uuid")
	if err != nil {
		return err
	}
	for _, q := range queues {
		if err := host.OVS(ctx, "--if-exists", "destroy", "QoS", q.One("_uuid")); err != nil {
			return fmt.Errorf("remove what kept the queues of %s: %w", b.name, err)
		}
	}
	return nil
}

// ovsOf is the bridge of a lab's segment, which libvirt's network of that name has: names
// decide it, for libvirt keeps no MAC of a bridge that it does not make.
func ovsOf(lab, object, bridge string) ovsBridge {
	names := strings.Split(strings.TrimPrefix(object, topology.ObjectName(lab, "")), ".")
	return ovsBridge{bridge, topology.MAC("bridge", lab, names...)}
}
