package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// withOVS puts scripts in the place of Open vSwitch's programs; "" for one that is not there.
func withOVS(t *testing.T, vsctl, appctl string) {
	t.Helper()
	dir := t.TempDir()
	before := rootsFolders
	rootsFolders = nil
	t.Cleanup(func() { rootsFolders = before })
	t.Setenv("PATH", dir)
	for name, script := range map[string]string{"ovs-vsctl": vsctl, "ovs-appctl": appctl} {
		if script == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/bash\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOVSIsAskedFor: a host that has no Open vSwitch, or where it does not run, is told what to
// do, and only where a network wants it.
func TestOVSIsAskedFor(t *testing.T) {
	const (
		off   = "echo 'ovs-vsctl: unix:/var/run/openvswitch/db.sock: database connection failed (No such file or directory)' >&2; exit 1"
		dead  = "echo 'ovs-appctl: cannot read pidfile' >&2; exit 1"
		hung  = "kill -ALRM $$"
		works = "exit 0"
	)
	for name, test := range map[string]struct{ vsctl, appctl, what, fix string }{
		"none":              {"", "", "this host has no Open vSwitch", "apt-get install openvswitch-switch"},
		"off":               {off, works, "Open vSwitch is off", "systemctl start openvswitch-switch"},
		"ovs-vswitchd dead": {works, dead, "ovs-vswitchd does not answer: ovs-appctl: cannot read pidfile", "systemctl start openvswitch-switch"},
		"ovs-vswitchd hung": {works, hung, "ovs-vswitchd does not answer", "systemctl start openvswitch-switch"},
		"hung at work":      {hung, works, "has not done in", "systemctl start openvswitch-switch"},
		"it runs":           {works, works, "", ""},
	} {
		withOVS(t, test.vsctl, test.appctl)
		if unfits, err := hasOVS(t.Context(), nil, Needs{}); len(unfits) > 0 || err != nil {
			t.Errorf("%s, and no network wants it: %v, %v", name, unfits, err)
		}
		unfits, err := hasOVS(t.Context(), nil, Needs{OVS: []string{"network test"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if test.what == "" {
			if len(unfits) > 0 {
				t.Errorf("%s: %v", name, unfits)
			}
			continue
		}
		if len(unfits) != 1 || !strings.Contains(unfits[0].What, "network test wants") || !strings.Contains(unfits[0].What, test.what) || !strings.Contains(unfits[0].Fix, test.fix) {
			t.Errorf("%s: %v", name, unfits)
		}
	}
}

func TestOVSErrors(t *testing.T) {
	withOVS(t, "echo warning >&2; echo 'ovs-vsctl: no row \"x\" in table Port' >&2; exit 1", "exit 0")
	err := OVS(t.Context(), "get", "Port", "x", "tag")
	if err == nil || err.Error() != `ovs-vsctl: no row "x" in table Port` || errors.As(err, new(Unfit)) {
		t.Errorf("it says %v", err)
	}
	if _, err := OVSRows(t.Context(), "Port", "name=x", "_uuid"); err == nil {
		t.Error("what went wrong is taken for no record")
	}
	withOVS(t, "", "")
	if err := OVS(t.Context(), "add-br", "x"); !errors.Is(err, NoOVS) {
		t.Errorf("without Open vSwitch it says %v", err)
	}
	if rows, err := OVSRows(t.Context(), "Port", "name=x", "_uuid"); len(rows) > 0 || err != nil {
		t.Errorf("without Open vSwitch there are %v, %v", rows, err)
	}
}

// TestReadOVS reads what ovs-vsctl has told of real records.
func TestReadOVS(t *testing.T) {
	rows, err := readOVS([]byte(`{"data":[["lcb0",["map",[["forward-bpdu","true"],["hwaddr","02:11:22:33:44:55"]]],["set",[]],false,65534,` +
		`["set",[["uuid","0a0ced90"],["uuid","134bb54a"]]],["uuid","f0634921"]]],"headings":["name","other_config","controller","stp_enable","ofport","ports","qos"]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []OVSRow{{
		"name": {"lcb0"}, "other_config:forward-bpdu": {"true"}, "other_config:hwaddr": {"02:11:22:33:44:55"},
		"stp_enable": {"false"}, "ofport": {"65534"}, "ports": {"0a0ced90", "134bb54a"}, "qos": {"f0634921"},
	}}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Error(diff)
	}
	if rows, err := readOVS([]byte("no JSON")); err == nil {
		t.Errorf("no JSON is read as %v", rows)
	}
}
