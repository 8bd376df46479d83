package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
)

// isoFlags turn image build into one of an ISO.
var isoFlags = []cli.Flag{
	&cli.StringFlag{Name: "iso", Usage: "install Alpine from this ISO `FILE`, of its flavour \"virt\", in place of building a recipe"},
	&cli.StringFlag{Name: "name", Usage: "`NAME` of the base image that an ISO makes (default: alpine-iso)"},
	&cli.StringFlag{Name: "sha256", Usage: "what the ISO's SHA-256 has to be, in `HEX`adecimal"},
	&cli.StringFlag{Name: "release", Usage: "`RELEASE` of Alpine whose packages an ISO gets: edge, v3.22 (default: the ISO's own)"},
}

// runImageBuildISO makes a base image of an ISO.
func runImageBuildISO(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage{fmt.Sprintf("labctl image build: --iso makes an image by itself: no recipe goes with it, and there is %q", c.Args().First())}
	}
	i := images.ISO{Path: c.String("iso"), SHA256: c.String("sha256"), Name: c.String("name"), Mirror: c.String("mirror"), Release: c.String("release")}
	if i.Name == "" {
		i.Name = "alpine-iso"
	}
	if err := i.Valid(); err != nil {
		return usage{err.Error()}
	}
	if err := needRoot(c); err != nil {
		return err
	}
	show := newDisplay(c)
	defer show.close()
	b, err := lab.BuildISO(c.Context, imageDir(c), i, show.tell)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "%s is in %s, %d MiB; for a lab's file:\nimages: {%s: {path: %s, guest: %s}}\n", i.Name, b.Dir, b.Bytes()>>20, i.Name, b.Disk(), b.Guest)
	return nil
}
