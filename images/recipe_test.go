package images

import (
	"embed"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func builtIn(t testing.TB, name string) Recipe {
	t.Helper()
	r, err := BuiltIn(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBuiltInRecipes(t *testing.T) {
	if diff := cmp.Diff([]string{"alpine", "debian", "debian-slim"}, Recipes()); diff != "" {
		t.Error(diff)
	}
	full, slim := builtIn(t, "debian"), builtIn(t, "debian-slim")
	var more []string
	for _, p := range full.Packages {
		if !slices.Contains(slim.Packages, p) {
			more = append(more, p)
		}
	}
	if diff := cmp.Diff([]string{"git", "golang-go", "libc6-dev", "make"}, more); diff != "" {
		t.Error("what debian has beside debian-slim:", diff)
	}
	for _, p := range slim.Packages {
		if !slices.Contains(full.Packages, p) {
			t.Errorf("debian lacks %s of debian-slim", p)
		}
	}
}

// A NIC of the host's may be any: its driver stays in the image, and what
// experiments ask of the kernel.
func TestRecipesKeepDriversOfNICs(t *testing.T) {
	kept := []string{
		"drivers/net/ethernet/intel/e1000e/e1000e.ko", "drivers/net/ethernet/intel/igb/igb.ko", "drivers/net/ethernet/intel/igbvf/igbvf.ko",
		"drivers/net/ethernet/intel/igc/igc.ko", "drivers/net/ethernet/intel/ixgbe/ixgbe.ko", "drivers/net/ethernet/intel/ixgbevf/ixgbevf.ko",
		"drivers/net/ethernet/intel/i40e/i40e.ko", "drivers/net/ethernet/intel/iavf/iavf.ko", "drivers/net/ethernet/intel/ice/ice.ko",
		"drivers/net/ethernet/mellanox/mlx5/core/mlx5_core.ko", "drivers/net/ethernet/broadcom/bnxt/bnxt_en.ko",
		"drivers/net/ethernet/broadcom/tg3.ko", "drivers/net/ethernet/realtek/r8169.ko", "drivers/net/phy/realtek.ko",
		"drivers/infiniband/hw/mlx5/mlx5_ib.ko", "drivers/mtd/mtd.ko", "drivers/i2c/algos/i2c-algo-bit.ko", "drivers/ptp/ptp.ko",
		"drivers/net/bonding/bonding.ko", "drivers/net/macvlan.ko", "drivers/net/vxlan/vxlan.ko", "drivers/net/veth.ko",
		"net/8021q/8021q.ko", "net/sched/sch_netem.ko", "net/ipv4/tcp_bbr.ko", "net/netfilter/nf_tables.ko",
		"fs/ext4/ext4.ko", "fs/jbd2/jbd2.ko", "drivers/block/virtio_blk.ko", "drivers/net/virtio_net.ko",
	}
	for _, name := range Recipes() {
		r := builtIn(t, name)
		if r.System != GuestDebian {
			continue // Alpine's kernel for machines has few: the recipe says so
		}
		if !slices.Contains(r.Packages, "linux-image-amd64") || !slices.Contains(r.Packages, "kmod") {
			t.Errorf("%s has not the kernel with all drivers, or nothing to load them with", name)
		}
		for _, pattern := range r.Exclude {
			// as dpkg reads it: * goes across folders
			excludes := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
			for _, file := range kept {
				if excludes.MatchString("/lib/modules/6.1.0-1-amd64/kernel/" + file) {
					t.Errorf("%s excludes %s by %s", name, file, pattern)
				}
			}
		}
	}
}

func TestUnknownRecipe(t *testing.T) {
	_, err := BuiltIn("debiam")
	if err == nil || !strings.Contains(err.Error(), "alpine, debian, debian-slim") {
		t.Errorf("got %v, want an error naming the recipes", err)
	}
}

func TestDigestTellsRecipesApart(t *testing.T) {
	r := builtIn(t, "debian-slim")
	if r.Digest() != builtIn(t, "debian-slim").Digest() {
		t.Error("the same recipe has two digests")
	}
	if !regexp.MustCompile(`^debian-slim-[0-9a-f]{12}$`).MatchString(r.ID()) {
		t.Errorf("ID is %s", r.ID())
	}
	for name, change := range map[string]func(*Recipe){
		"name":     func(r *Recipe) { r.Name = "other" },
		"release":  func(r *Recipe) { r.Release = "trixie" },
		"packages": func(r *Recipe) { r.Packages = r.Packages[1:] },
		"exclude":  func(r *Recipe) { r.Exclude = nil },
		"start":    func(r *Recipe) { r.Start = nil },
		"folders":  func(r *Recipe) { r.Folders = []string{"/srv"} },
		"files":    func(r *Recipe) { r.Files = builtIn(t, "debian").Files },
	} {
		other := builtIn(t, "debian-slim")
		change(&other)
		if other.Digest() == r.Digest() {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestStartOfAUnitThatIsNotThere(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, unit := range started {
		if err := writeFile(root, "etc/systemd/system/"+unit, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := startOnly(root, Recipe{Start: []string{"gone.service"}}); err == nil || !strings.Contains(err.Error(), "start gone.service") {
		t.Errorf("got %v", err)
	}
}

func TestDigestCoversWhatEveryImageGets(t *testing.T) {
	r := builtIn(t, "debian-slim")
	was := r.Digest()
	lists := map[string]*[]string{
		"modules": &modules, "unwanted": &unwanted, "unwantedGenerators": &unwantedGenerators, "started": &started,
	}
	for name, list := range lists {
		whole := *list
		*list = whole[1:]
		if r.Digest() == was {
			t.Errorf("with less in %s the digest is the same", name)
		}
		*list = whole
	}
	script, files := initScript, guest
	t.Cleanup(func() { initScript, guest = script, files })
	if initScript = ""; r.Digest() == was {
		t.Error("without /init the digest is the same")
	}
	initScript = script
	if guest = (embed.FS{}); r.Digest() == was {
		t.Error("without the guest's files the digest is the same")
	}
	if want := fmt.Sprintf("%d\n", Format); !strings.HasPrefix(string(r.ingredients()), want) {
		t.Error("Format is no part of the digest")
	}
	if !strings.Contains(string(r.ingredients()), CommandLine) {
		t.Error("CommandLine is no part of the digest")
	}
}
