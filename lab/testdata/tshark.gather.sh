
cd /run/labctl-proof && read -r pid <pid && read -r start rest </proc/uptime || exit
exec {never}<> <(:); pause() { read -rt 0.03 -u $never || :; }
until : && grep -aqF 'labctl-proof 00112233445566ff 0 3 ' frames && grep -aqF 'labctl-proof 00112233445566ff 1 3 ' frames; do
	read -r now rest </proc/uptime
	[ $((${now%.*} - ${start%.*})) -gt 10 ] && break
	pause
done
kill -INT "$pid"
while kill -0 "$pid" 2>/dev/null; do pause; done
cat frames
cd / && rm -rf /run/labctl-proof