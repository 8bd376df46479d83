
for d in /sys/class/net/*; do read -r mac <"$d/address"; case $mac in 02:c6:2c:75:d7:f8) nic0=${d##*/} ;; 02:79:14:3b:20:f9) nic1=${d##*/} ;; 02:f9:7a:1b:72:d9) nic2=${d##*/} ;; esac; done
mkdir -p /run/labctl-proof && cd /run/labctl-proof || exit
[ -e pid ] && read -r old <pid && kill "$old" 2>/dev/null
: >log >frames
exec {never}<> <(:); pause() { read -rt 0.03 -u $never || :; }
dumpcap -q -f 'udp dst port 9 and (udp[21:4] = 0x30303131 or ip6[61:4] = 0x30303131)' -i "$nic0" -i "$nic1" -i "$nic2" -a packets:28 -a duration:300 -w frames </dev/null >log 2>&1 &
echo $! >pid
until read -rd '' said <log; [[ $said = *File:* ]]; do
	kill -0 $! 2>/dev/null || { cat log >&2; exit 1; }
	pause
done