package domains

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"libvirt.org/go/libvirt"

	"github.com/mami-project/labctl/host"
)

// What libvirt leaves of a domain that it has undefined.
var (
	qemuLogDir = "/var/log/libvirt/qemu" // a log of each domain's QEMU
	// Folders of each running domain, which stay where libvirt or the host ended before it.
	qemuRunDirs = []string{"/var/lib/libvirt/qemu", "/var/lib/libvirt/qemu/channel/target"}
)

// removeLogs removes QEMU's log of the domain, and its older ones (NAME.log.0 …).
func removeLogs(object string) error {
	files, err := os.ReadDir(qemuLogDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	log := regexp.MustCompile(`^` + regexp.QuoteMeta(object) + `\.log(\.[0-9]+)?$`)
	var errs []error
	for _, f := range files {
		if !log.MatchString(f.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(qemuLogDir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// shortName is how much of a domain's name libvirt puts into the names of its folders.
const shortName = 20

// removeFolders removes the folders of earlier runs of a domain that does not run,
// domain-ID-NAME. Those of another whose name begins alike stay while it runs.
func removeFolders(h *host.Host, object string) error {
	folder := regexp.MustCompile(`^domain-([0-9]+)-` + regexp.QuoteMeta(object[:min(len(object), shortName)]) + `$`)
	var stale []string
	for _, dir := range qemuRunDirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if e.IsDir() && folder.MatchString(e.Name()) {
				stale = append(stale, filepath.Join(dir, e.Name()))
			}
		}
	}
	if len(stale) == 0 {
		return nil
	}
	running, err := runningIDs(h) // after the folders: whose folder was there is seen
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range stale {
		if id := folder.FindStringSubmatch(filepath.Base(path))[1]; !running[id] {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// runningIDs are libvirt's numbers of the running domains.
func runningIDs(h *host.Host) (map[string]bool, error) {
	domains, err := h.ListAllDomains(libvirt.CONNECT_LIST_DOMAINS_ACTIVE)
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	ids := map[string]bool{}
	for i := range domains {
		if id, err := domains[i].GetID(); err == nil {
			ids[strconv.FormatUint(uint64(id), 10)] = true
		}
		_ = domains[i].Free()
	}
	return ids, nil
}
