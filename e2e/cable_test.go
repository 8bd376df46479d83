//go:build e2e

package e2e

import "testing"

// cabled makes two NICs of the host, nic0 and nic1, with a cable between them. The
// host has an address on the first, and no IPv6 that comes and goes with the carrier.
func cabled(t *testing.T) {
	t.Helper()
	sh(t, `ip link add nic0 address 02:00:00:00:aa:00 type veth peer name nic1 address 02:00:00:00:aa:01
		ip link set nic0 addrgenmode none
		ip link set nic0 mtu 1400 up
		ip link set nic1 addrgenmode none
		ip link set nic1 mtu 1600 up
		ip address add 192.0.2.7/24 dev nic0`)
}
