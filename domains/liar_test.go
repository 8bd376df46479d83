package domains

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/topology"
)

func TestAnswersAreBounded(t *testing.T) {
	many := func(n int) string { return `{"return": [` + strings.Repeat("{},", n) + `{}]}` }
	for name, test := range map[string]struct {
		command, answer string
		to              any
		tooMuch         bool
	}{
		"links":               {"guest-network-get-interfaces", many(1000), new([]Link), false},
		"far too many links":  {"guest-network-get-interfaces", many(400_000), new([]Link), true},
		"output":              {"guest-exec-status", `{"return": {"exited": true, "out-data": "` + strings.Repeat("YWFh", 500_000) + `"}}`, new(execStatus), false},
		"far too much output": {"guest-exec-status", `{"return": {"exited": true, "out-data": "` + strings.Repeat("YWFh", 2_000_000) + `"}}`, new(execStatus), true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := read(test.command, test.answer, test.to); errors.Is(err, errTooMuch) != test.tooMuch || !test.tooMuch && err != nil {
				t.Errorf("%.200v, too much: %v", err, test.tooMuch)
			}
		})
	}
}

// FuzzAnswer has an agent answer anything: what is said of it is short, and fit for
// a terminal as labctl prints it.
func FuzzAnswer(f *testing.F) {
	for _, answer := range []string{
		`{"return": [{"name": "eth0", "hardware-address": "02:00:00:00:00:01", "ip-addresses": [{"ip-address": "10.7.1.42", "prefix": 24}]}]}`,
		`{"return": [{"name": "../../etc", "hardware-address": "02:00:00:00:00:01"}]}`,
		`{"return": [{"name": "eth0", "hardware-address": "02:00:00:00:00:01", "ip-addresses": [` + strings.Repeat(`{"ip-address": "10.7.1.42", "prefix": 24},`, 2000) + `{"ip-address": "fe80::1%\u001b]0;x\u0007", "prefix": 64}]}]}`,
		`{"return": {"exited": true, "exitcode": 1, "signal": -1, "err-data": "GzswOwc="}}`,
		`{"return": "\u001b]0;x\u0007\u009b31m"}`, `{"return": ` + strings.Repeat("[", 20_000), "\x1b]0;x\x07", "",
	} {
		f.Add(answer)
	}
	nic := topology.NIC{Network: "control", MAC: []byte{2, 0, 0, 0, 0, 1}, Address: netip.MustParsePrefix("10.7.1.42/24")}
	f.Fuzz(func(t *testing.T, answer string) {
		var links []Link
		var status execStatus
		errs := []error{read("guest-network-get-interfaces", answer, &links), read("guest-exec-status", answer, &status)}
		if l, err := findLink(links, nic); err == nil {
			if strings.ContainsAny(l.Name, "/.") {
				t.Errorf("a link called %q is taken for one", l.Name)
			}
			errs = append(errs, compareAddress(l, nic))
			capture := topology.NIC{Network: "test", Mirror: "one", MAC: nic.MAC}
			errs = append(errs, compareAddress(l, capture))
		}
		for _, err := range errs {
			if err == nil {
				continue
			}
			const most = 5 * 4096 // two excerpts, of characters that may take four bytes or be escaped
			if len(err.Error()) > most {
				t.Errorf("%d bytes are said: %.100q…", len(err.Error()), err)
			}
			for _, r := range host.Printable([]byte(err.Error())) {
				if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
					t.Errorf("%q reaches a terminal", r)
				}
			}
		}
	})
}
