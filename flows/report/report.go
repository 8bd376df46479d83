// Package report writes of runs what people look at: one HTML file that needs nothing
// beside it, neither files nor a network, and scripts only to choose among flows.
//
// One run is told in full; several are put side by side. From runs to file: starts are
// grouped by class and by flow (group.go), their intervals put into as many bins as a
// plot has room for (bins.go), drawn as SVG (plot.go), and set into a page (page.go,
// page.html) which escapes every text that comes from flow files and guests.
package report

import (
	_ "embed" // the page, its style and its script
	"errors"
	"html/template"
	"io"

	"github.com/mami-project/labctl/flows"
)

var (
	//go:embed page.html
	pageSource string
	//go:embed style.css
	style template.CSS
	//go:embed choose.js
	script template.JS

	pageTemplate = template.Must(template.New("page").Parse(pageSource))
)

// Write writes the report of one run, or of several side by side, as HTML.
func Write(w io.Writer, runs []flows.Run) error {
	if len(runs) == 0 {
		return errors.New("no run to report of")
	}
	p, err := pageOf(runs)
	if err != nil {
		return err
	}
	return pageTemplate.Execute(w, p)
}
