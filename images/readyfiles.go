package images

import (
	"io/fs"
	"path"
	"strings"
)

// nowhere is where a link leads that hides what an image would have in its place.
const nowhere = "/dev/null"

// ReadyFiles are what a ready image of that guest (GuestDebian, …) lacks beside a
// node's own files, and what keeps it from doing more than a recipe's node does.
func ReadyFiles(guest string) ([]File, error) {
	switch guest {
	case GuestDebian:
		return systemdFiles()
	case GuestAlpine:
		return openrcFiles()
	}
	systemd, err := systemdFiles() // cloud-init serves both: what is of the other is of no effect
	if err != nil {
		return nil, err
	}
	openrc, err := openrcFiles()
	return unique(append(systemd, openrc...)), err
}

// otherNetworks are units that would give links other names or addresses, or speak
// on networks that are measured.
var otherNetworks = []string{
	"networking.service",
	"ifup@.service",
	"systemd-networkd.socket",
	"systemd-networkd.service",
	"systemd-networkd-wait-online.service",
	"systemd-resolved.service",
	"NetworkManager.service",
	"NetworkManager-dispatcher.service",
	"NetworkManager-wait-online.service",
	"connman.service",
	"dhcpcd.service",
	"wicked.service",
}

// unasked are units that talk to the outside on their own.
var unasked = []string{
	"systemd-timesyncd.service",
	"chrony.service",
	"chronyd.service",
	"ntp.service",
	"ntpd.service",
	"ntpsec.service",
	"openntpd.service",
	"apt-daily.timer",
	"apt-daily-upgrade.timer",
	"motd-news.timer",
	"fwupd-refresh.timer",
	"ua-timer.timer",
}

// systemdFiles is what makes a system with systemd and udev into a node.
func systemdFiles() ([]File, error) {
	files, err := treeFiles("guest/common", "guest/systemd")
	if err != nil {
		return nil, err
	}
	const units = "/etc/systemd/system/"
	for _, unit := range started {
		files = append(files, File{Path: units + "multi-user.target.wants/" + unit, Link: units + unit})
	}
	hidden := []string{"serial-getty@ttyS0.service"} // labctl-console has the port
	for _, unit := range append(append(hidden, otherNetworks...), unasked...) {
		files = append(files, File{Path: units + unit, Link: nowhere})
	}
	return append(files,
		// udev, which loads the port's driver late, is not waited for
		plainText("/etc/modules-load.d/labctl.conf", "virtio_console\n"),
		plainText(units+"qemu-guest-agent.service.d/labctl.conf", "[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nRestartSec=200ms\n"),
		// or links may be renamed while they are given addresses
		File{Path: "/etc/systemd/network/99-default.link", Link: nowhere},
		plainText(cloudInitOff, ""),
		plainText("/etc/resolv.conf", noResolvers),
	), nil
}

// noResolvers is a node's resolv.conf.
const noResolvers = "# a lab's names are in /etc/hosts\n"

// openrcFiles is what makes a system with OpenRC into a node.
func openrcFiles() ([]File, error) {
	files, err := treeFiles("guest/common", "guest/openrc")
	if err != nil {
		return nil, err
	}
	for _, link := range []string{"sysinit/labctl-mounts", "sysinit/qemu-guest-agent", "boot/labctl-network"} {
		files = append(files, File{Path: "/etc/runlevels/" + link, Link: "/etc/init.d/" + path.Base(link)})
	}
	return append(files,
		plainText("/etc/network/interfaces", "# a lab's links are brought up by labctl-network\nauto lo\niface lo inet loopback\n"),
		plainText(cloudInitOff, ""),
		plainText("/etc/resolv.conf", noResolvers),
	), nil
}

func plainText(p, s string) File { return File{Path: p, Mode: 0o644, Data: []byte(s)} }

// treeFiles are the files that stand below the embedded folders, those of them that are there.
func treeFiles(dirs ...string) ([]File, error) {
	var files []File
	for _, dir := range dirs {
		if _, err := fs.Stat(guest, dir); err != nil {
			continue
		}
		err := fs.WalkDir(guest, dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := guest.ReadFile(p)
			files = append(files, File{Path: path.Join("/", strings.TrimPrefix(p, dir)), Mode: treeMode(data), Data: data})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// treeMode is the mode of an embedded file, which has none of its own.
func treeMode(data []byte) fs.FileMode {
	if strings.HasPrefix(string(data), "#!") {
		return 0o755
	}
	return 0o644
}

// unique leaves out files whose path was there before.
func unique(files []File) []File {
	seen := make(map[string]bool)
	var first []File
	for _, f := range files {
		if !seen[f.Path] {
			seen[f.Path] = true
			first = append(first, f)
		}
	}
	return first
}
