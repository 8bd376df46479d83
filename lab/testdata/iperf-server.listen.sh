
for d in /sys/class/net/*; do read -r mac <"$d/address"; case $mac in 02:e5:c1:3b:be:4f) nic0=${d##*/} ;; 02:c5:d7:09:4d:84) nic1=${d##*/} ;; esac; done
mkdir -p /run/labctl-proof && cd /run/labctl-proof || exit
[ -e pid ] && read -r old <pid && kill "$old" 2>/dev/null
: >log >frames
exec {never}<> <(:); pause() { read -rt 0.03 -u $never || :; }
dumpcap -q -f 'udp dst port 9 and udp[21:4] = 0x30303131' -i "$nic0" -i "$nic1" -a packets:10 -a duration:300 -w frames </dev/null >log 2>&1 &
echo $! >pid
until read -rd '' said <log; [[ $said = *File:* ]]; do
	kill -0 $! 2>/dev/null || { cat log >&2; exit 1; }
	pause
done