
link() { for d in /sys/class/net/*; do read -r mac <"$d/address"; [ "$mac" = "$1" ] && echo "${d##*/}"; done; }
[ -e /run/labctl-proof/pid ] && read -r old </run/labctl-proof/pid && kill "$old" 2>/dev/null
rm -rf /run/labctl-proof; mkdir /run/labctl-proof; cd /run/labctl-proof; : >log
exec {never}<> <(:); pause() { read -rt 0.03 -u $never || :; }
dumpcap -q -f 'udp dst port 9' -i $(link 02:a3:12:e2:55:5f) -i $(link 02:8a:ad:03:d8:e7) -a duration:300 -w /run/labctl-proof/frames </dev/null >log 2>&1 &
echo $! >pid
until read -rd '' said <log; [[ $said = *File:* ]]; do
	kill -0 $! 2>/dev/null || { cat log >&2; exit 1; }
	pause
done