package topology

import (
	"bytes"
	_ "embed"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Profile is an impairment by name: what one direction of a kind of network does.
type Profile struct {
	Name   string     `yaml:"name" json:"name"`
	About  string     `yaml:"about" json:"about"`   // a line for people
	Source string     `yaml:"source" json:"source"` // where its values come from
	Impair Impairment `yaml:"impair" json:"-"`
}

// String is what the profile does, in the words of a file.
func (p Profile) String() string {
	i, _ := p.Impair.parse(1500) // a test reads them all
	return i.String()
}

//go:embed profiles.yaml
var profilesText []byte

// profiles are all of them, in their file's order.
var profiles = func() []Profile {
	var all []Profile
	d := yaml.NewDecoder(bytes.NewReader(profilesText))
	d.KnownFields(true)
	if err := d.Decode(&all); err != nil {
		panic(fmt.Sprintf("profiles.yaml: %v", err)) // a test reads it
	}
	return all
}()

// Profiles are the impairments that a file may name.
func Profiles() []Profile { return append([]Profile(nil), profiles...) }

func profile(name string) (Profile, bool) {
	for _, p := range profiles {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}

func profileNames() []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}
