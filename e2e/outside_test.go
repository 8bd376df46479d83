//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// anotherHost makes a network namespace that acts as another host, 192.0.2.2, on
// a network of the private host's, 192.0.2.1, with its routes through that.
func anotherHost(t *testing.T) {
	t.Helper()
	sh(t, `ip netns add outside
ip link add out0 type veth peer name out1 netns outside
echo 1 >/proc/sys/net/ipv6/conf/out0/disable_ipv6
ip addr add 192.0.2.1/24 dev out0
ip link set out0 up
ip -n outside addr add 192.0.2.2/24 dev out1
ip -n outside link set out1 up
ip -n outside link set lo up
ip -n outside route add default via 192.0.2.1`)
}

// witness counts what nodes begin to send to addresses that are no lab's, questions
// for names wherever they go, and those for the time that go to no node's control address.
func witness(t *testing.T) {
	t.Helper()
	sh(t, `nft -f - <<'END'
table inet witness {
	chain arriving {
		type filter hook prerouting priority mangle;
		iifname "lcb*" ct state new ip daddr != { 10.7.0.0/16, 224.0.0.0/4, 255.255.255.255 } counter name outward
		iifname "lcb*" udp dport { 53, 67 } counter name questions
		iifname "lcb*" ip daddr != 10.7.1.2-10.7.1.254 udp dport 123 counter name questions
	}
	counter outward { }
	counter questions { }
}
END`)
}

func witnessed(t *testing.T, counter string) string {
	t.Helper()
	return sh(t, "nft -j list counter inet witness "+counter+" | grep -o '\"packets\": *[0-9]*' | grep -o '[0-9]*$'")
}

func noNodeSpeaksToTheOutside(t *testing.T) {
	for _, c := range []string{"outward", "questions"} {
		if n := witnessed(t, c); n != "0" {
			t.Errorf("%s packets counted as %s", n, c)
		}
	}
	// the witness sees what there is to see
	eventually(t, "the witness counts what a node sends outside", func() bool {
		must(t, "exec", "iperf-client", "--", "sh", "-c", "ping -c1 -W1 198.51.100.1; true")
		return witnessed(t, "outward") != "0"
	})
}

func influxAnswers(t *testing.T) {
	const ping = "curl -sf -m 60 -o /dev/null -w '%%{http_code}' http://%s:8086/ping"
	for _, at := range []string{"10.7.1.43", "127.0.0.1", "192.0.2.1"} {
		if got := untilSh(t, fmt.Sprintf(ping, at)); got != "204" {
			t.Errorf("InfluxDB at %s answers the host with %s", at, got)
		}
	}
	for _, n := range nodes {
		if got := untilIn(t, n, fmt.Sprintf(ping, "influxdb")); got != "204" {
			t.Errorf("InfluxDB answers %s with %s", n, got)
		}
	}
	got := untilSh(t, `set -o pipefail; at=http://10.7.1.43:8086 curl='curl -sf -m 60'
$curl -i $at/ping | grep -i x-influxdb-version: | tr -d '\r'
$curl -XPOST $at/query --data-urlencode 'q=CREATE DATABASE proof' >/dev/null
$curl -XPOST "$at/write?db=proof" --data-binary 'frames,flow=1 seen=42'
$curl -G "$at/query?db=proof" --data-urlencode 'q=SELECT seen FROM frames'`)
	if !strings.Contains(strings.ToLower(got), "version: 1.") || !strings.Contains(got, ",42]") {
		t.Errorf("InfluxDB 1.x does not keep what is written to it:\n%s", got)
	}
}

// onlyPublishedPortsAreOpen tries the lab from another host.
func onlyPublishedPortsAreOpen(t *testing.T) {
	const outside = "ip netns exec outside "
	if got := untilSh(t, outside+"curl -sf -m 60 -o /dev/null -w '%{http_code}' http://192.0.2.1:8086/ping"); got != "204" {
		t.Errorf("InfluxDB's published port answers %s", got)
	}
	const banner = `timeout 60 bash -c 'exec 3<>/dev/tcp/%s/%s && read -r line <&3 && echo "$line"'`
	if got := untilSh(t, outside+fmt.Sprintf(banner, "192.0.2.1", "2222")); !strings.HasPrefix(got, "SSH-2.0") {
		t.Errorf("tshark's published port says %q", got)
	}
	if got := untilSh(t, fmt.Sprintf(banner, "10.7.1.40", "22")); !strings.HasPrefix(got, "SSH-2.0") {
		t.Errorf("the host itself does not reach iperf-client's ssh: %q", got)
	}
	eventually(t, "the host itself pings iperf-client", func() bool { return trySh(t, "ping -c1 -W20 10.7.1.40") })
	// all at once: each of these runs into its time limit
	var script strings.Builder
	for _, at := range []string{"10.7.1.40", "10.7.1.41", "10.7.1.42", "10.7.1.43", "10.7.2.40", "10.7.2.41", "192.0.2.1"} {
		for _, port := range []string{"22", "8086", "8087", "2222", "5201", "9"} {
			if at == "192.0.2.1" && slices.Contains([]string{"8086", "8087", "2222"}, port) {
				continue
			}
			fmt.Fprintf(&script, "(timeout 5 bash -c '</dev/tcp/%s/%s' 2>/dev/null && echo %[1]s:%[2]s) &\n", at, port)
		}
		if at != "192.0.2.1" {
			fmt.Fprintf(&script, "(ping -c1 -W5 %s >/dev/null && echo %[1]s) &\n", at)
		}
	}
	if open := sh(t, outside+"bash -c '"+strings.ReplaceAll(script.String(), "'", `'\''`)+"wait'"); open != "" {
		t.Errorf("from outside these answer, and are not published:\n%s", open)
	}
}
