package host

import (
	"bytes"
	"os"

	"libvirt.org/go/libvirtxml"
)

// KVM says whether KVM can really run guests here: the processor shows vmx or svm
// and libvirt offers it. A /dev/kvm alone proves nothing. When it cannot, why tells.
func (h *Host) KVM() (ok bool, why string, err error) {
	shown, err := virtualisationShown(h.path("proc/cpuinfo"))
	if err != nil {
		return false, "", err
	}
	if !shown {
		return false, "the processor shows neither vmx nor svm", nil
	}
	if h.silent != nil {
		return false, "libvirt, which has to offer it, does not answer", nil
	}
	text, err := h.GetCapabilities()
	if err != nil {
		return false, "", err
	}
	var c libvirtxml.Caps
	if err := c.Unmarshal(text); err != nil {
		return false, "", err
	}
	if !offersKVM(c) {
		return false, "libvirt offers no KVM (is /dev/kvm there, and may libvirt's QEMU open it?)", nil
	}
	return true, "", nil
}

// KVMHere is KVM for a QEMU that this process runs itself, without libvirt.
func KVMHere() (bool, error) {
	shown, err := virtualisationShown("/proc/cpuinfo")
	if err != nil || !shown {
		return false, err
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false, nil // not there, or not for us
	}
	return true, f.Close()
}

func virtualisationShown(cpuinfo string) (bool, error) {
	cpu, err := os.ReadFile(cpuinfo)
	return virtualises(cpu), err
}

// virtualises looks for the processor flags of Intel VT-x (vmx) and AMD-V (svm).
func virtualises(cpuinfo []byte) bool {
	for line := range bytes.Lines(cpuinfo) {
		key, flags, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(key)) != "flags" {
			continue
		}
		for _, f := range bytes.Fields(flags) {
			if string(f) == "vmx" || string(f) == "svm" {
				return true
			}
		}
		return false // all processors of a machine show the same
	}
	return false
}

func offersKVM(c libvirtxml.Caps) bool {
	for _, g := range c.Guests {
		for _, d := range g.Arch.Domains {
			if g.Arch.Name == "x86_64" && d.Type == "kvm" {
				return true
			}
		}
	}
	return false
}
