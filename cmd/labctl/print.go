package main

import (
	"encoding/json"

	"github.com/urfave/cli/v2"
)

func printJSON(c *cli.Context, v any) error {
	e := json.NewEncoder(c.App.Writer)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
