package images

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
)

// inTree makes a tree fit to run programs in, and runs a shell command there. It is
// the first process of a namespace of its own: whatever it mounts and leaves
// running goes with it, however it ends.
const inTree = `set -e
root=$1
mount -t proc proc "$root/proc"
echo labctl >/proc/sys/kernel/hostname
mount -t tmpfs -o mode=755 dev "$root/dev"
for node in null zero full random urandom tty; do
	: >"$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir -m 1777 "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "$root/dev/${n#*:}"; done
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 run "$root/run"
exec chroot "$root" /bin/sh -e -c "$2"
`

// runInside runs a shell command as root in the tree, without a network, and with
// nothing of this host's but its kernel and its clock.
func runInside(ctx context.Context, tree, shell string) error {
	c, err := command(ctx, "sh", "-c", inTree, "sh", tree, shell)
	if err != nil {
		return err
	}
	c.Dir = "/"
	c.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TZ=UTC",
		"DEBIAN_FRONTEND=noninteractive", sourceDate(),
	}
	// mounts of this namespace do not reach others'
	c.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	c.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS
	_, err = finish(ctx, c)
	return err
}

// privateTemp is an empty folder beside the tree for what a program leaves behind
// when it is killed: it goes with the build.
func privateTemp(tree string) (string, error) {
	dir := filepath.Join(filepath.Dir(tree), "tmp")
	return dir, os.MkdirAll(dir, 0o755)
}
