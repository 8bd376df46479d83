//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What stands in for trafic on its nodes, in /root/share as its scripts have it: a
// schedule that knows one flow file's few keys, a hook that a node is controlled by,
// on port 9000 by its name, and the measurement that tshark makes of it.
var traficShare = map[string]string{
	"flows/t.yaml": "label: t\nport: 5300\nserver: iperf-server\nseconds: 3\n",
	"schedule": `#!/bin/bash
# schedule servers|clients FILE DB
value() { sed -n "s/^$1: //p" "$2"; }
port=$(value port "$2")
case $1 in
servers) exec iperf3 --json -s -1 -B iperf-server.test -p "$port" ;;
clients)
	iperf3 --json --reverse --get-server-output -c "$(value server "$2")" -p "$port" -t "$(value seconds "$2")" -b 1M >$HOME/share/stats/t.json
	bytes=$(sed -n 's/.*"bytes":[^0-9]*\([0-9]*\).*/\1/p' $HOME/share/stats/t.json | sort -n | tail -1)
	curl -fsS --data-binary "q=CREATE DATABASE $3" http://influxdb:8086/query?q=CREATE+DATABASE+$3
	curl -fsS --data-binary "t,flowid=t bytes=${bytes}i" "http://influxdb:8086/write?db=$3" ;;
esac
`,
	"scripts/hook": `#!/bin/bash
read -r _ path _
while read -r name value && [ "${name%$'\r'}" ]; do
	case ${name,,} in x-conf:) conf=${value%$'\r'} ;; x-db:) db=${value%$'\r'} ;; esac
done
setsid $HOME/share/schedule "${path#/hooks/}" "$HOME/share/flows/$conf" "$db" </dev/null >$HOME/share/stats/${path#/hooks/} 2>&1 &
case $path in */servers) until ss -Hltn | grep -q ':5300 '; do sleep 0.1; done ;; esac
printf 'HTTP/1.0 200 OK\r\n\r\n'
`,
	"scripts/measure.bash": `#!/bin/bash
set -e
link=$(ip -o link | sed -n 's/^[0-9]*: \([^:]*\):.*PROMISC.*/\1/p')
curl -fsS -H 'X-CONF: t.yaml' http://iperf-server:9000/hooks/servers
tshark -q -i "$link" -s 128 -f 'tcp or udp' -a duration:120 -w $HOME/share/stats/t.pcap >$HOME/share/stats/tshark 2>&1 &
until grep -q Capturing $HOME/share/stats/tshark; do sleep 0.1; done
curl -fsS -H 'X-CONF: t.yaml' -H 'X-DB: t' http://iperf-client:9000/hooks/clients
until curl -fsS -G http://influxdb:8086/query --data-urlencode db=t --data-urlencode 'q=SELECT sum(bytes) FROM t' | grep -o '\["1970[^]]*'; do sleep 0.5; done
kill -INT $!
wait $! || :
tshark -r $HOME/share/stats/t.pcap -q -z conv,ip
`,
}

// traficsOwnWay measures as trafic's scripts do: from tshark, by hooks on the nodes'
// names, with everything in ~/share.
func traficsOwnWay(t *testing.T) {
	dir := t.TempDir()
	for name, text := range traficShare {
		path := filepath.Join(dir, "share", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"iperf-client", "iperf-server", "tshark"} {
		in(t, node, "mkdir -p /root/share/stats")
		must(t, "cp", "-r", filepath.Join(dir, "share"), node+":/root/")
	}
	for _, node := range []string{"iperf-client", "iperf-server"} {
		in(t, node, "HOME=/root setsid socat TCP-LISTEN:9000,fork,reuseaddr EXEC:/root/share/scripts/hook </dev/null >/dev/null 2>&1 & echo $! >/run/hook")
	}
	said := must(t, "ssh", "tshark", "--", "timeout", "170", "share/scripts/measure.bash")
	if !strings.Contains(said, "10.7.2.40") || !strings.Contains(said, "10.7.2.41") || strings.Contains(said, "10.7.1.") {
		t.Errorf("tshark saw\n%s", said)
	}
	if json := in(t, "iperf-client", "cat /root/share/stats/t.json"); !strings.Contains(json, `"remote_host":	"10.7.2.41"`) || strings.Contains(json, `"error"`) {
		t.Errorf("iperf3 says %s", json)
	}
	for _, node := range []string{"iperf-client", "iperf-server"} {
		in(t, node, "kill $(cat /run/hook); rm -r /root/share /run/hook")
	}
}
