package main

import (
	"io"

	"github.com/urfave/cli/v2"
)

func runImageLock(c *cli.Context) error {
	names, err := arguments(c, 1, 1)
	if err != nil {
		return err
	}
	b, err := findImage(c, names[0])
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.App.Writer, b.Lock())
	return err
}
