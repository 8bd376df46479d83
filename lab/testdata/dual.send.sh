printf -v pad %1500s
printf %s "labctl-proof 00112233445566ff 0 0 ${pad:0:2}" >/dev/udp/10.9.3.2/9 || exit
printf %s "labctl-proof 00112233445566ff 0 1 ${pad:0:514}" >/dev/udp/10.9.3.2/9 || exit
printf %s "labctl-proof 00112233445566ff 0 2 ${pad:0:1138}" >/dev/udp/10.9.3.2/9 || exit
printf %s "labctl-proof 00112233445566ff 0 3 ${pad:0:1218}" >/dev/udp/10.9.3.2/9 || exit
printf %s "labctl-proof 00112233445566ff 0 4 ${pad:0:2}" >/dev/udp/10.9.3.2/9 || exit
printf %s "labctl-proof 00112233445566ff 2 0 ${pad:0:2}" >/dev/udp/fd00:9:3::2/9 || exit
printf %s "labctl-proof 00112233445566ff 2 1 ${pad:0:494}" >/dev/udp/fd00:9:3::2/9 || exit
printf %s "labctl-proof 00112233445566ff 2 2 ${pad:0:1198}" >/dev/udp/fd00:9:3::2/9 || exit
printf %s "labctl-proof 00112233445566ff 2 3 ${pad:0:2}" >/dev/udp/fd00:9:3::2/9 || exit
printf %s "labctl-proof 00112233445566ff 4 0 ${pad:0:2}" >/dev/udp/10.9.4.2/9 || exit
printf %s "labctl-proof 00112233445566ff 4 1 ${pad:0:514}" >/dev/udp/10.9.4.2/9 || exit
printf %s "labctl-proof 00112233445566ff 4 2 ${pad:0:1138}" >/dev/udp/10.9.4.2/9 || exit
printf %s "labctl-proof 00112233445566ff 4 3 ${pad:0:1438}" >/dev/udp/10.9.4.2/9 || exit
printf %s "labctl-proof 00112233445566ff 4 4 ${pad:0:2}" >/dev/udp/10.9.4.2/9 || exit
