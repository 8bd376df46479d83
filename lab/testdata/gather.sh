
cd /run/labctl-proof && read -r pid <pid && read -r start rest </proc/uptime || exit
exec {never}<> <(:); pause() { read -rt 0.03 -u $never || :; }
while kill -0 "$pid" 2>/dev/null; do
	read -r now rest </proc/uptime
	[ $((${now%.*} - ${start%.*})) -gt 10 ] && kill -INT "$pid"
	pause
done
cat frames
cd / && rm -rf /run/labctl-proof