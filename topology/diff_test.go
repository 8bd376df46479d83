package topology

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	_, src := Default()
	old := string(src)
	l := decided(t, old)
	if d := Differences(l, l); d != nil {
		t.Errorf("a lab differs from itself: %q", d)
	}
	extra := "  extra: {nics: [{network: control, address: 10.7.1.99}]}\n"
	for _, c := range []struct {
		name     string
		from, to string // in the default lab
		want     []string
	}{
		{"memory", "memory: 512MiB", "memory: 1GiB", []string{"nodes.iperf-client.memory: 512 MiB → 1024 MiB"}},
		{"cpus", "cpus: 1", "cpus: 2", []string{"nodes.iperf-client.cpus: 1 → 2"}},
		{"disk", "disk: 10GiB", "disk: 11GiB", []string{"nodes.tshark.disk: 10240 MiB → 11264 MiB"}},
		{"accel", "name: trafic", "name: trafic\naccel: tcg", []string{"accel: auto → tcg"}},
		{"name", "name: trafic", "name: other", []string{"name: trafic → other"}},
		{"mtu", "mtu: 1500", "mtu: 9000", []string{"networks.test.mtu: 1500 → 9000"}},
		{"bridge", "sides: [client, server]", "bridge: ovs\n    sides: [client, server]", []string{"networks.test.bridge: linux → ovs"}},
		{"network added", "uplink: nat}", "uplink: nat}\n  spare: {subnet: 10.9.0.0/24}", []string{"networks.spare: added"}},
		{"sides", "sides: [client, server]", "sides: [server, client]", []string{"networks.test.sides: client, server → server, client"}},
		{"address", "10.7.1.43", "10.7.1.44", []string{"nodes.influxdb.nics: 10.7.1.43/24 on control → 10.7.1.44/24 on control"}},
		{"side", "side: server", "side: client", []string{"nodes.iperf-server.nics: 10.7.1.41/24 on control, 10.7.2.41/24 on test/server → 10.7.1.41/24 on control, 10.7.2.41/24 on test/client"}},
		{"mirror", "mirror: iperf-client", "mirror: iperf-server", []string{"nodes.tshark.nics: 10.7.1.42/24 on control, mirror of iperf-client on test → 10.7.1.42/24 on control, mirror of iperf-server on test"}},
		{"service", "services: [influxdb]", "services: []", []string{"nodes.influxdb.services: influxdb → none"}},
		{"publish", `["8086:8086", "8087:8087"]`, `["8086:8086", "127.0.0.1:53:53/udp"]`, []string{"nodes.influxdb.publish: 8086:8086, 8087:8087 → 8086:8086, 127.0.0.1:53:53/udp"}},
		{"image", "image: debian #", "image: debian-slim #", []string{
			"nodes.iperf-client.image: debian → debian-slim", "nodes.iperf-server.image: debian → debian-slim",
			"nodes.tshark.image: debian → debian-slim", "nodes.influxdb.image: debian → debian-slim",
		}},
		{"added", "nodes:\n", "nodes:\n" + extra, []string{"nodes.extra: added"}},
		{"comment", "# What every node", "# Everything", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(old, c.from) {
				t.Fatalf("%q is not in the default lab", c.from)
			}
			now := decided(t, strings.Replace(old, c.from, c.to, 1))
			if diff := cmp.Diff(c.want, Differences(l, now)); diff != "" {
				t.Error(diff)
			}
		})
	}
	other := strings.NewReplacer("{from: mid, side: client}", "{from: mid, side: server}", "client: 10.9.2.0/24", "client: 10.9.4.0/24").Replace(routerLab)
	if diff := cmp.Diff([]string{
		"networks.test.subnet: 10.9.2.0/24, 10.9.3.0/24 → 10.9.4.0/24, 10.9.3.0/24",
		"nodes.client.nics: 10.9.1.2/24 on control, 10.9.2.1/24 on test/client → 10.9.1.2/24 on control, 10.9.4.1/24 on test/client",
		"nodes.mid.nics: 10.9.1.3/24 on control, 10.9.3.1/24 on test/server, 10.9.2.2/24 on test/client → 10.9.1.3/24 on control, 10.9.3.1/24 on test/server, 10.9.4.2/24 on test/client",
		"nodes.capture.nics: 10.9.1.5/24 on control, mirror of mid on test/client → 10.9.1.5/24 on control, mirror of mid on test/server",
	}, Differences(decided(t, routerLab), decided(t, other))); diff != "" {
		t.Error(diff)
	}
	own := func(image string) Lab {
		return decided(t, "name: x\nimage: own\nimages:\n  own: "+image+"\n  unused: {recipe: u.yaml}\nnetworks: {c: {subnet: 10.9.1.0/24}}\nnodes:\n  a: {nics: [{network: c}]}\n")
	}
	if diff := cmp.Diff([]string{"images.own.path: a.qcow2 → b.qcow2", "images.own.guest: debian → alpine", "images.own.configure: agent → none"},
		Differences(own("{path: a.qcow2, guest: debian, configure: agent}"), own("{path: b.qcow2, guest: alpine}"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Image{{Name: "own", Recipe: "r.yaml"}}, own("{recipe: r.yaml}").Images); diff != "" {
		t.Error(diff)
	}
	with := decided(t, old+extra)
	if diff := cmp.Diff([]string{"nodes.extra: removed"}, Differences(with, l)); diff != "" {
		t.Error(diff)
	}
	first := decided(t, strings.Replace(old, "nodes:\n", "nodes:\n"+extra, 1))
	if diff := cmp.Diff([]string{"nodes: in another order"}, Differences(with, first)); diff != "" {
		t.Error(diff)
	}
}
