package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/images"
)

// listedImage is a base image as JSON.
type listedImage struct {
	images.Manifest
	Dir   string `json:"dir"`
	Bytes int64  `json:"bytes"`
}

func runImageList(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	bases, err := images.List(imageDir(c))
	if c.Bool("json") {
		all := []listedImage{}
		for _, b := range bases {
			all = append(all, listedImage{b.Manifest, b.Dir, b.Bytes()})
		}
		if perr := printJSON(c, all); perr != nil {
			return perr
		}
		return err
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, b := range bases {
		fmt.Fprintf(t, "%s\t%s\t%d MiB\tLinux %s\t%d packages\n", b.Recipe, b.ID(), b.Bytes()>>20, b.Kernel, len(b.Packages))
	}
	if ferr := t.Flush(); ferr != nil {
		return ferr
	}
	return err
}

func runImageVerify(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	bases, err := images.List(imageDir(c))
	errs := []error{err}
	for _, b := range bases {
		if err := b.Verify(c.Context); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintf(c.App.Writer, "%s is whole\n", b.ID())
	}
	return errors.Join(errs...)
}
