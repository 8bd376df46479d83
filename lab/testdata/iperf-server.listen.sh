cd /run || exit
for old in labctl-proof.*; do
	[ -e "$old" ] || continue
	read -r pid <"$old" && mapfile -d '' words <"/proc/$pid/cmdline" && [[ ${words[*]} = *labctl-proof* ]] && kill "$pid"
	rm -f "$old"
done 2>/dev/null
for d in /sys/class/net/*; do read -r mac <"$d/address"; case $mac in 02:e5:c1:3b:be:4f) nic0=${d##*/} ;; 02:c5:d7:09:4d:84) nic1=${d##*/} ;; esac; done
echo $$ >/run/labctl-proof.0011
exec -a labctl-proof dumpcap -q -f 'udp dst port 9 and udp[21:4] = 0x30303131' -i "$nic0" -i "$nic1" -a duration:300 -w - >>/run/labctl-proof.0011
