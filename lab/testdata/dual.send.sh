cd /run/labctl-proof
printf '%-36s' 'labctl-proof 00112233445566ff 0 0 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.3.2:9,bind=10.9.2.1 || exit
printf '%-548s' 'labctl-proof 00112233445566ff 0 1 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.3.2:9,bind=10.9.2.1 || exit
printf '%-1172s' 'labctl-proof 00112233445566ff 0 2 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.3.2:9,bind=10.9.2.1 || exit
printf '%-1252s' 'labctl-proof 00112233445566ff 0 3 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.3.2:9,bind=10.9.2.1 || exit
printf '%-36s' 'labctl-proof 00112233445566ff 0 4 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.3.2:9,bind=10.9.2.1 || exit
printf '%-36s' 'labctl-proof 00112233445566ff 2 0 ' >frame && socat -u -b 65536 OPEN:frame 'UDP6-SENDTO:[fd00:9:3::2]:9,bind=[fd00:9:2::1]' || exit
printf '%-528s' 'labctl-proof 00112233445566ff 2 1 ' >frame && socat -u -b 65536 OPEN:frame 'UDP6-SENDTO:[fd00:9:3::2]:9,bind=[fd00:9:2::1]' || exit
printf '%-1232s' 'labctl-proof 00112233445566ff 2 2 ' >frame && socat -u -b 65536 OPEN:frame 'UDP6-SENDTO:[fd00:9:3::2]:9,bind=[fd00:9:2::1]' || exit
printf '%-36s' 'labctl-proof 00112233445566ff 2 3 ' >frame && socat -u -b 65536 OPEN:frame 'UDP6-SENDTO:[fd00:9:3::2]:9,bind=[fd00:9:2::1]' || exit
printf '%-36s' 'labctl-proof 00112233445566ff 4 0 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.4.2:9,bind=10.9.4.1 || exit
printf '%-548s' 'labctl-proof 00112233445566ff 4 1 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.4.2:9,bind=10.9.4.1 || exit
printf '%-1172s' 'labctl-proof 00112233445566ff 4 2 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.4.2:9,bind=10.9.4.1 || exit
printf '%-1472s' 'labctl-proof 00112233445566ff 4 3 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.4.2:9,bind=10.9.4.1 || exit
printf '%-36s' 'labctl-proof 00112233445566ff 4 4 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.9.4.2:9,bind=10.9.4.1 || exit
