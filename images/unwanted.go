package images

// unwanted are units that systemd's own targets want and a node does without: each
// costs boot time (a process is dear under software emulation) or would do
// something unasked. They are there to be started by hand.
var unwanted = []string{
	// no udev at boot: modules are loaded by the initrd, links are found by MAC
	"systemd-udev-trigger.service",
	"systemd-udevd.service",
	"systemd-udevd-control.socket",
	"systemd-udevd-kernel.socket",

	"systemd-binfmt.service",
	"systemd-firstboot.service",
	"systemd-journal-flush.service",
	"systemd-logind.service",
	"systemd-machine-id-commit.service",
	"systemd-modules-load.service",
	"systemd-pcrphase.service",
	"systemd-pcrphase-sysinit.service",
	"systemd-pstore.service",
	"systemd-random-seed.service",
	"systemd-repart.service",
	"systemd-sysusers.service",
	"systemd-tmpfiles-clean.timer",
	"systemd-tmpfiles-setup-dev.service", // the kernel makes the nodes of modules as they load
	"systemd-update-utmp.service",
	"systemd-update-utmp-runlevel.service",
	"systemd-user-sessions.service",
	"systemd-ask-password-console.path",
	"systemd-ask-password-wall.path",
	"kmod-static-nodes.service",
	"proc-sys-fs-binfmt_misc.automount",
	"dev-hugepages.mount",
	"dev-mqueue.mount",
	"sys-fs-fuse-connections.mount",
	"sys-kernel-config.mount",
	"sys-kernel-debug.mount",
	"sys-kernel-tracing.mount",
	"systemd-initctl.socket",
	"getty.target",
	"cryptsetup.target",
	"integritysetup.target",
	"veritysetup.target",
}

// unwantedGenerators look at each boot for what a node has not.
var unwantedGenerators = []string{
	"systemd-cryptsetup-generator",
	"systemd-debug-generator",
	"systemd-fstab-generator",
	"systemd-getty-generator",
	"systemd-gpt-auto-generator",
	"systemd-hibernate-resume-generator",
	"systemd-integritysetup-generator",
	"systemd-rc-local-generator",
	"systemd-run-generator",
	"systemd-system-update-generator",
	"systemd-sysv-generator",
	"systemd-veritysetup-generator",
}

// started are the units of ours that every node starts.
var started = []string{
	"qemu-guest-agent.service",
	"labctl-network.service",
	"labctl-console.service",
}
