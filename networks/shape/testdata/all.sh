set -eu
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
trap 'tc qdisc del dev "$LINK" root 2>/dev/null || true' ERR
TC_LIB_DIR=$(mktemp -d)
export TC_LIB_DIR
trap 'rm -rf "$TC_LIB_DIR"' EXIT
cat >"$TC_LIB_DIR/normal.dist" <<'end'
(the table)
end
tc qdisc add dev "$LINK" root handle 6c61: netem limit 73083 delay 50ms 5ms distribution normal loss gemodel 0.68027211% 33.33333333% duplicate 1% reorder 5% corrupt 0.1%
tc qdisc add dev "$LINK" parent 6c61:1 handle 6c64: tbf rate 10000000bit burst 3028b limit 125000b
tc qdisc add dev "$LINK" parent 6c64:1 handle 6c65: fq_codel limit 82 memory_limit 33554432b
