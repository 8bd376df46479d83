package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
	"github.com/mami-project/labctl/lab"
)

func runImagePrune(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	if err := needRoot(c); err != nil {
		return err
	}
	var keep []images.Recipe
	if !c.Bool("all") {
		for _, name := range images.Recipes() {
			r, err := images.BuiltIn(name)
			if err != nil {
				return err
			}
			keep = append(keep, r)
		}
	}
	tell := func(what string) { fmt.Fprintln(c.App.ErrWriter, what) }
	pruned, err := images.Prune(c.Context, imageDir(c), keep, tell)
	for _, b := range pruned {
		size := "which could not be read"
		if n := b.Bytes(); n > 0 {
			size = fmt.Sprintf("%d MiB", n>>20)
		}
		fmt.Fprintf(c.App.Writer, "%s removed, %s\n", b.ID(), size)
	}
	states, serr := lab.PruneStates(c.Context, filepath.Dir(imageDir(c)))
	for _, name := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(c.App.Writer, "ready state of lab %s removed, %d MiB\n", name, states[name]>>20)
	}
	return errors.Join(err, serr)
}
