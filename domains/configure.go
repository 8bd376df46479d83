package domains

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/mami-project/labctl/host"
)

// Delivery is what the guest agent brings into a node whose image nothing else
// makes into it.
type Delivery struct {
	Files     []File
	Apply     string   // a script for sh, by which the running system takes them on
	Arguments []string // the script's
}

// stampFile holds, in a node, the digest of what was delivered and applied. It is
// written last: without it all is done again, which does no harm.
const stampFile = "/etc/labctl/configured"

// The most that one command carries into a guest (bytes): libvirt's longest string
// is 4 MiB, of base64.
const deliveryMost = 3 << 20

// isConfigured brings the node's files into it, unless they are there.
func isConfigured(ctx context.Context, m Machine) error {
	d, err := m.Deliver()
	if err != nil {
		return err
	}
	return m.agent().deliver(ctx, d)
}

func delivers(m Machine) bool { return m.Deliver != nil }

// deliver writes the files, reads them back, and has the system take them on.
func (a Agent) deliver(ctx context.Context, d Delivery) error {
	archive, err := pack(d.Files)
	if err != nil {
		return err
	}
	if len(archive) > deliveryMost {
		return fmt.Errorf("the node's files are %d KiB, more than the guest agent carries (%d KiB)\n  configure the image by disk or by seed", len(archive)>>10, deliveryMost>>10)
	}
	stamp := d.digest(archive)
	if r, err := a.Exec(ctx, nil, "/bin/sh", "-c", "cat "+stampFile); err != nil || string(r.Out) == stamp {
		return err
	}
	if _, err := a.sh(ctx, archive, unpackScript); err != nil {
		return fmt.Errorf("write its files: %w", err)
	}
	var paths []string
	for _, f := range d.Files {
		paths = append(paths, inRoot(f.Path))
	}
	back, err := a.sh(ctx, nil, `cd / && exec tar -cf - "$@"`, paths...)
	if err != nil {
		return fmt.Errorf("read its files back: %w", err)
	}
	if err := compareFiles(back, d.Files); err != nil {
		return err
	}
	if _, err := a.sh(ctx, nil, d.Apply, d.Arguments...); err != nil {
		return fmt.Errorf("apply its files: %w", err)
	}
	if _, err := a.sh(ctx, []byte(stamp), stampScript); err != nil {
		return fmt.Errorf("write %s: %w", stampFile, err)
	}
	return nil
}

// digest identifies a delivery.
func (d Delivery) digest(archive []byte) string {
	h := sha256.New()
	h.Write(archive)
	fmt.Fprintf(h, "%s\x00%s", d.Apply, strings.Join(d.Arguments, "\x00"))
	return hex.EncodeToString(h.Sum(nil)) + "\n"
}

// unpackScript writes an archive's files, once an image's own cloud-init has no
// more to say: it makes host keys of its own, unless it is off.
const unpackScript = `
if [ ! -e /etc/cloud/cloud-init.disabled ] && [ ! -e /run/cloud-init/disabled ] && command -v cloud-init >/dev/null 2>&1; then
	timeout 300 cloud-init status --wait >/dev/null 2>&1
fi
cd / && umask 022 && exec tar -xmf -`

const stampScript = `
umask 022
mkdir -p /etc/labctl && cat >` + stampFile + `.part && sync && mv ` + stampFile + `.part ` + stampFile + ` && sync`

// sh runs a script of the least of shells, with arguments; one that fails is an
// error which holds what it said.
func (a Agent) sh(ctx context.Context, input []byte, script string, arguments ...string) ([]byte, error) {
	r, err := a.Exec(ctx, input, append([]string{"/bin/sh", "-c", script, "labctl"}, arguments...)...)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("exit status %d: %s", r.Code, host.Excerpt(r.Err))
	}
	return r.Out, nil
}

// The packages of programs that are not called as these are.
var packageOf = map[string]string{"dumpcap": "tshark", "ip": "iproute2", "systemctl": "systemd"}

// hasPrograms looks for what labctl runs in the node.
func hasPrograms(ctx context.Context, m Machine) error {
	out, err := m.agent().sh(ctx, nil, `PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for p; do command -v "$p" >/dev/null || echo "$p"; done`, m.Programs...)
	if err != nil {
		return err
	}
	return lacks(m.Programs, strings.Fields(string(out)))
}

func needsPrograms(m Machine) bool { return len(m.Programs) > 0 }

// lacks is that a guest says it has not all of what it must have.
func lacks(must, said []string) error {
	var missing []string
	for _, p := range must {
		if !slices.Contains(said, p) {
			continue
		}
		if of := packageOf[p]; of != "" {
			p += " (of " + of + ")"
		}
		missing = append(missing, p)
	}
	if len(missing) == 0 {
		return nil
	}
	return hinted{
		fmt.Errorf("the image lacks %s", strings.Join(missing, ", ")),
		"labctl sets up and proves its nodes with them: put them into the image",
	}
}
