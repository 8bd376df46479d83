#!/bin/sh
# Keeps the node's clock with chronyd, where the image has it: by the host's clock
# where KVM lends that, else as /etc/chrony/labctl.conf says.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
command -v chronyd >/dev/null || exit 0

# only KVM's guests can have the driver, and modprobe is slow under emulation
read -r clocks </sys/devices/system/clocksource/clocksource0/available_clocksource
case $clocks in *kvm-clock*) modprobe -q ptp_kvm || : ;; esac

# directives here take the place of the image's own configuration
set -- 'include /etc/chrony/labctl.conf'
for clock in /sys/class/ptp/*; do
	[ -e "$clock/clock_name" ] && read -r name <"$clock/clock_name" || continue
	[ "$name" = 'KVM virtual PTP' ] || continue
	set -- "$@" "refclock PHC /dev/${clock##*/} refid KVM poll 0 dpoll -2 prefer"
done
exec chronyd -n "$@"
