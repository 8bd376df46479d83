package flows

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Where a node keeps what a run makes: on its disk, and in memory, which a reboot
// clears, the leader of the process group that all of it is in.
const (
	nodeDir   = "/var/tmp/labctl-run"
	groupFile = "/run/labctl-run"
)

// pause is a shell function that waits some seconds without starting a process, which
// is what software emulation is slowest at.
const pause = `exec {never}<> <(:); pause() { read -rt "$1" -u $never || :; }
`

// endScript ends all that a run started in a node, also one whose labctl was killed.
const endScript = `if [ -e ` + groupFile + ` ]; then
	read -r group <` + groupFile + ` && kill -TERM -- "-$group" 2>/dev/null
	rm -f ` + groupFile + `
fi
`

// forgetScript ends it, and removes what it made.
const forgetScript = endScript + `rm -rf ` + nodeDir + "\n"

// inGroup runs a script in the run's folder, in a process group which outlives the
// call, and waits for what after waits for.
func inGroup(script, after string) string {
	const end = "labctl: end of the script"
	return forgetScript + `mkdir -p ` + nodeDir + ` && cd ` + nodeDir + ` || exit
cat >script <<'` + end + `'
echo $$ >` + groupFile + `
` + pause + script + `
` + end + `
` + pause + `setsid bash script </dev/null >said 2>&1 &
` + after
}

// How long servers may take to listen (s): all of them start at once.
const listenTime = 120

// serverScript starts the flows' servers and waits until each listens. Where one does
// not, it prints that flow's index and why, and fails.
func serverScript(flows []Flow, at netip.Addr) string {
	var servers, ports strings.Builder
	for i, f := range flows {
		fmt.Fprintf(&servers, "iperf3 %s >%d.server.json 2>%d.server.err & echo $! >%d.pid\n", shell(f.ServerArgs(at)...), i, i, i)
		fmt.Fprintf(&ports, " %d", cmp.Or(f.Server.Port, defaultPort))
	}
	return inGroup(servers.String()+"wait", fmt.Sprintf(`
ports=(%s)
for ((silent = 0; SECONDS < %d; )); do
	listening=" $(ss -Hltn | while read -r _ _ _ local _; do echo -n "${local##*:} "; done)"
	while [ $silent -lt ${#ports[@]} ] && [[ $listening = *" ${ports[silent]} "* ]]; do silent=$((silent + 1)); done
	[ $silent = ${#ports[@]} ] && exit
	for i in "${!ports[@]}"; do
		if [ -s $i.pid ] && read -r pid <$i.pid && ! kill -0 "$pid" 2>/dev/null; then
			echo "$i it ended: $(head -c 2000 $i.server.json $i.server.err)"; exit 1
		fi
	done
	pause 0.1
done
echo "$silent it did not listen on port ${ports[silent]} in time"; exit 1`, ports.String(), listenTime))
}

// How long before the first start the client's script is begun (µs): all that waits is up by then.
const leadTime = 1_000_000

// clientScript starts the flows' clients by the schedule. It prints the run's zero
// instant, by the node's clock (µs since 1970), and notes in files as what process
// and when each start began, when and how it ended, and when all have.
func clientScript(flows []Flow, starts []Start, from, to netip.Addr) string {
	var s strings.Builder
	fmt.Fprintf(&s, `zero=$((${EPOCHREALTIME/./} + %d))
echo $zero >zero.part; mv zero.part zero
begin() { # FLOW.NTH ARGUMENT…
	local name=$1 pid; shift
	local now=$((${EPOCHREALTIME/./} - zero))
	iperf3 "$@" >"$name.client.json" 2>"$name.client.err" &
	pid=$!
	echo "$name $now $pid" >>began
	wait $pid
	echo "$name $((${EPOCHREALTIME/./} - zero)) $?" >>ended
}
at() { # µs since zero
	local left=$((zero + $1 - ${EPOCHREALTIME/./}))
	[ $left -gt 0 ] || return
	printf -v left %%d.%%06d $((left / 1000000)) $((left %% 1000000))
	pause $left
}
`, leadTime)
	of := make([]strings.Builder, len(flows))
	for _, st := range starts {
		fmt.Fprintf(&of[st.Flow], "at %d; begin %s \"$@\" & ", st.After.Microseconds(), st.name())
	}
	for i, f := range flows { // each waits for itself: what starts at once does not queue
		fmt.Fprintf(&s, "(echo $BASHPID >>waiting; set -- %s; %swait) &\n", shell(f.ClientArgs(from, to)...), of[i].String())
	}
	s.WriteString("wait\n: >done")
	return inGroup(s.String(), "until [ -s zero ]; do pause 0.02; done; cat zero")
}

// progressScript prints how many starts have ended, and whether all have or nothing of the run is left.
const progressScript = `cd ` + nodeDir + ` || exit
n=0; [ -e ended ] && mapfile -t all <ended && n=${#all[@]}
state=runs
if [ -e done ]; then state=done; elif ! { read -r group <` + groupFile + ` && kill -0 -- "-$group"; } 2>/dev/null; then state=gone; fi
echo $n $state`

// stopScript has no further client start, asks those that run to end, and waits until they have.
const stopScript = `cd ` + nodeDir + ` && [ -e waiting ] || exit 0
` + pause + `read -r group <` + groupFile + ` || exit 0
end() { # PROCESS, if it is still one of the run's
	local of
	read -r _ _ _ _ of _ <"/proc/$1/stat" && [ "$of" = "$group" ] && kill -TERM "$1"
} 2>/dev/null
while read -r pid; do end "$pid"; done <waiting
for ((left = 1; left && SECONDS < 10; )); do
	left=0
	[ -e began ] && while read -r name _ pid; do
		grep -qs "^$name " ended && continue
		left=1
		end "$pid"
	done <began
	pause 0.1
done
:`

// gatherScript prints what iperf3 printed, and when its clients ran, as a packed archive.
const gatherScript = `cd ` + nodeDir + ` && shopt -s nullglob && exec tar -cf - -- *.json *.err began ended 2>/dev/null | gzip -1`
