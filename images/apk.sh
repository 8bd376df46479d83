# Runs an Alpine's own apk as root of namespaces of its own:
#
#   apk.sh MINIROOTFS TREE FOLDERS ARGUMENT…
#
# The new system is in TREE, which apk knows as /target. Each line of FOLDERS is a
# folder of packages; apk sees them, to be read, as /folders/1, /folders/2, ….
set -eu
root=$1 tree=$2 folders=$3
shift 3

# devices that scripts of packages expect: none of the host's others
devices() {
	mkdir -p "$1/dev"
	mount -t tmpfs -o mode=755 dev "$1/dev"
	for device in null zero full random urandom; do
		: >"$1/dev/$device"
		mount --bind "/dev/$device" "$1/dev/$device"
	done
}

mkdir -p "$root/target" "$root/proc"
mount --bind "$tree" "$root/target"
devices "$root"
devices "$root/target"
mount -t proc proc "$root/proc" || : # not in every container; few packages look there

n=0
while read -r folder; do
	[ -n "$folder" ] || continue
	n=$((n + 1))
	mkdir -p "$root/folders/$n"
	mount --rbind "$folder" "$root/folders/$n"
	# options of a mount that is not ours stay
	options=$(findmnt --noheadings --output VFS-OPTIONS --target "$folder")
	mount -o "remount,bind,ro${options#r[wo]}" "$root/folders/$n"
done <<END
$folders
END

exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
	${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} \
	chroot "$root" /sbin/apk "$@"
