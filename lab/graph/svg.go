package graph

import (
	"bytes"
	_ "embed"
	"html/template"
)

//go:embed lab.svg
var svgText string

// svg is the drawing's form; whatever text stands in it is escaped where it stands.
var svg = template.Must(template.New("lab.svg").Parse(svgText))

// SVG is the lab as a file of its own.
func (l Lab) SVG() string { return l.draw(picture{File: true, ID: "lab"}) }

// Inline is the lab as SVG for a page, in which nothing else has an id that begins with id.
func (l Lab) Inline(id string) template.HTML {
	return template.HTML(l.draw(picture{ID: id})) // the template has escaped it
}

func (l Lab) draw(p picture) string {
	p.Title, p.About = plain(l.title()), plain(l.About())
	l.layOut(&p)
	var b bytes.Buffer
	if err := svg.Execute(&b, p); err != nil {
		panic(err) // the template and picture are of one piece: any lab shows it
	}
	return b.String()
}
