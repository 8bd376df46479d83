package host

import (
	"os"
	"strings"
	"testing"
)

const (
	nic  = "0000:3b:00.0"
	boot = "file proc/sys/kernel/random/boot_id now\n"
)

// away is a host on which a machine had the NIC and was cut short: it is vfio-pci's still.
const away = boot + `
pci 0000:3b:00.0 020000 group=12 driver=vfio-pci override=vfio-pci
file sys/bus/pci/drivers/vfio-pci/unbind -
file sys/bus/pci/drivers/igc/bind -
`

// wrote is what was written into a file of the kernel's.
func wrote(t *testing.T, h *Host, path string) string {
	t.Helper()
	b, err := os.ReadFile(h.path(path))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// A device that libvirt could not give back goes back to the driver that had it.
func TestGiveBackOfADevice(t *testing.T) {
	record := Borrowed{PCI: nic, Boot: "now", Driver: "igc"}
	for name, c := range map[string]struct {
		tree                   string
		record                 Borrowed
		unbind, override, bind string
	}{
		"cut short":          {away, record, nic, "", nic},
		"kept for a driver":  {away, Borrowed{PCI: nic, Boot: "now", Driver: "igc", Override: "igc"}, nic, "igc", nic},
		"no driver had it":   {away, Borrowed{PCI: nic, Boot: "now"}, nic, "", "-"},
		"vfio-pci had it":    {away, Borrowed{PCI: nic, Boot: "now", Driver: "vfio-pci", Override: "vfio-pci"}, "-", "vfio-pci", "-"},
		"of an earlier boot": {away, Borrowed{PCI: nic, Boot: "earlier", Driver: "igc"}, "-", "vfio-pci", "-"},
		"no driver has it":   {strings.Replace(away, "driver=vfio-pci ", "", 1), record, "-", "", nic},
		"another's by now":   {strings.Replace(away, "driver=vfio-pci ", "driver=uio_pci_generic ", 1), record, "-", "vfio-pci", "-"},
		"as it was":          {strings.Replace(away, "driver=vfio-pci override=vfio-pci", "driver=igc", 1), record, "-", "(null)", "-"},
		"gone":               {strings.Replace(away, "pci 0000:3b", "pci 0000:3c", 1), record, "-", "", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sys(t, c.tree)
			if err := h.GiveBack(t.Context(), c.record); err != nil {
				t.Fatal(err)
			}
			if got := wrote(t, h, "sys/bus/pci/drivers/vfio-pci/unbind"); got != c.unbind {
				t.Errorf("unbound from vfio-pci: %q, want %q", got, c.unbind)
			}
			if got := wrote(t, h, "sys/bus/pci/drivers/igc/bind"); got != c.bind {
				t.Errorf("bound to igc: %q, want %q", got, c.bind)
			}
			if name == "gone" {
				return
			}
			if got := wrote(t, h, "sys/bus/pci/devices/"+nic+"/driver_override"); got != c.override {
				t.Errorf("driver_override is %q, want %q", got, c.override)
			}
		})
	}
}

// A device that a machine is to have again is kept from its driver.
func TestHold(t *testing.T) {
	const had = boot + `
pci 0000:3b:00.0 020000 driver=igc
file sys/bus/pci/drivers/igc/unbind -
file sys/bus/pci/drivers/vfio-pci/unbind -
`
	for name, c := range map[string]struct{ tree, unbind, override string }{
		"its driver has it": {had, nic, "vfio-pci"},
		"no driver has it":  {strings.Replace(had, "driver=igc", "", 1), "-", "vfio-pci"},
		"vfio-pci has it":   {strings.Replace(had, "driver=igc", "driver=vfio-pci", 1), "-", "(null)"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sys(t, c.tree)
			if err := h.Hold(nic); err != nil {
				t.Fatal(err)
			}
			for file, want := range map[string]string{
				"drivers/igc/unbind": c.unbind, "devices/" + nic + "/driver_override": c.override, "drivers/vfio-pci/unbind": "-",
			} {
				if got := wrote(t, h, "sys/bus/pci/"+file); got != want {
					t.Errorf("in %s there is %q, want %q", file, got, want)
				}
			}
		})
	}
}

// What a mark holds of a NIC stays, but for that of an earlier boot.
func TestBorrow(t *testing.T) {
	h := sys(t, boot, "pci 0000:3b:00.0 020000 driver=igc override=igc")
	now := Borrowed{PCI: nic, Boot: "now", Driver: "igc", Override: "igc"}
	first := Borrowed{PCI: nic, Boot: "now", Driver: "first"}
	for name, c := range map[string]struct {
		before Tag
		want   Borrowed
	}{
		"not yet recorded":          {Tag{}, now},
		"recorded":                  {Tag{Borrowed: []Borrowed{{Link: "eth0", Boot: "now"}, first}}, first},
		"recorded in another boot":  {Tag{Borrowed: []Borrowed{{PCI: nic, Boot: "earlier", Driver: "first"}}}, now},
		"another that was recorded": {Tag{Borrowed: []Borrowed{{PCI: "0000:3b:00.1", Boot: "now"}}}, now},
	} {
		got, err := h.Borrow(c.before, nic)
		if err != nil || got.Driver != c.want.Driver || got.Boot != c.want.Boot || got.Override != c.want.Override || got.PCI != nic {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, c.want)
		}
	}
	if _, err := h.Borrow(Tag{}, "0000:3b:00.7"); err == nil {
		t.Error("a device that is not there was recorded")
	}
	if _, err := h.Borrow(Tag{}, "no-such-link"); err == nil || !strings.Contains(err.Error(), "no-such-link") {
		t.Errorf("of a link that is not there: %v", err)
	}
}
