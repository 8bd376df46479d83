package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mami-project/labctl/lab"
)

var verifyCommand = &cli.Command{
	Name:  "verify",
	Usage: "prove the data path and the mirror with marked frames, now",
	Flags: []cli.Flag{
		labFlag, jsonFlag, eventsFlag,
		&cli.BoolFlag{Name: "calibrate", Usage: "measure what each direction of the networks under test does, too"},
		&cli.DurationFlag{Name: "timeout", Value: 2 * time.Minute, Usage: "give up after `TIME`"},
	},
	Action: runVerify,
}

func runVerify(c *cli.Context) error {
	if _, err := arguments(c, 0, 0); err != nil {
		return err
	}
	b, err := openLab(c)
	if err != nil {
		return err
	}
	defer b.On.Close()
	if c.Bool("calibrate") {
		return runCalibrate(c, b)
	}
	var proof lab.Proof
	err = working(c, func(tell lab.Tell) (err error) {
		proof, err = b.Verify(c.Context, c.Duration("timeout"), tell)
		return err
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, proof)
	}
	fmt.Fprintln(c.App.Writer, proof)
	return nil
}

// calibrated is a proof and what was measured after it, as JSON.
type calibrated struct {
	lab.Proof
	Directions []lab.Calibration `json:"directions"`
}

// runCalibrate prints what was measured also where it is an error.
func runCalibrate(c *cli.Context, b lab.Build) error {
	var found calibrated
	err := working(c, func(tell lab.Tell) (err error) {
		found.Proof, found.Directions, err = b.VerifyCalibrated(c.Context, c.Duration("timeout"), tell)
		return err
	})
	if len(found.Directions) == 0 && err != nil {
		return err
	}
	if c.Bool("json") {
		return errors.Join(printJSON(c, found), err)
	}
	fmt.Fprintln(c.App.Writer, found.Proof)
	for _, d := range found.Directions {
		fmt.Fprintf(c.App.Writer, "%s %s\n", d.Network, d)
	}
	if len(found.Directions) == 0 {
		fmt.Fprintln(c.App.Writer, "no network has a wire or a node between its sides: nothing to calibrate")
	}
	return err
}
