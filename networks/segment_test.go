package networks

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mami-project/labctl/host"
	"github.com/mami-project/labctl/host/hosttest"
)

// control is the demo's nat network, which needs no bridge on libvirt's test driver.
func control(h *host.Host, lab, prefix string) Segment {
	return segments(h, demo(lab, prefix), tagOf(lab))[0]
}

func TestSegmentContract(t *testing.T) {
	contract(t, control(hosttest.New(t), "trafic", "10.7"))
}

func TestSegmentIsPartialWhenDefinedAndOff(t *testing.T) {
	h := hosttest.New(t)
	s := control(h, "trafic", "10.7")
	must(t, s.Create(t.Context()))
	n, err := h.LookupNetworkByName(s.Segment.Object)
	must(t, err)
	must(t, n.Destroy())
	heals(t, s)
	if auto, err := n.GetAutostart(); auto || err != nil {
		t.Errorf("starts with the host: %v, %v", auto, err)
	}
	must(t, n.Destroy())
	must(t, s.Destroy(t.Context())) // from half, too
	is(t, s, host.Absent)
}

func TestSegmentLeavesForeignAlone(t *testing.T) {
	for whose, metadata := range map[string]string{
		"nobody's":      "",
		"another lab's": `<metadata><lab xmlns="urn:labctl:lab:1" name="other" format="1"><file/></lab></metadata>`,
		"a program's":   `<metadata><lab xmlns="urn:elsewhere" name="trafic"/></metadata>`,
	} {
		t.Run(whose, func(t *testing.T) {
			h := hosttest.New(t)
			s := control(h, "trafic", "10.7")
			foreign, err := h.NetworkDefineXML(fmt.Sprintf("<network><name>%s</name>%s</network>", s.Segment.Object, metadata))
			must(t, err)
			before, err := foreign.GetXMLDesc(0)
			must(t, err)

			if err := s.Create(t.Context()); !errors.Is(err, errForeign) {
				t.Errorf("create says %v, want that it is not this lab's", err)
			}
			must(t, s.Destroy(t.Context()))
			is(t, s, host.Absent)
			after, err := foreign.GetXMLDesc(0)
			must(t, err)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFind(t *testing.T) {
	h := hosttest.New(t)
	a, b := control(h, "alpha", "10.7"), control(h, "beta", "10.8")
	inner := segments(h, demo("alpha", "10.7"), tagOf("alpha"))[1]
	for _, s := range []Segment{b, a, inner} {
		must(t, s.Create(t.Context()))
	}
	_, err := h.NetworkDefineXML("<network><name>labctl.alpha.like</name></network>")
	must(t, err)

	found, err := Find(h)
	must(t, err)
	var names []string
	for _, f := range found {
		names = append(names, f.Object+" "+f.String()+" "+f.Tag.File)
	}
	want := []string{
		"labctl.alpha.control network/control name: alpha\n",
		"labctl.alpha.inner network/inner name: alpha\n",
		"labctl.beta.control network/control name: beta\n",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Fatal(diff)
	}

	for _, f := range found[:2] {
		state, err := f.State(t.Context())
		if state != host.Present || err != nil {
			t.Errorf("%s is %s, %v", f, state, err)
		}
		must(t, f.Destroy(t.Context()))
		must(t, f.Destroy(t.Context()))
		if state, err := f.State(t.Context()); state != host.Absent || err != nil {
			t.Errorf("destroyed, %s is %s, %v", f, state, err)
		}
	}
	is(t, b, host.Present)
	if _, err := h.LookupNetworkByName("labctl.alpha.like"); err != nil {
		t.Error("a network without a mark was removed for its name:", err)
	}
}

func TestFindGoesOnPastUnreadableMarks(t *testing.T) {
	h := hosttest.New(t)
	must(t, control(h, "alpha", "10.7").Create(t.Context()))
	_, err := h.NetworkDefineXML(`<network><name>bad</name><metadata><lab xmlns="urn:labctl:lab:1" name="alpha" format="one"/></metadata></network>`)
	must(t, err)
	found, err := Find(h)
	if len(found) != 1 || err == nil {
		t.Errorf("found %v, %v; want the readable one and an error", found, err)
	}
}

func TestInUseOfLibvirt(t *testing.T) {
	h := hosttest.New(t)
	must(t, control(h, "own", "203.0").Create(t.Context()))
	other := control(h, "other", "198.51")
	other.Tag.Chosen = []host.Chosen{{Network: "test", Subnet: netip.MustParsePrefix("198.51.2.0/26")}}
	must(t, other.Create(t.Context()))
	for i, ip := range []string{
		"<ip address='192.0.2.33' netmask='255.255.255.224'/>", // written in every way libvirt takes
		"<ip address='192.0.2.65' prefix='27'/>",
		"<ip address='198.18.5.1'/>",
		"<ip family='ipv6' address='2001:db8:5::1' prefix='64'/>",
	} {
		_, err := h.NetworkDefineXML(fmt.Sprintf("<network><name>n%d</name><bridge name='n%[1]d'/>%s</network>", i, ip))
		must(t, err) // defined and off
	}
	used, err := InUse(h, "own")
	must(t, err)
	for _, want := range []string{"198.51.1.0/24", "198.51.2.0/26", "192.0.2.32/27", "192.0.2.64/27", "198.18.5.0/24", "2001:db8:5::/64"} {
		if !slices.Contains(used, netip.MustParsePrefix(want)) {
			t.Errorf("%s is in use and not in %v", want, used)
		}
	}
	if slices.Contains(used, netip.MustParsePrefix("203.0.1.0/24")) {
		t.Errorf("the lab's own subnet is in %v", used)
	}
	for _, p := range used {
		if p.Bits() <= 1 || p.Addr().IsLinkLocalUnicast() {
			t.Errorf("%s tells nothing about what is in use", p)
		}
	}
}
