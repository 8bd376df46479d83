//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/mami-project/labctl/host/hosttest"
)

// offering is a lab of one node that publishes ports, one of them on one address, and
// one that publishes none.
const offering = `
name: offering
image: debian-slim
networks:
  control: {subnet: 10.7.1.0/24}
  test: {sides: [client, server], subnet: 10.7.2.0/24}
nodes:
  store:
    memory: 320MiB
    disk: 2GiB
    nics: [{network: control, address: 10.7.1.43}, {network: test, side: client, address: 10.7.2.43}]
    services: [influxdb]
    publish: ["192.0.2.5:8086:8086/tcp", "8087:8087", "2222:22"]
  other:
    memory: 256MiB
    disk: 2GiB
    nics: [{network: control, address: 10.7.1.41}, {network: test, side: server, address: 10.7.2.41}]
`

// What Docker and firewalld have on a host, beside libvirt's rules: a policy of DROP, chains
// for containers and for their own ports; and zones, of which libvirt's has labs' bridges.
const (
	dockerd = `ip link add docker0 type bridge
ip address add 172.17.0.1/16 dev docker0
iptables -P FORWARD DROP
for c in DOCKER-USER DOCKER-FORWARD DOCKER-ISOLATION-STAGE-1 DOCKER; do iptables -N $c; done
iptables -A DOCKER-USER -j RETURN
iptables -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j RETURN
iptables -A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A DOCKER-FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -I FORWARD -j DOCKER-FORWARD
iptables -I FORWARD -j DOCKER-USER
iptables -t nat -N DOCKER
iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
`
	firewalld = `nft -f - <<'END'
table inet firewalld {
	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		ct status dnat accept
		iifname "lo" accept
		iifname "lcb*" accept
		oifname "lcb*" accept
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
	chain filter_PREROUTING {
		type filter hook prerouting priority filter + 10; policy accept;
		icmpv6 type nd-router-advert accept
	}
	chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; }
}
END
`
)

// othersRules are the rules that are none of libvirt's or a lab's, with their order.
func othersRules(t *testing.T) string {
	t.Helper()
	return sh(t, `iptables-save | grep -v 'LIBVIRT_\|^#' | sed 's/ \[[0-9:]*\]$//'; nft list table inet firewalld`)
}

// TestPublishedPorts tries a lab from another host, on a host whose firewall is also
// Docker's and firewalld's: what is published answers, all else does not.
func TestPublishedPorts(t *testing.T) {
	hosttest.Private(t, func(t *testing.T) {
		anotherHost(t)
		sh(t, "ip address add 192.0.2.5/24 dev out0; sysctl -qw net.bridge.bridge-nf-call-iptables=1")
		hosttest.Baseline(t) // libvirt makes its chains, before Docker comes
		sh(t, dockerd+firewalld)
		isClean := clean(t)
		rules := othersRules(t)
		file := write(t, "offering.yaml", offering)

		t.Run("a port that is taken", func(t *testing.T) {
			stop := startListening(t, "2222")
			fails(t, 4, []string{"port 2222/tcp", "is taken"}, "plan", file)
			stop()
			nowhere := write(t, "nowhere.yaml", strings.Replace(offering, "192.0.2.5", "192.0.2.6", 1))
			fails(t, 4, []string{"the host does not have address 192.0.2.6"}, "plan", nowhere)
		})
		if d := doctor(t, file); d.state("bridged frames") != "ok" {
			t.Errorf("where libvirt's rules come before Docker's, the lab would not work: %+v", d)
		}
		upShared(t, "offering", file)
		in(t, "other", "iperf3 -s -D; until ss -Hltn 'sport = :5201' | grep -q .; do sleep 0.1; done")
		t.Run("beside Docker and firewalld", answersWhatIsPublished)

		t.Run("https", func(t *testing.T) { servesHTTPS(t, file) })
		t.Run("where Docker's rules come first", func(t *testing.T) {
			sh(t, "iptables-save -t filter >/run/rules; iptables -F FORWARD; iptables -A FORWARD -j DOCKER-USER; iptables -A FORWARD -j DOCKER-FORWARD") // as when it is started anew after a flush
			if r := labctl(t, "verify", "--timeout", "30s"); r.code == 0 || trySh(t, outsideAsks("192.0.2.1", "2222")) {
				t.Error("nothing is eaten: this test shows nothing")
			}
			d := doctor(t, file)
			for _, c := range d.Checks { // exactly what it says mends it
				if c.Check == "bridged frames" && len(c.Findings) > 0 {
					fix, _, _ := strings.Cut(c.Findings[0].Fix, " (")
					sh(t, fix)
				}
			}
			if got := doctor(t, file).state("bridged frames"); got != "ok" {
				t.Errorf("mended as doctor says, bridged frames are %s", got)
			}
			must(t, "verify")
			answersWhatIsPublished(t)
			sh(t, "iptables-restore </run/rules; rm /run/rules")
		})
		must(t, "down")
		if got := othersRules(t); got != rules {
			t.Errorf("rules of others are\n%s\nand were\n%s", got, rules)
		}
		isClean()
	})
}

// outsideAsks is a script that succeeds where a port answers the other host.
func outsideAsks(at, port string) string {
	return "ip netns exec outside timeout 10 bash -c '</dev/tcp/" + at + "/" + port + "'"
}

// answersWhatIsPublished has the other host try every port of the host's and of the nodes'.
func answersWhatIsPublished(t *testing.T) {
	const outside = "ip netns exec outside "
	if got := untilSh(t, outside+"curl -sf -m 60 -o /dev/null -w '%{http_code}' http://192.0.2.5:8086/ping"); got != "204" {
		t.Errorf("InfluxDB, published on one address, answers %s", got)
	}
	if got := untilSh(t, outside+`timeout 60 bash -c 'read -r line </dev/tcp/192.0.2.1/2222 && echo "$line"'`); !strings.HasPrefix(got, "SSH-2.0") {
		t.Errorf("ssh's published port says %q", got)
	}
	eventually(t, "the host reaches iperf3's server: that others do not shows something", func() bool {
		return trySh(t, "timeout 60 bash -c '</dev/tcp/10.7.1.41/5201'")
	})
	// The host refuses at once what it has not, so all ports below the ephemeral ones can be tried.
	if open := sh(t, outside+`bash -c 'for a in 192.0.2.1 192.0.2.5; do for p in {1..9999}; do { true 3<>/dev/tcp/$a/$p; } 2>/dev/null && echo $a:$p; done; done; true'`); open != "192.0.2.1:2222\n192.0.2.1:8087\n192.0.2.5:2222\n192.0.2.5:8086\n192.0.2.5:8087" {
		t.Errorf("of the host these ports answer:\n%s", open)
	}
	var tries strings.Builder
	for _, at := range []string{"10.7.1.43", "10.7.1.41", "10.7.2.43", "10.7.2.41", "10.7.1.1"} {
		for _, port := range []string{"22", "8086", "2222", "5201", "80"} {
			tries.WriteString("(timeout 4 bash -c '</dev/tcp/" + at + "/" + port + "' 2>/dev/null && echo " + at + ":" + port + ") &\n")
		}
		tries.WriteString("(ping -c1 -W4 " + at + " >/dev/null && echo " + at + ") &\n")
	}
	if open := sh(t, outside+"bash <<'END'\n"+tries.String()+"wait\nEND"); open != "" {
		t.Errorf("from another host these answer, and are not published:\n%s", open)
	}
}

// servesHTTPS has another host write to InfluxDB by https, trusting the lab's own authority.
func servesHTTPS(t *testing.T, file string) {
	authority := status(t).Authority
	if out := must(t, "status"); authority == "" || !strings.Contains(out, authority) {
		t.Fatalf("status does not say how https is trusted:\n%s", out)
	}
	ask := func(options, url string) (says string) { // the status, or curl's own exit code
		eventually(t, url+" answers in time", func() bool {
			says = sh(t, "ip netns exec outside curl -s -m 60 -o /dev/null -w '%{http_code}' "+options+" "+url+" || echo \" $?\"")
			return says != "000 7" && says != "000 28" // it does not get there, or not in time
		})
		return says
	}
	const byName = " --resolve store:8087:192.0.2.1 --resolve store.control:8087:192.0.2.5 --resolve other:8087:192.0.2.1"
	trusting := "--cacert " + authority + byName
	for _, url := range []string{"https://192.0.2.1:8087/ping", "https://192.0.2.5:8087/ping", "https://store:8087/ping", "https://store.control:8087/ping"} {
		if got := ask(trusting, url); got != "204" {
			t.Errorf("%s answers %s", url, got)
		}
	}
	for what, got := range map[string]string{
		"without the authority":  ask(byName, "https://store:8087/ping"),
		"by another node's name": ask(trusting, "https://other:8087/ping"),
	} {
		if got != "000 60" { // curl: the peer's certificate cannot be trusted
			t.Errorf("%s it answers %s", what, got)
		}
	}
	if got := ask("--tls-max 1.1 "+trusting, "https://store:8087/ping"); got != "000 35" {
		t.Errorf("by TLS 1.1 it answers %s", got)
	}
	// what is long comes whole, also to several at once
	got := sh(t, "at=https://store:8087 again='-m 600 --retry 5 --retry-all-errors'; curl=\"ip netns exec outside curl -sf $again "+trusting+`"
$curl -o /dev/null -XPOST $at/query --data-urlencode 'q=CREATE DATABASE proof'
for i in {1..20000}; do echo "frames seen=$i $i"; done >/run/points
$curl -XPOST "$at/write?db=proof&precision=s" --data-binary @/run/points
for i in 1 2 3 4; do $curl -o /run/got$i -G "$at/query?db=proof&epoch=s" --data-urlencode 'q=SELECT seen FROM frames' & done
wait
curl -sf $again -o /run/got -G "http://10.7.1.43:8086/query?db=proof&epoch=s" --data-urlencode 'q=SELECT seen FROM frames'
for i in '' 1 2 3 4; do md5sum </run/got$i; done >/run/sums
sort -u /run/sums | wc -l; rm /run/points /run/sums /run/got*`)
	if got != "1" {
		t.Errorf("by https come %s different answers", got)
	}
	before := sh(t, "md5sum "+authority+" "+strings.Replace(authority, "authority", "https-store", 1))
	must(t, "up", file)
	if after := sh(t, "md5sum "+authority+" "+strings.Replace(authority, "authority", "https-store", 1)); after != before {
		t.Error("a second up makes other certificates")
	}
	if got := in(t, "store", "stat -c '%a %U' /etc/labctl/https.key; cat /etc/labctl/https.crt | md5sum"); !strings.HasPrefix(got, "600 root\n"+strings.Fields(before[strings.Index(before, "\n"):])[0]) {
		t.Errorf("in the node the key is %s", got)
	}
	if got := sh(t, "grep -l 'PRIVATE KEY' $(dirname "+authority+")/*.crt $(dirname "+authority+")/authority* || true"); got != "" {
		t.Errorf("there are keys in %s", got)
	}
}
