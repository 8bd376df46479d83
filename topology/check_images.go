package topology

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func images(c *checker) {
	if c.known.Recipes == nil {
		return
	}
	check := func(p path, image string) {
		_, own := c.Images[image]
		if image == "" || own || slices.Contains(c.known.Recipes, image) {
			return
		}
		c.problem(p, fmt.Sprintf("%s is %s, which is neither a recipe nor among images:", p, show(image)),
			meant(image, "images", append(slices.Sorted(maps.Keys(c.Images)), c.known.Recipes...)))
	}
	check(path{"image"}, c.Image)
	for _, n := range c.nodes {
		check(n.at.to("image"), n.Image)
	}
}

// ownImage checks an image that the file brings.
func ownImage(c *checker, name string, i ImageSpec) {
	at := path{"images", name}
	c.checkName(at, name)
	if slices.Contains(c.known.Recipes, name) {
		c.problem(at, fmt.Sprintf("%s has the name of a recipe", at), "call it otherwise, so that image: names one thing")
	}
	switch {
	case i.Path == "" && i.Recipe == "":
		c.problem(at, fmt.Sprintf("%s has neither path: nor recipe:", at), "name a QCOW2 file by path:, or a recipe file by recipe:")
	case i.Path != "" && i.Recipe != "":
		c.problem(at.to("recipe"), fmt.Sprintf("%s has both path: and recipe:", at), "remove one of the two")
	case i.Path != "":
		readyImage(c, at, i)
	default:
		for _, key := range []struct{ name, value string }{{"sha256", i.SHA256}, {"guest", i.Guest}, {"configure", i.Configure}} {
			if key.value != "" {
				c.problem(at.to(key.name), fmt.Sprintf("%s is for a ready image", at.to(key.name)), "remove it: the recipe says what is in the image")
			}
		}
	}
}

func readyImage(c *checker, at path, i ImageSpec) {
	if i.SHA256 != "" && !sha256Pattern.MatchString(i.SHA256) {
		p := at.to("sha256")
		c.problem(p, fmt.Sprintf("%s is %s", p, show(i.SHA256)), "expected 64 of the characters 0-9 and a-f, as sha256sum prints")
	}
	if i.Guest == "" {
		c.problem(at, fmt.Sprintf("%s does not say what its guest is", at), "add guest: debian (systemd) or alpine (OpenRC), or cloud-init where the image has that")
	}
	c.oneOf(at.to("guest"), i.Guest, GuestDebian, GuestAlpine, GuestCloudInit)
	c.oneOf(at.to("configure"), i.Configure, ConfigureAgent)
	if i.Configure == ConfigureAgent && i.Guest == GuestCloudInit {
		p := at.to("configure")
		c.problem(p, fmt.Sprintf("%s has both cloud-init and the agent configure it", at), "say guest: debian or alpine with configure: agent, or leave configure: out")
	}
}
