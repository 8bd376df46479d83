#!/bin/busybox sh
# The initrd's only task: load its modules, mount the disk, hand over.
# Whatever fails here will not mend itself: say it and power off, so that the
# machine is seen to have died.
die() {
	echo "labctl: $*"
	/bin/busybox poweroff -f
}

/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for m in /modules/*; do
	/bin/busybox insmod "$m" || echo "labctl: ${m##*/} does not load"
done
[ -b /dev/vda ] || die "no disk: there is no /dev/vda"
/bin/busybox mount -t ext4 -o noatime,noinit_itable /dev/vda /root || die "the disk /dev/vda holds no ext4 file system"
[ -L /root/sbin/init ] || [ -x /root/sbin/init ] || die "the disk /dev/vda holds no /sbin/init"
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
