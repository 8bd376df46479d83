cd /run || exit
for old in labctl-proof.*; do
	[ -e "$old" ] || continue
	read -r pid <"$old" && mapfile -d '' words <"/proc/$pid/cmdline" && [[ ${words[*]} = *labctl-proof* ]] && kill "$pid"
	rm -f "$old"
done 2>/dev/null
for d in /sys/class/net/*; do read -r mac <"$d/address"; case $mac in 02:c6:2c:75:d7:f8) nic0=${d##*/} ;; 02:79:14:3b:20:f9) nic1=${d##*/} ;; 02:f9:7a:1b:72:d9) nic2=${d##*/} ;; esac; done
echo $$ >/run/labctl-proof.0011
exec -a labctl-proof dumpcap -q -f 'udp dst port 9 and (udp[21:4] = 0x30303131 or ip6[61:4] = 0x30303131)' -i "$nic0" -i "$nic1" -i "$nic2" -a duration:300 -w - >>/run/labctl-proof.0011
