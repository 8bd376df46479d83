package flows

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// YAML is the flow's file: what Load reads as this flow.
func (f Flow) YAML() ([]byte, error) {
	at := make([]string, len(f.Client.At))
	for i, d := range f.Client.At {
		at[i] = d.String()
	}
	type end struct {
		At     []string   `yaml:"at,flow"`
		Config *yaml.Node `yaml:"config"`
	}
	file := struct {
		Label  string `yaml:"label"`
		Client end    `yaml:"client"`
		Server end    `yaml:"server"`
	}{
		f.Label,
		end{at, &yaml.Node{Kind: yaml.MappingNode}},
		end{[]string{f.Server.At.String()}, &yaml.Node{Kind: yaml.MappingNode}},
	}
	if err := settings(file.Client.Config, reflect.ValueOf(f.Client.ClientConfig)); err != nil {
		return nil, err
	}
	if err := settings(file.Server.Config, reflect.ValueOf(f.Server.ServerConfig)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(file); err != nil {
		return nil, fmt.Errorf("flow %s: %w", f.Label, err)
	}
	return b.Bytes(), enc.Close()
}

// settings adds what is not left to iperf3 to a mapping.
func settings(to *yaml.Node, of reflect.Value) error {
	for i := range of.NumField() {
		key, option, _ := strings.Cut(of.Type().Field(i).Tag.Get("yaml"), ",")
		v := of.Field(i)
		switch {
		case option == "inline":
			if err := settings(to, v); err != nil {
				return err
			}
			continue
		case v.IsZero():
			continue
		}
		var value yaml.Node
		if err := value.Encode(v.Interface()); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		to.Content = append(to.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &value)
	}
	return nil
}
