printf -v pad %1500s
printf %s "labctl-proof 00112233445566ff 1 0 ${pad:0:2}" >/dev/udp/10.7.2.40/9 || exit
printf %s "labctl-proof 00112233445566ff 1 1 ${pad:0:514}" >/dev/udp/10.7.2.40/9 || exit
printf %s "labctl-proof 00112233445566ff 1 2 ${pad:0:1138}" >/dev/udp/10.7.2.40/9 || exit
printf %s "labctl-proof 00112233445566ff 1 3 ${pad:0:1438}" >/dev/udp/10.7.2.40/9 || exit
printf %s "labctl-proof 00112233445566ff 1 4 ${pad:0:2}" >/dev/udp/10.7.2.40/9 || exit
