package host

import "os"

// Firmware is a UEFI for machines: OVMF's code, and the variables that a new
// machine starts with. The zero value is none.
type Firmware struct{ Code, Variables string }

// Where packages of OVMF put it, the newest first. None of these insists on Secure Boot.
var firmwares = []Firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
}

// UEFI finds the firmware; its error is an Unfit where there is none.
func UEFI() (Firmware, error) {
	for _, f := range firmwares {
		_, err := os.Stat(f.Code)
		if err == nil {
			_, err = os.Stat(f.Variables)
		}
		if err == nil {
			return f, nil
		}
	}
	return Firmware{}, Unfit{
		What: "a node's image boots by UEFI only, and there is no " + firmwares[0].Code,
		Fix:  "apt-get install ovmf",
	}
}
