package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
)

func runImageBuild(c *cli.Context) error {
	if c.IsSet("iso") {
		return runImageBuildISO(c)
	}
	for _, f := range isoFlags {
		if name := f.Names()[0]; c.IsSet(name) {
			return usage{"labctl image build: --" + name + " goes with --iso"}
		}
	}
	names, err := arguments(c, 1, -1)
	if err != nil {
		return err
	}
	if err := needRoot(c); err != nil {
		return err
	}
	show := newDisplay(c)
	defer show.close()
	for _, name := range names {
		r, err := readRecipe(name)
		if err != nil {
			return err
		}
		b, err := lab.BuildBase(c.Context, imageDir(c), r, images.Options{Mirror: c.String("mirror")}, show.tell)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.App.Writer, "%s is in %s, %d MiB\n", name, b.Dir, b.Bytes()>>20)
	}
	return nil
}
