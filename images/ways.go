package images

// What a guest is: which files make it into a node.
const (
	GuestDebian    = "debian"     // systemd
	GuestAlpine    = "alpine"     // OpenRC
	GuestCloudInit = "cloud-init" // systemd or OpenRC, configured by cloud-init at its first boot
)

// How a node's files reach it. They are the same files, each way.
const (
	ConfigureDisk  = "disk"  // written into its disk before the first boot
	ConfigureSeed  = "seed"  // a NoCloud seed, an ISO image that cloud-init reads at the first boot
	ConfigureAgent = "agent" // by the guest agent, once it answers
)

// How a machine boots from a base image.
const (
	BootKernel = "kernel" // QEMU starts the kernel that stands beside the disk
	BootBIOS   = "bios"   // by the disk's own boot loader
	BootUEFI   = "uefi"
)

// Partition is the place of a file system on a disk.
type Partition struct {
	Number int    `json:"number"` // from 1
	Start  int64  `json:"start"`  // bytes
	Bytes  int64  `json:"bytes"`
	FS     string `json:"fs"`   // ext4, xfs, btrfs, lvm
	Last   bool   `json:"last"` // nothing stands behind it: it can grow
}
