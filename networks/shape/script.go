package shape

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/mami-project/labctl/topology"
)

// Script is what Set does on the host as bash and tc(8), for a node: $LINK is the NIC.
// Times are true to 64 ns: older tc's have no better. It brings the table of its distribution: those of tc have smaller deviations.
func Script(i topology.Impair, mtu int) (string, error) {
	qs, err := stack(i, mtu)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(`set -eu
all=$(tc qdisc show dev "$LINK")
while read -r _ kind handle at _; do
	[ "$at" = root ] || continue
	case $kind.$handle in
	*.0:) ;; # the kernel's own
	netem.6c6[0-3]: | tbf.6c64:) tc qdisc del dev "$LINK" root ;;
	*)
		echo "$LINK has a queueing discipline that is not labctl's, $kind $handle: tc qdisc del dev $LINK root removes it" >&2
		exit 1
		;;
	esac
done <<<"$all"
`)
	if len(qs) > 0 {
		b.WriteString("trap 'tc qdisc del dev \"$LINK\" root 2>/dev/null || true' ERR\n")
	}
	if t := table(i.Distribution); t != nil {
		fmt.Fprintf(&b, ofTable, i.Distribution, numbers(t))
	}
	for _, q := range qs {
		at := "root"
		if q.parent != netlink.HANDLE_ROOT {
			at = "parent " + netlink.HandleStr(q.parent)
		}
		major, _ := netlink.MajorMinor(q.handle)
		fmt.Fprintf(&b, "tc qdisc add dev \"$LINK\" %s handle %x: %s\n", at, major, words(q.kind, i, mtu))
	}
	return b.String(), nil
}

// ofTable puts a distribution where tc looks for it.
const ofTable = `TC_LIB_DIR=$(mktemp -d)
export TC_LIB_DIR
trap 'rm -rf "$TC_LIB_DIR"' EXIT
cat >"$TC_LIB_DIR/%s.dist" <<'end'
%send
`

// numbers are those of a table, in lines.
func numbers(table []int16) string {
	var b strings.Builder
	for i, v := range table {
		b.WriteString(strconv.Itoa(int(v)))
		if i%16 == 15 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// words are what tc is told of a queueing discipline.
func words(kind string, i topology.Impair, mtu int) string {
	w := []string{kind}
	add := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	switch kind {
	case netem:
		add("limit %d", delayed(i))
		if i.Delay > 0 {
			add("delay %s", inUnits(i.Delay))
		}
		if i.Jitter > 0 {
			add("%s", inUnits(i.Jitter))
			if i.Distribution != topology.SpreadUniform {
				add("distribution %s", i.Distribution)
			}
		}
		switch {
		case i.Burst > 0:
			add("loss gemodel %s %s", percent(toBad(i.Loss, i.Burst)), percent(toGood(i.Burst)))
		case i.Loss > 0:
			add("loss random %s", percent(i.Loss))
		}
		for _, s := range []struct {
			word  string
			share float64
		}{{"duplicate", i.Duplicate}, {"reorder", i.Reorder}, {"corrupt", i.Corrupt}} {
			if s.share > 0 {
				add("%s %s", s.word, percent(s.share))
			}
		}
	case tbf:
		add("rate %dbit burst %db limit %db", bytesPerSecond(i.Rate)*8, bucket(i, mtu), uint32(i.Queue))
	case topology.AQMFqCoDel:
		add("limit %d memory_limit %db", packets(i, mtu), memory(packets(i, mtu), mtu))
	default:
		add("limit %d", packets(i, mtu))
	}
	return strings.Join(w, " ")
}

// inUnits is a time in the largest unit that keeps it whole: tc cuts fractions off.
func inUnits(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%.4fus", float64(d)/1e3+0.0005) // and half a nanosecond, to be cut off
}

// percent is a share that tc makes the same chance of.
func percent(share float64) string {
	return strconv.FormatFloat(shortest(100*share, func(p float64) bool { return chance(p/100) == chance(share) }), 'f', -1, 64) + "%"
}
