#!/bin/sh
# Makes a running system take on the files that it was given after it had started:
# name, addresses, keys, services. Of its arguments -NAME is a service to stop, NAME
# one to start; systemd's have an extension, OpenRC's none. At the next boot the
# system takes all on by itself; this once more does no harm.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
failed=

quietly() { "$@" >/dev/null 2>&1; }

must() {
	quietly "$@" && return
	failed=yes
	echo "labctl: $* does not work" | tee /dev/console >&2
}

stops=
starts=
if [ -d /run/systemd/system ]; then
	for unit; do
		case $unit in
		-*.*) stops="$stops ${unit#-}" ;;
		*.*) starts="$starts $unit" ;;
		esac
	done
	stop() { # one that could not come up has failed for nothing
		systemctl stop "$@"
		systemctl reset-failed "$@"
	}
	start() { systemctl start "$@"; }
	restart() { # sshd without keys has failed too often to be tried again
		systemctl reset-failed "$1"
		systemctl restart "$1"
	}
	known() { [ -e "/usr/lib/systemd/system/$1.service" ] || [ -e "/lib/systemd/system/$1.service" ]; }
	must systemctl daemon-reload
else
	for service; do
		case $service in
		-* | *.*) ;;
		*) starts="$starts $service" ;;
		esac
	done
	for service in dhcpcd NetworkManager connman wpa_supplicant; do
		[ ! -e "/etc/init.d/$service" ] || stops="$stops $service"
	done
	stop() {
		for service; do
			rc-service --ifstarted "$service" stop
			rc-update --all delete "$service"
		done
		killall udhcpc
	}
	start() { for service; do rc-service --ifstopped "$service" start || return; done; }
	restart() { rc-service "$1" restart; }
	known() { [ -e "/etc/init.d/$1" ]; }
fi

# Takes from the lab's links the addresses that others gave them.
flush() {
	flushed=
	while read -r mac _; do
		for file in /sys/class/net/*/address; do
			read -r address <"$file" || continue
			[ "$address" = "$mac" ] || continue
			link=${file%/address}
			[ "${link##*/}" = "$flushed" ] || quietly ip address flush dev "${link##*/}"
			flushed=${link##*/}
		done
	done </etc/labctl/network
}

read -r name </etc/hostname && echo "$name" >/proc/sys/kernel/hostname
[ ! -e /sys/fs/selinux/enforce ] || quietly restorecon -R /etc /root /usr/lib/labctl
for file in /etc/sysctl.d/*labctl*.conf; do
	[ ! -e "$file" ] || quietly sysctl -p "$file"
done
# shellcheck disable=SC2086 # words of their own
quietly stop $stops
flush
must restart labctl-network
for service in ssh sshd; do # read their keys and settings when they start
	known "$service" || continue
	must restart "$service"
	break
done
# shellcheck disable=SC2086 # words of their own
[ -z "$starts" ] || must start $starts
[ -z "$failed" ]
