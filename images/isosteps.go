package images

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// isoBoots are the machine's boots between an empty disk and a base image, and
// what root does in each. They follow the description of the test bed.
var isoBoots = []isoBoot{
	{"booting the ISO", true, []isoStep{
		{what: "ask for Alpine's release", script: askRelease, read: readRelease},
		{what: "write the answers for setup-alpine", script: writeAnswers},
		{what: "setup-alpine", script: setupAlpine, asks: yesOrNo, most: 30 * time.Minute},
	}},
	{"booting from the disk", false, []isoStep{
		{what: "name the repositories", script: writeRepositories},
		{what: "apk update", script: same("apk update"), most: 10 * time.Minute},
		{what: "apk upgrade", script: same("apk upgrade --no-progress"), most: 30 * time.Minute},
	}},
	{"booting what was upgraded", false, []isoStep{
		{what: "look for the packages", script: askAbsent, read: readAbsent, most: 10 * time.Minute},
		{what: "apk add", script: addPackages, read: readLacking, most: 60 * time.Minute},
		{what: "make bash root's shell", script: same(`sed -i '/^root:/s,:[^:]*$,:/bin/bash,' /etc/passwd; grep -q '^root:.*:/bin/bash$' /etc/passwd`)},
		{what: "furnish root's home", script: furnishHome},
		{what: "start the guest agent and sshd at boot", script: same(startServices)},
		{what: "clean", script: cleanSystem},
	}},
}

type isoBoot struct {
	what    string
	fromISO bool
	steps   []isoStep
}

// isoStep is a script for the guest.
type isoStep struct {
	what   string
	script func(*isoSystem) (string, error)
	read   func(s *isoSystem, said string) error // nil: what it prints is of no concern
	asks   *regexp.Regexp                        // a question that nobody answers
	most   time.Duration                         // 0: stepTime, for what needs no packages
}

// stepTime is how long a step may take that takes no time, on a host without KVM.
const stepTime = 3 * time.Minute

// isoSystem is what is known of the system that installs itself.
type isoSystem struct {
	mirror   string // as the guest reaches it
	kept     string // as the base image names it
	release  string // whose packages it gets; "": the ISO's own
	own      string // the ISO's release
	packages []string
	tell     func(string)
}

// run boots the machine, logs in and does the steps.
func (b isoBoot) run(ctx context.Context, iso, disk string, s *isoSystem) error {
	m, err := startISOMachine(ctx, iso, disk)
	if err != nil {
		return err
	}
	defer m.kill()
	if err := m.login(ctx); err != nil {
		return fmt.Errorf("%s: %w", b.what, err)
	}
	for _, step := range b.steps {
		s.tell(step.what)
		script, err := step.script(s)
		if err != nil {
			return err
		}
		most := step.most
		if most == 0 {
			most = stepTime
		}
		said, err := m.run(ctx, step.what, script, step.asks, most)
		if err != nil && step.most > 0 && ctx.Err() == nil {
			return fmt.Errorf("%w\n  packages come from %s: see whether it answers, or name another by --mirror", err, s.mirror)
		}
		if err != nil {
			return err
		}
		if step.read == nil {
			continue
		}
		if err := step.read(s, said); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return m.powerOff(ctx)
}

// same is a script that is the same for all.
func same(script string) func(*isoSystem) (string, error) {
	return func(*isoSystem) (string, error) { return script, nil }
}

var askRelease = same("echo rel''ease: $(cat /etc/alpine-release)")

// readRelease names the ISO's release as mirrors do.
func readRelease(s *isoSystem, said string) error {
	version := strings.Join(linesOf(said, "release: "), " ")
	parts := regexp.MustCompile(`^([0-9]+\.[0-9]+)([0-9a-z._-]*)$`).FindStringSubmatch(version)
	if parts == nil {
		return fmt.Errorf("%q in /etc/alpine-release\n  the ISO has to be Alpine's", version)
	}
	s.own = "v" + parts[1]
	if strings.Contains(parts[2], "_alpha") || strings.Contains(parts[2], "_git") {
		s.own = "edge"
	}
	if s.release == "" {
		s.release = s.own
	}
	s.tell("that is Alpine " + version)
	return nil
}

// repositories are those of a release.
func repositories(mirror, release string) []string {
	return []string{mirror + "/" + release + "/main", mirror + "/" + release + "/community"}
}

// setupAnswers are for setup-alpine of any release since 3.7: what came to be given as
// an argument was an option before.
const setupAnswers = `KEYMAPOPTS="us us"
HOSTNAMEOPTS="-n alpine"
INTERFACESOPTS="auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
"
DNSOPTS="-n 10.0.2.3"
TIMEZONEOPTS="-z UTC"
PROXYOPTS="none"
APKREPOSOPTS="%s"
USEROPTS="none"
SSHDOPTS="-c openssh openssh"
NTPOPTS="-c none none"
DISKOPTS="-m sys -s 0 /dev/vda"
LBUOPTS="none"
APKCACHEOPTS="none"
export ERASE_DISKS="/dev/vda"
export KERNELOPTS="quiet console=ttyS0,115200"
export MIRRORS="%s"
`

func writeAnswers(s *isoSystem) (string, error) {
	text := fmt.Sprintf(setupAnswers, strings.Join(repositories(s.mirror, s.own), " "), s.mirror)
	return heredoc("/root/answers", text), nil
}

// setupAlpine leaves root without a password, who can log in on the console only so.
var setupAlpine = same("setup-alpine -e -f /root/answers")

// yesOrNo is what setup-alpine says when an answer is missing.
var yesOrNo = regexp.MustCompile(`\(y/n\)|\[y/N\]`)

func writeRepositories(s *isoSystem) (string, error) {
	return heredoc("/etc/apk/repositories", strings.Join(repositories(s.mirror, s.release), "\n")+"\n"), nil
}

// What is installed: labctl needs the first, trafic the others. A release may lack
// some of those.
var (
	isoNeeds = []string{"bash", "openssh", "qemu-guest-agent", "iproute2", "ethtool", "socat", "iputils", "curl"}
	isoWants = []string{"iperf3", "git", "go", "musl-dev", "make", "influxdb", "tshark"}
)

func askAbsent(*isoSystem) (string, error) {
	return fmt.Sprintf("for p in %s; do apk add --simulate --quiet $p > /dev/null 2>&1 || echo ab''sent: $p; done",
		strings.Join(slices.Concat(isoNeeds, isoWants), " ")), nil
}

// readAbsent chooses the packages that there are.
func readAbsent(s *isoSystem, said string) error {
	absent := linesOf(said, "absent: ")
	var needed []string
	s.packages = nil
	for _, p := range slices.Concat(isoNeeds, isoWants) {
		switch {
		case !slices.Contains(absent, p):
			s.packages = append(s.packages, p)
		case slices.Contains(isoNeeds, p):
			needed = append(needed, p)
		default:
			s.tell(fmt.Sprintf("Alpine %s has no %s: it is left out; a node that needs it can name another image", s.release, p))
		}
	}
	if needed != nil {
		return fmt.Errorf("the mirror has no %s for %s\n  name another by --mirror, or another release by --release", strings.Join(needed, ", "), s.release)
	}
	return nil
}

// addPackages also looks whether they are there: apk goes on with the rest where
// one of them is damaged.
func addPackages(s *isoSystem) (string, error) {
	all := strings.Join(s.packages, " ")
	return fmt.Sprintf("apk add --no-progress %s\nfor p in %s; do apk info -e $p > /dev/null || echo la''cks: $p; done", all, all), nil
}

func readLacking(s *isoSystem, said string) error {
	if lacking := linesOf(said, "lacks: "); lacking != nil {
		return fmt.Errorf("apk has not installed %s\n  name another mirror by --mirror", strings.Join(lacking, ", "))
	}
	return nil
}

// furnishHome makes what a recipe makes: the folders and files are the same.
func furnishHome(*isoSystem) (string, error) {
	r, err := BuiltIn("debian")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, dir := range r.Folders {
		fmt.Fprintf(&b, "mkdir -p %s\n", dir)
	}
	for _, f := range r.Files {
		fmt.Fprintf(&b, "mkdir -p %s\n%s\n", path.Dir(f.Path), heredoc(f.Path, f.Text))
	}
	return b.String(), nil
}

// startServices tells the agent its port by name, as no udev makes a link of it.
const startServices = `cat > /etc/conf.d/qemu-guest-agent <<'END'
for port in /sys/class/virtio-ports/*; do
  if grep -qsx org.qemu.guest_agent.0 "$port/name"; then GA_PATH=/dev/${port##*/}; fi
done
END
rc-update add qemu-guest-agent default
rc-update add sshd default`

// cleanSystem removes what belongs to one machine, or to this build.
func cleanSystem(s *isoSystem) (string, error) {
	return heredoc("/etc/apk/repositories", strings.Join(repositories(s.kept, s.release), "\n")+"\n") + `
rm -f /etc/ssh/ssh_host_* /root/.ash_history /root/.bash_history /root/answers
rm -rf /var/cache/apk/*
echo '# a lab has its names in /etc/hosts' > /etc/resolv.conf
fstrim / || true
sync`, nil
}

// heredoc is a script that writes a file. The text goes through a terminal: no
// tabs, which complete words there.
func heredoc(file, text string) string {
	return fmt.Sprintf("cat > %s <<'END'\n%s\nEND", file, strings.TrimSuffix(strings.ReplaceAll(text, "\t", "  "), "\n"))
}
