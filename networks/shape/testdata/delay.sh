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
tc qdisc add dev "$LINK" root handle 6c60: netem limit 93000 delay 92ms
