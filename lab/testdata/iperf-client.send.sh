cd /run/labctl-proof
printf '%-36s' 'labctl-proof 00112233445566ff 0 0 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.7.2.41:9,bind=10.7.2.40 || exit
printf '%-548s' 'labctl-proof 00112233445566ff 0 1 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.7.2.41:9,bind=10.7.2.40 || exit
printf '%-1172s' 'labctl-proof 00112233445566ff 0 2 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.7.2.41:9,bind=10.7.2.40 || exit
printf '%-1472s' 'labctl-proof 00112233445566ff 0 3 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.7.2.41:9,bind=10.7.2.40 || exit
printf '%-36s' 'labctl-proof 00112233445566ff 0 4 ' >frame && socat -u -b 65536 OPEN:frame UDP4-SENDTO:10.7.2.41:9,bind=10.7.2.40 || exit
